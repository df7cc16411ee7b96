"""The delivery promise: every row, with every way to keep events."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .accounts import COLUMNS, Books, Column, Row, run
from .battery import ROWS
from .pythons import Python


@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS, ids=[each.name for each in COLUMNS])
@pytest.mark.parametrize("row", ROWS, ids=[each.name for each in ROWS])
def test_promise(row: Row, column: Column, python: Python, tmp_path: Path) -> None:
    """What the row says of the column holds, by the ids of the program and of ODP."""
    assert run(row, column, python, tmp_path).problems == ()


def test_books(odp: Emulator, tmp_path: Path) -> None:
    """The books find what is lost, sent twice, out of order, and never logged."""
    ledger = tmp_path / "ledger"
    lanes = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "c1": ""}
    lines = [f"tried {name} {lane}" for name, lane in lanes.items()]
    lines += [f"returned {name} {lane}" for name, lane in lanes.items()]
    ledger.write_text("\n".join([*lines, "declared b2 overflow", "refused 3 "]) + "\n")
    for name in ("a3", "a1", "b1", "b1", "x1"):
        post(odp, name)

    books = Books(ledger, odp)

    assert books.lost == ["a2", "b2", "c1"]
    assert books.holes == {"a2"}
    assert (books.duplicated, books.reordered, books.invented) == (1, 1, ["x1"])
    assert (books.declared, books.refused) == ({"b2": "overflow"}, 3)


def post(odp: Emulator, name: str) -> None:
    """Send the event with the id *name*, without the library."""
    event = {"type": "t", "action": "a", "identifiers": {"email": "a@example.com"}}
    body = json.dumps([{**event, "data": {"idempotence_id": name}}]).encode()
    headers = {"x-api-key": "key", "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{odp.url}/v3/events", body, headers)
    opener.open(request, timeout=10).close()
