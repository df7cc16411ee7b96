"""All events arrive despite forks, signals, stops, clock jumps and failures of ODP."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .ledger_follower import LedgerFollower
from .pythons import ProgramResult, Python

pytestmark = pytest.mark.slow

FAULTS: list[dict[str, Any]] = [
    {"status": 503, "rate": 0.1},
    {"drop": "before", "rate": 0.05},
    {"drop": "after", "rate": 0.05},
]

SETTINGS: dict[str, object] = {
    "api_key": "key",
    "flush_interval": 0.05,
    "max_queue_size": 100_000,
    "max_queue_bytes": 2**28,
    "max_retry_delay": 0.05,
    "shutdown_timeout": 30,
}

CHILDREN, EVENTS_PER_CHILD = 64, 10


@pytest.fixture(params=["memory", "disk"])
def resting(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """Settings to keep events in memory, or on disk before a log call returns."""
    disk = {"spool": tmp_path / "spool", "durability": "crash"}
    return disk if request.param == "disk" else {}


@pytest.fixture
def failing() -> Iterator[Emulator]:
    """An emulator that fails one request in five."""
    with Emulator(seed=4) as running:
        for fault in FAULTS:
            running.fault(**fault)
        yield running


def build_ids(source: object, count: int) -> set[str]:
    """Return the ids of the first *count* events of *source*."""
    return {f"r-{source}-{number}" for number in range(count)}


def check_run(
    ended: ProgramResult, follower: LedgerFollower, *others: set[str]
) -> dict[str, Any]:
    """Compare the events in a program's report with those received; return it."""
    result = ended.read_audit()
    counts = dict(enumerate(result["counts"]))
    own = set().union(*(build_ids(source, count) for source, count in counts.items()))

    follower.check(own.union(*others))
    assert follower.rejected == set()
    assert result["rejected"] == {}
    return result


def test_fork_storm(
    python: Python, failing: Emulator, resting: dict[str, object]
) -> None:
    """64 children, forked beside four logging threads, each deliver their own events.

    No child hangs or sends an event of its parent, and the stats of each add up.
    """
    settings = {**SETTINGS, **resting, "api_host": failing.url}
    words = ["r", str(CHILDREN), str(EVENTS_PER_CHILD)]
    with LedgerFollower(failing) as follower:
        ended = python.run("fork_chaos.py", *words, limit=90, **settings)

    children = set().union(
        *(build_ids(f"child{n}", EVENTS_PER_CHILD) for n in range(CHILDREN))
    )
    result = check_run(ended, follower, children)
    assert result["accepted"] == result["delivered"] == sum(result["counts"])


def test_signal_storm(
    python: Python, failing: Emulator, resting: dict[str, object]
) -> None:
    """A 1 ms timer with a handler that logs within log calls loses no event."""
    settings = {**SETTINGS, **resting, "api_host": failing.url}
    with LedgerFollower(failing) as follower:
        ended = python.run("alarm_storm.py", "r", "2000", "500", **settings)

    result = check_run(
        ended, follower, build_ids("alarm", json.loads(ended.out)["alarms"])
    )
    assert result["alarms"] >= 500
    assert result["accepted"] == result["delivered"] == 8000 + result["alarms"]


def test_stopped_and_continued(python: Python, failing: Emulator) -> None:
    """A process that is stopped while ODP restarts continues to send."""
    settings = {**SETTINGS, "api_host": failing.url, "timeout": 0.3}
    with (
        LedgerFollower(failing) as follower,
        python.start("log_steadily.py", "r", **settings) as running,
    ):
        pid = running.process.pid
        assert running.read_line() == "busy"
        for _ in range(5):
            failing.fault(latency=0.4, count=1)  # mostly, one request is in progress
            before = failing.stats()
            assert failing.wait_for(before["unique"] + 1)
            os.kill(pid, signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
            failing.stop()
            failing.start()
            os.kill(pid, signal.SIGCONT)
            assert failing.wait_for(before["unique"] + 200)
        ended = running.end()

    check_run(ended, follower)


def test_the_clock_jumps(python: Python, failing: Emulator) -> None:
    """A wall clock set back and forth by an hour delays no event.

    Neither does a Retry-After date, which then seems to be an hour away.
    """
    soon = formatdate(time.time() + 1, usegmt=True)
    failing.fault(status=503, rate=0.05, retry_after=soon)
    settings = {**SETTINGS, "api_host": failing.url}
    with (
        LedgerFollower(failing) as follower,
        python.start("log_steadily.py", "r", "jumping", **settings) as running,
    ):
        assert running.read_line() == "busy"
        assert failing.wait_for(2000, 20)  # while the clock jumps, not at the end
        ended = running.end()

    check_run(ended, follower)
    assert ended.seconds < 30
