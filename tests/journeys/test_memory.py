"""During an outage of any length memory is bounded and every drop is counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .pythons import ProgramResult, Python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux"),
]

MIB = 2**20
POINTS = 20


def run_down(url: str, count: int, letters: int, **more: object) -> ProgramResult:
    """Log *count* events with *letters* characters of text while ODP is down."""
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
    return python.run("memory_in_outage.py", *words, limit=200, **settings)


def test_a_million_events(refusing: str) -> None:
    """Of a million events with ODP down, 10,000 are kept and the others are counted."""
    ended = run_down(refusing, 1_000_000, 0, max_queue_size=10_000)
    result = json.loads(ended.out)
    memory = result["memory"]

    assert ended.status == 0
    assert result["accepted"] == 1_000_001
    assert result["pending"] == 10_000
    assert result["dropped"] == {"overflow": 990_001}
    assert result["unbalanced"] == 0
    assert result["requests"] > 3  # attempts went on all the time
    # One line for the outage, one for drops, one at exit; two more each minute.
    lines = ended.err.splitlines()
    assert len(lines) <= 3 + 2 * int(ended.seconds / 60)
    assert "exiting with 10000 undelivered events" in lines[-1]
    # The first twentieth fills the buffer five times. From there on memory is flat.
    assert max(memory) - memory[0] < 4 * MIB
    assert max(memory) < 30 * MIB


def test_a_spool_is_bounded_too(refusing: str, tmp_path: Path) -> None:
    """Of 100,000 events with ODP down, the newest are on disk, the others counted."""
    settings = {"spool": tmp_path / "spool", "spool_max_bytes": 4 * MIB}
    ended = run_down(refusing, 100_000, 0, max_queue_size=1000, **settings)
    result = json.loads(ended.out)
    memory = result["memory"]

    assert ended.status == 0
    assert result["accepted"] == 100_001
    assert result["unbalanced"] == 0
    assert result["pending"] + sum(result["dropped"].values()) == 100_001
    assert result["dropped"]["spool_full"] > 50_000
    assert (
        sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 20 * MIB
    )
    assert max(memory[10:]) - memory[10] < 8 * MIB


SHAPES = [
    "purchase",
    "nothing",
    "numbers",
    "texts of their own",
    "empty lists",
    "dicts",
    "emoji",
    "long text",
    "bound",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_takes_what_is_counted_for_it(refusing: str, shape: str) -> None:
    """Events of any shape take at most 2.5 times the bytes that are counted."""
    python = Python("3", sys.executable)
    settings = {"api_key": "key", "api_host": refusing, "flush_interval": 0.01}
    ended = python.run("memory_of_shapes.py", shape, limit=60, **settings)

    assert ended.status == 0, ended.err
    assert 0.5 < float(ended.out) <= 2.5


@pytest.mark.parametrize("bound", [4 * MIB, 16 * MIB])
def test_large_events(refusing: str, bound: int) -> None:
    """Events of a few kB are limited by their bytes, not only by their number."""
    settings = {"max_queue_bytes": bound, "max_queue_size": 10**6}
    ended = run_down(refusing, 100_000, 1000, **settings)
    result = json.loads(ended.out)
    memory = result["memory"]

    assert ended.status == 0
    assert result["accepted"] == 100_001
    assert result["pending"] + result["dropped"]["overflow"] == 100_001
    assert bound / 2 < result["queue_bytes"] <= bound
    assert result["unbalanced"] == 0
    # An event takes more memory than its text, but not many times more.
    assert max(memory) < 2 * bound + 10 * MIB
    assert max(memory[10:]) - memory[10] < 4 * MIB
