"""What was logged before, during and after the end of a process is delivered."""

from __future__ import annotations

import re

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow

UNDELIVERED = re.compile(r"exiting with (\d+) undelivered event")


def test_one_event(python: Python, odp: Emulator) -> None:
    """A process that logs one event and ends delivers it and says nothing."""
    ended = python.run("one.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0]


@pytest.mark.parametrize(("how", "expected"), [("busy", [0, 1, 2, 3]), ("", [1, 2, 3])])
def test_exit_callbacks(
    python: Python, odp: Emulator, how: str, expected: list[int]
) -> None:
    """What exit callbacks log after ours is delivered at once, nobody waits for it."""
    ended = python.run("at_exit.py", odp.url, *[how] * bool(how))

    assert float(ended.out) < 0.7
    assert (ended.status, ended.err) == (0, "")
    assert expected == numbers(odp)


@pytest.mark.parametrize(
    ("kind", "timeout", "awaited"),
    [
        ("refusing", 1.0, ""),
        ("refusing", 0.0, ""),
        ("refusing", 1.0, "retrying"),
        ("hanging", 1.0, ""),
        ("hanging", 0.0, ""),
        ("hanging", 1.0, "sending"),
    ],
)
def test_outage(
    python: Python,
    odp: Emulator,
    refusing: str,
    kind: str,
    timeout: float,
    awaited: str,
) -> None:
    """With ODP down, three handlers end in one timeout and say once what is lost."""
    odp.fault(latency=60)
    url = odp.url if kind == "hanging" else refusing

    ended = python.run("down.py", url, str(timeout), awaited)

    assert float(ended.out) < timeout + 0.5
    assert ended.status == 0
    assert UNDELIVERED.findall(ended.err) == ["21"]
    assert "Traceback" not in ended.err


def test_private_names(python: Python, odp: Emulator) -> None:
    """Without the private names that only some versions have, all is delivered."""
    ended = python.run("private.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0]
