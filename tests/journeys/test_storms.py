"""Forks, signals, stops and a clock that jumps, while ODP fails: all of it arrives."""

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

from .ledgers import Books
from .pythons import Ended, Python

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

CHILDREN, EACH = 64, 10


@pytest.fixture(params=["memory", "disk"])
def resting(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """Settings for events that rest in memory, or on disk before a call returns."""
    disk = {"spool": tmp_path / "spool", "durability": "crash"}
    return disk if request.param == "disk" else {}


@pytest.fixture
def failing() -> Iterator[Emulator]:
    """An ODP that fails for one request in five."""
    with Emulator(seed=4) as running:
        for fault in FAULTS:
            running.fault(**fault)
        yield running


def ids(lane: object, count: int) -> set[str]:
    """The ids of the first *count* events of a *lane*."""
    return {f"r-{lane}-{number}" for number in range(count)}


def check(ended: Ended, books: Books, *others: set[str]) -> dict[str, Any]:
    """Compare what a program says it logged with what came; return what it says."""
    assert (ended.status, ended.err.count("Traceback")) == (0, 0), ended.err
    said: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    counts = dict(enumerate(said["counts"]))
    mine = set().union(*(ids(lane, count) for lane, count in counts.items()))
    logged = mine.union(*others)

    assert sorted(logged - books.accepted)[:20] == []
    assert books.accepted == logged
    assert (books.missed, books.strangers, books.twice) == (0, [], [])
    assert (said["wrong"], said["first_wrong"]) == (0, "")
    assert said["flushed"]
    assert (said["rejected"], said["dropped"], said["pending"]) == ({}, {}, 0)
    assert said["looks"] > 100
    return said


def test_fork_storm(
    python: Python, failing: Emulator, resting: dict[str, object]
) -> None:
    """64 children forked under four logging threads and faults each deliver their own.

    No child hangs, none sends an event of its parent's; the books are right in each.
    """
    settings = {**SETTINGS, **resting, "api_host": failing.url}
    words = ["r", str(CHILDREN), str(EACH)]
    with Books(failing) as books:
        ended = python.run("forks.py", *words, limit=90, **settings)

    children = set().union(*(ids(f"child{n}", EACH) for n in range(CHILDREN)))
    said = check(ended, books, children)
    assert said["accepted"] == said["delivered"] == sum(said["counts"])


def test_signal_storm(
    python: Python, failing: Emulator, resting: dict[str, object]
) -> None:
    """A 1 ms timer whose handler logs, in the middle of log calls, loses nothing."""
    settings = {**SETTINGS, **resting, "api_host": failing.url}
    with Books(failing) as books:
        ended = python.run("alarms.py", "r", "2000", "500", **settings)

    said = check(ended, books, ids("alarm", json.loads(ended.out)["alarms"]))
    assert said["alarms"] >= 500
    assert said["accepted"] == said["delivered"] == 8000 + said["alarms"]


def test_stopped_and_continued(python: Python, failing: Emulator) -> None:
    """A process that is stopped while ODP goes away and comes back goes on sending."""
    settings = {**SETTINGS, "api_host": failing.url, "timeout": 0.3}
    with (
        Books(failing) as books,
        python.start("steady.py", "r", **settings) as running,
    ):
        pid = running.process.pid
        assert running.line() == "busy"
        for _ in range(5):
            failing.fault(latency=0.4, count=1)  # one request is on its way, mostly
            before = failing.stats()
            assert failing.wait_for(before["unique"] + 1)
            os.kill(pid, signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
            failing.stop()
            failing.start()
            os.kill(pid, signal.SIGCONT)
            assert failing.wait_for(before["unique"] + 200)
        ended = running.end()

    check(ended, books)


def test_the_clock_jumps(python: Python, failing: Emulator) -> None:
    """A wall clock set back and forth by an hour holds up no event.

    Nor does a Retry-After that is a date, which then seems to be an hour away.
    """
    soon = formatdate(time.time() + 1, usegmt=True)
    failing.fault(status=503, rate=0.05, retry_after=soon)
    settings = {**SETTINGS, "api_host": failing.url}
    with (
        Books(failing) as books,
        python.start("steady.py", "r", "jumping", **settings) as running,
    ):
        assert running.line() == "busy"
        assert failing.wait_for(2000, 20)  # while the clock jumps, not at the end
        ended = running.end()

    check(ended, books)
    assert ended.seconds < 30
