"""Interrupted log calls raise no error of the library, and the counts are exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python

pytestmark = pytest.mark.slow

# No memory limit with a spool: CPython's sqlite3 crashes if an allocation fails.
CASES = [
    (how, resting)
    for how in ("signal", "thread", "stack", "stack filter", "memory", "memory filter")
    for resting in ("memory", "disk")
    if not (how.startswith("memory") and resting == "disk")
]


@pytest.mark.parametrize(("how", "resting"), CASES)
def test_each_event_of_an_interrupted_call_counts_once(
    python: Python, odp: Emulator, tmp_path: Path, how: str, resting: str
) -> None:
    """
    Time limits, full stacks and failed allocations lose no event and count none twice.

    The event of a log call that returned was accepted. A log call that raised may have
    accepted its event; only the application or `logging` itself raised. Every accepted
    event was delivered, or was rejected and did not arrive.
    """
    settings: dict[str, object] = {"api_key": "key"}
    if resting == "disk":
        settings |= {"spool": tmp_path / "spool", "durability": "crash"}
    ended = python.run("cut_calls.py", odp.url, *how.split(), limit=90, **settings)
    if "_testcapi" in ended.err:
        pytest.skip("this CPython has no _testcapi")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)

    assert result["raised_in"] == {}
    assert result["returned"] <= result["accepted"] <= result["made"]
    assert result["delivered"] + result["rejected"] == result["accepted"]
    assert result["delivered"] == odp.stats()["unique"]
    assert (result["flushed"], result["dropped"]) == (True, {})
    assert result["interrupted"] > 10
