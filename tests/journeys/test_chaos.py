"""A fifth of all requests goes wrong, each in its own way, and no event is lost."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.stores._visit import DeadLetter, Visit

from .ledgers import Books
from .pythons import Python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LANES = 4

# One request in five; which, is drawn from the seed. The first that fires counts.
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
    {"max_events": 60, "rate": 0.01},
]

# Whenever they come: 400 naming the poisoned events, and 413 above 95 events.
STEADY: list[dict[str, Any]] = [{"match": "poison"}, {"max_events": 95}]

SETTINGS: dict[str, object] = {
    "api_key": "key",
    "flush_interval": 0.05,
    "max_queue_size": 5_000,
    "overflow": "block",
    "block_timeout": 120,
    "max_retry_delay": 0.05,
}


@pytest.fixture
def failing() -> Iterator[Emulator]:
    """An ODP that fails often, the same way in each run."""
    with Emulator(seed=4) as running:
        for fault in (*MIXED, *STEADY):
            running.fault(**fault)
        yield running


def expected(run: str, each: int) -> set[str]:
    """The ids of all that the program logs."""
    return {f"{run}-{lane}-{n}" for lane in range(LANES) for n in range(each)}


def fired_by_chance(odp: Emulator) -> int:
    """How many requests one of the mixed faults went for."""
    with urllib.request.urlopen(f"{odp.url}/_emulator/faults", timeout=10) as answer:
        active = json.load(answer)
    return sum(fault["fired"] for fault in active if "rate" in fault)


def survive(python: Python, odp: Emulator, each: int, **more: object) -> int:
    """Compare its books with the server's; return how many events were rejected."""
    settings = {**SETTINGS, "api_host": odp.url, **more}
    with Books(odp) as books:
        ended = python.run("chaos.py", "r", str(each), **settings, limit=200)
    assert (ended.status, ended.err.count("Traceback")) == (0, 0), ended.err
    said = json.loads(ended.out)
    logged = expected("r", each)

    lost = logged - books.accepted - books.rejected
    assert (len(lost), books.missed) == (0, 0)
    assert books.accepted | books.rejected == logged  # and nothing that was not logged
    assert (books.strangers, books.twice) == ([], [])
    assert books.duplicates > 0
    assert (said["wrong"], said["first_wrong"]) == (0, "")
    assert said["looks"] > 100
    assert said["flushed"]
    assert said["rejected"] == {"refused": len(books.rejected)}
    assert said["told"] == {"rejected": len(books.rejected)}
    assert said["dropped"] == {}
    assert said["pending"] == 0
    assert said["accepted"] == len(logged)
    assert said["delivered"] == len(logged) - len(books.rejected)
    fired = fired_by_chance(odp)
    assert fired >= 0.2 * odp.stats()["requests"]
    return len(books.rejected)


def test_chaos(python: Python, failing: Emulator) -> None:
    """10,000 events through mixed faults: none lost, each repetition has a known id."""
    survive(python, failing, 2_500)


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_chaos_with_a_spool(
    python: Python, failing: Emulator, tmp_path: Path, durability: str
) -> None:
    """The same with the disk in between, which a small buffer overflows to."""
    spool = tmp_path / "spool"
    settings = {"spool": spool, "durability": durability, "max_queue_size": 300}
    rejected = survive(python, failing, 2_500, **settings)

    dead = [letter for path in spool.glob("*.spool") for letter in letters(path)]
    assert len(dead) == rejected


def letters(path: Path) -> list[DeadLetter]:
    """Return the dead letters of a spool file."""
    with Visit(path) as visit:
        return visit.dead_letters()


def test_long_chaos(failing: Emulator) -> None:
    """200,000 events through mixed faults: none lost, the books right at every look."""
    survive(Python("3", sys.executable), failing, 50_000)
