"""The delivery table: every row, with every kind of store."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .battery import ROWS
from .promise_check import COLUMNS, Column, LedgerComparison, Row, run
from .pythons import Python


@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS, ids=[column.name for column in COLUMNS])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_promise(row: Row, column: Column, python: Python, tmp_path: Path) -> None:
    """The promise of a row holds for the ids that were logged and received."""
    assert run(row, column, python, tmp_path).problems == ()


def test_a_ledger_comparison(odp: Emulator, tmp_path: Path) -> None:
    """The comparison finds events lost, duplicated, reordered, and never logged."""
    ledger = tmp_path / "ledger"
    sources = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "c1": ""}
    lines = [f"tried {name} {source}" for name, source in sources.items()]
    lines += [f"returned {name} {source}" for name, source in sources.items()]
    ledger.write_text("\n".join([*lines, "declared b2 overflow", "rejected 3 "]) + "\n")
    for name in ("a3", "a1", "b1", "b1", "x1"):
        post(odp, name)

    comparison = LedgerComparison(ledger, odp)

    assert comparison.lost == ["a2", "b2", "c1"]
    assert comparison.holes == {"a2"}
    assert (comparison.duplicated, comparison.reordered, comparison.unknown) == (
        1,
        1,
        ["x1"],
    )
    assert (comparison.declared, comparison.rejected) == ({"b2": "overflow"}, 3)


def post(odp: Emulator, name: str) -> None:
    """Send the event with the id *name* without using the library."""
    event = {"type": "t", "action": "a", "identifiers": {"email": "a@example.com"}}
    body = json.dumps([{**event, "data": {"idempotence_id": name}}]).encode()
    headers = {"x-api-key": "key", "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{odp.url}/v3/events", body, headers)
    opener.open(request, timeout=10).close()
