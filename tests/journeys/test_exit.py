"""Events logged before, during and after the end of a process are delivered."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow

UNDELIVERED = re.compile(r"exiting with (\d+) undelivered event")


def test_one_event(python: Python, odp: Emulator) -> None:
    """A process that logs one event and ends delivers it and prints nothing."""
    ended = python.run("log_one.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == [0]


@pytest.mark.parametrize(("how", "expected"), [("busy", [0, 1, 2, 3]), ("", [1, 2, 3])])
def test_exit_callbacks(
    python: Python, odp: Emulator, how: str, expected: list[int]
) -> None:
    """Events of exit callbacks after the library's own are sent at once."""
    ended = python.run("at_exit.py", odp.url, *[how] * bool(how))

    assert float(ended.out) < 0.7
    assert (ended.status, ended.err) == (0, "")
    assert expected == get_numbers(odp)


def test_a_script_of_many_events(python: Python, odp: Emulator) -> None:
    """All events arrive: with progress, the exit may exceed shutdown_timeout."""
    odp.fault(latency=0.4)
    settings = {"api_key": "key", "api_host": odp.url, "shutdown_timeout": 2.5}
    ended = python.run("log_many.py", "10000", **settings)

    assert (ended.status, ended.err) == (0, "")
    assert odp.stats()["unique"] == 10_000
    assert ended.seconds < 40


def test_the_end_of_many_events_has_a_limit(python: Python, odp: Emulator) -> None:
    """Events that were not sent within shutdown_limit are counted on stderr."""
    odp.fault(latency=0.3)
    settings = {"api_key": "key", "api_host": odp.url, "shutdown_limit": 1.5}
    ended = python.run("log_many.py", "10000", **settings)
    match = UNDELIVERED.search(ended.err)

    assert ended.status == 0
    assert match is not None, ended.err
    assert odp.stats()["unique"] + int(match[1]) >= 10_000
    assert 0 < int(match[1]) < 10_000


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
    """With ODP down, three handlers end in one timeout and report the loss once."""
    odp.fault(latency=60)
    url = odp.url if kind == "hanging" else refusing

    ended = python.run("down_at_exit.py", url, str(timeout), awaited)

    assert float(ended.out) < timeout + 0.5
    assert ended.status == 0
    assert UNDELIVERED.findall(ended.err) == ["21"]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("fault", "awaited"),
    [({}, ""), ({"status": 503}, "retrying"), ({"latency": 60}, "sending")],
    ids=["answering", "refusing", "hanging"],
)
def test_nothing_is_left_open(
    python: Python, odp: Emulator, tmp_path: Path, fault: dict[str, Any], awaited: str
) -> None:
    """Development mode shows no warning at exit, whatever ODP answers."""
    if fault:
        odp.fault(**fault)
    strict = replace(python, is_strict=True)
    for spool in ({}, {"spool": tmp_path / "spool"}):
        ended = strict.run("down_at_exit.py", odp.url, "1.0", awaited, **spool)

        assert ended.status == 0
        assert "Warning" not in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("when", ["before the last drain", "after the last drain"])
def test_a_name_server_that_hangs(python: Python, when: str) -> None:
    """If the first event is logged at exit, a hanging name lookup does not block it."""
    ended = python.run("name_server.py", when)

    assert ended.status == 0
    assert UNDELIVERED.findall(ended.err) == ["1"]
    if python.version not in (
        "3.12.0",
        "3.12.1",
        "3.12.2",
    ):
        assert float(ended.out) < 5


def test_private_names(python: Python, odp: Emulator) -> None:
    """All events are delivered without private names that some versions lack."""
    ended = python.run("no_private_names.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == [0]
