"""However long ODP is down, memory is bounded, and every drop is counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .pythons import Ended, Python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux"),
]

MIB = 2**20
POINTS = 20


def run_down(url: str, count: int, letters: int, **more: object) -> Ended:
    """Log *count* events to nobody; `letters` is how long their text is."""
    settings = {
        "api_key": "key",
        "api_host": url,
        "flush_interval": 0.05,
        "max_retry_delay": 1,
        "shutdown_timeout": 0,
        **more,
    }
    words = [str(number) for number in (count, letters, POINTS)]
    python = Python("3", sys.executable)
    return python.run("memory.py", *words, limit=200, **settings)


def test_a_million_events(refusing: str) -> None:
    """Of a million events with ODP down 10,000 are kept and the others counted."""
    ended = run_down(refusing, 1_000_000, 0)
    said = json.loads(ended.out)
    taken = said["taken"]

    assert ended.status == 0
    assert said["accepted"] == 1_000_001
    assert said["pending"] == 10_000
    assert said["dropped"] == {"overflow": 990_001}
    assert said["wrong"] == 0
    assert said["requests"] > 3  # it was tried all the time
    # One line on the outage, one on the drops, one at the end; more after a minute.
    lines = ended.err.splitlines()
    assert len(lines) <= 3 + 2 * int(ended.seconds / 60)
    assert "exiting with 10000 undelivered events" in lines[-1]
    # The first twentieth fills the buffer five times over: from there on it is flat.
    assert max(taken) - taken[0] < 4 * MIB
    assert max(taken) < 30 * MIB


def test_a_spool_is_bounded_too(refusing: str, tmp_path: Path) -> None:
    """Of 100,000 events with ODP down the newest are on disk, the others counted."""
    room = {"spool": tmp_path / "spool", "spool_max_bytes": 4 * MIB}
    ended = run_down(refusing, 100_000, 0, max_queue_size=1000, **room)
    said = json.loads(ended.out)
    taken = said["taken"]

    assert ended.status == 0
    assert said["accepted"] == 100_001
    assert said["wrong"] == 0
    assert said["pending"] + sum(said["dropped"].values()) == 100_001
    assert said["dropped"]["spool_full"] > 50_000
    assert sum(path.stat().st_size for path in room["spool"].iterdir()) < 20 * MIB
    assert max(taken[10:]) - taken[10] < 8 * MIB


@pytest.mark.parametrize("bound", [4 * MIB, 16 * MIB])
def test_large_events(refusing: str, bound: int) -> None:
    """Events of a few kB are bounded by their bytes, not only by their number."""
    room = {"max_queue_bytes": bound, "max_queue_size": 10**6}
    ended = run_down(refusing, 100_000, 1000, **room)
    said = json.loads(ended.out)
    taken = said["taken"]

    assert ended.status == 0
    assert said["accepted"] == 100_001
    assert said["pending"] + said["dropped"]["overflow"] == 100_001
    assert bound / 2 < said["queue_bytes"] <= bound
    assert said["wrong"] == 0
    # What an event takes in Python is more than its text; it is not many times more.
    assert max(taken) < 2 * bound + 10 * MIB
    assert max(taken[10:]) - taken[10] < 4 * MIB
