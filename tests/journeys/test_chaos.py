"""One request in five fails, in various ways, and no event is lost."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging._stores.spool.reader import SpoolReader
from odp_logging._stores.spool.schema import DeadLetterRow
from odp_logging.emulator import Emulator

from .ledger_follower import LedgerFollower
from .pythons import Python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

THREADS = 4

# About one request in five fails. The seed selects them; the first match applies.
MIXED: list[dict[str, Any]] = [
    {"status": 500, "rate": 0.03},
    {"status": 500, "rate": 0.03, "keep": True},
    {"status": 503, "rate": 0.03},
    {"status": 503, "rate": 0.02, "retry_after": 0.02},
    {"status": 429, "rate": 0.03, "retry_after": 0.02},
    {"status": 429, "count": 1, "retry_after": 1},
    {"drop": "before", "rate": 0.04},
    {"drop": "after", "rate": 0.04},
    {"latency": 0.03, "rate": 0.03},
    {"events": [0, 7], "rate": 0.01},
    {"events": [3], "rate": 0.01, "keep": True},
    {"max_events": 30, "rate": 0.01},
]

# Always: 400 names the poisoned events, and 413 answers more than 45 events.
STEADY: list[dict[str, Any]] = [{"match": "poison"}, {"max_events": 45}]

SETTINGS: dict[str, object] = {
    "api_key": "key",
    "flush_interval": 0.05,
    "max_queue_size": 5_000,
    "max_batch_size": 50,  # many requests, so that the share of faults is near its mean
    "overflow": "block",
    "block_timeout": 120,
    "max_retry_delay": 0.05,
}


@pytest.fixture
def failing() -> Iterator[Emulator]:
    """An emulator that fails often; the seed makes every run fail the same way."""
    with Emulator(seed=4) as running:
        for fault in (*MIXED, *STEADY):
            running.fault(**fault)
        yield running


def build_expected_ids(run: str, count: int) -> set[str]:
    """Return the ids of all events that the program logs."""
    return {f"{run}-{source}-{n}" for source in range(THREADS) for n in range(count)}


def count_random_faults(odp: Emulator) -> int:
    """Return the number of requests that one of the mixed faults hit."""
    address = f"{odp.url}/_emulator/faults?token={odp.token}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        active = json.load(answer)
    return sum(fault["fired"] for fault in active if "rate" in fault)


def run_chaos(python: Python, odp: Emulator, count: int, **more: object) -> int:
    """Run the program, compare its counts with the server's; return the rejections."""
    settings = {**SETTINGS, "api_host": odp.url, **more}
    with LedgerFollower(odp) as follower:
        ended = python.run("chaos.py", "r", str(count), **settings, limit=200)
    result = ended.read_audit()
    logged = build_expected_ids("r", count)

    follower.check(logged)
    assert follower.duplicates > 0
    assert result["rejected"] == {"refused": len(follower.rejected)}
    assert result["on_drop"] == {"rejected": len(follower.rejected)}
    assert result["accepted"] == len(logged)
    assert result["delivered"] == len(logged) - len(follower.rejected)
    fired = count_random_faults(odp)
    assert fired >= 0.15 * odp.stats()["requests"]
    return len(follower.rejected)


def test_chaos(python: Python, failing: Emulator) -> None:
    """10,000 events pass mixed faults: none is lost, and repetitions have known ids."""
    run_chaos(python, failing, 2_500)


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_chaos_with_a_spool(
    python: Python, failing: Emulator, tmp_path: Path, durability: str
) -> None:
    """The same holds if a small buffer overflows to the disk."""
    spool = tmp_path / "spool"
    settings = {"spool": spool, "durability": durability, "max_queue_size": 300}
    rejected = run_chaos(python, failing, 2_500, **settings)

    dead = [
        letter for path in spool.glob("*.spool") for letter in read_dead_letters(path)
    ]
    assert len(dead) == rejected


def read_dead_letters(path: Path) -> list[DeadLetterRow]:
    """Return the dead letters of a spool file."""
    with SpoolReader(path) as reader:
        return reader.read_dead_letters()


def test_long_chaos(failing: Emulator) -> None:
    """200,000 events pass mixed faults: none is lost, the stats always add up."""
    run_chaos(Python("3", sys.executable), failing, 50_000)
