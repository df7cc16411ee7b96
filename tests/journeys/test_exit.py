"""What was logged before, during and after the end of a process is delivered."""

from __future__ import annotations

import re

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow

UNDELIVERED = re.compile(r"exiting with (\d+) undelivered event")


@pytest.mark.parametrize(
    ("how", "status", "count"),
    [
        ("return", 0, 5),
        ("status", 3, 5),
        ("outlived", 0, 6),
        ("collected", 0, 5),
        ("closed twice", 0, 6),
        ("shutdown", 0, 6),
    ],
)
def test_all_is_delivered(
    python: Python, odp: Emulator, how: str, status: int, count: int
) -> None:
    """However a process ends, it delivers all, keeps its status and says nothing."""
    ended = python.run("end.py", odp.url, how)

    assert (status, "") == (ended.status, ended.err)
    assert list(range(count)) == numbers(odp)


def test_uncaught(python: Python, odp: Emulator) -> None:
    """An uncaught exception shows its traceback, and all is delivered."""
    ended = python.run("end.py", odp.url, "uncaught")

    assert ended.status == 1
    assert ended.err.startswith("Traceback")
    assert ended.err.endswith("ValueError: the application's own\n")
    assert list(range(5)) == numbers(odp)


def test_one_event(python: Python, odp: Emulator) -> None:
    """A process that logs one event and ends delivers it and says nothing."""
    ended = python.run("one.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0]


@pytest.mark.parametrize(("how", "expected"), [("busy", [0, 1, 2, 3]), ("", [1, 2, 3])])
def test_exit_callbacks(
    python: Python, odp: Emulator, how: str, expected: list[int]
) -> None:
    """What exit callbacks log is delivered, whether they run before ours or after."""
    ended = python.run("at_exit.py", odp.url, *[how] * bool(how))

    assert (ended.status, ended.err) == (0, "")
    assert expected == numbers(odp)


def test_daemon_threads(python: Python, odp: Emulator) -> None:
    """Daemon threads that log to the very end neither crash nor hold up the process."""
    ended = python.run("end.py", odp.url, "daemons")

    assert ended.status == 0
    assert ended.seconds < 4
    assert "Traceback" not in ended.err
    assert "Fatal" not in ended.err
    assert set(range(5)) <= set(numbers(odp))


def test_finaliser(python: Python, odp: Emulator) -> None:
    """What a finaliser logs at the very end is delivered or declared."""
    ended = python.run("finaliser.py", odp.url)

    declared = [int(count) for count in UNDELIVERED.findall(ended.err)]
    assert ended.status == 0
    assert "Traceback" not in ended.err
    assert len(numbers(odp)) + sum(declared) == 2


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
