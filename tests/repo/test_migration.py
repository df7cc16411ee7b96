"""Coming from elsewhere: each row of the page is true, each example runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog

from odp_logging import OdpHandler, OdpProcessor
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..datafiles import datafile
from ..emulated import list_events
from .test_examples import EXAMPLES, run

PAGE = (EXAMPLES / "migration" / "README.md").read_text(encoding="utf-8")

FROM_SDK = [
    (
        'optimizely.send_odp_event("purchased", who, "order", data)',
        'logger.info("sold", extra={"odp_action": "purchased", "odp_identifiers": who,'
        ' "odp_type": "order", "odp_data": data})',
    ),
    (
        'optimizely.send_odp_event(action="viewed", identifiers=who)',
        'log.info("seen", odp_action="viewed", odp_identifiers=who)',
    ),
    (
        'optimizely.send_odp_event("purchased", who, "order", data)',
        'client.send_odp_event("purchased", who, "order", data)',
    ),
    (
        'optimizely.send_odp_event("identified", who)',
        "client.identify(who)",
    ),
]
"""Before and after: Python that sends the same event."""

FROM_SEGMENT = [
    ("Product Viewed", "product", "detail"),
    ("Product Added", "product", "add_to_cart"),
    ("Product Removed", "product", "remove_from_cart"),
    ("Order Completed", "order", "purchase"),
]
"""Segment's event, and what its own ODP destination makes of it."""


@pytest.mark.parametrize("row", FROM_SDK, ids=range(len(FROM_SDK)))
def test_before_and_after_send_the_same(row, emulator, logger):
    """What the real SDK sends for the left side, the right side sends."""
    pytest.importorskip("optimizely.odp")
    from optimizely.optimizely import Optimizely

    handler = OdpHandler(KEY, api_host=emulator.url, handle_sigterm=False)
    logger.addHandler(handler)
    structlog.configure(processors=[OdpProcessor(handler.client), _drop])
    with Emulator(key=KEY) as theirs:
        names: dict[str, Any] = {
            "optimizely": Optimizely(datafile(theirs.url)),
            "client": handler.client,
            "logger": logger,
            "log": structlog.get_logger(),
            "who": {"fs_user_id": "u1", "email": "a@example.com"},
            "data": {"item": "shirt", "price": 50.0},
        }
        before, after = row
        exec(before, names)
        names["optimizely"].close()
        exec(after, names)
        assert handler.client.flush(10)
        (expected,), (event,) = list_events(theirs), list_events(emulator)

    for key in ("type", "action", "identifiers"):
        assert event[key] == expected[key]
    assert event["data"].keys() == expected["data"].keys() | {"ts"}
    for key in names["data"].keys() & expected["data"].keys():
        assert event["data"][key] == expected["data"][key]


def _drop(*_: Any) -> None:
    raise structlog.DropEvent


def test_optimizely_bridge() -> None:
    """Two calls of the SDK and a log line arrive, although ODP answers 429 first."""
    pytest.importorskip("optimizely.odp")
    ended = run("optimizely_bridge.py")

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert ended.stdout.endswith("delivered 3 of 3\n")


def test_optimizely_bridge_with_a_key(emulator: Emulator) -> None:
    """With a key set, the events are that account's: the key beats the datafile's."""
    pytest.importorskip("optimizely.odp")
    ended = run("optimizely_bridge.py", odp=emulator)
    first, second, left = list_events(emulator)

    assert ended.stdout == "delivered 3 of 3\n"
    assert first["identifiers"] == {"fs_user_id": "user123", "email": "a@example.com"}
    assert second["data"]["items"] == [{"item": "shirt", "price": 50.0}] * 2
    assert (left["action"], left["identifiers"]) == ("left", {"fs_user_id": "user123"})


def test_from_segment(emulator: Emulator) -> None:
    """Each of Segment's events arrives with the type and action of its destination."""
    ended = run("from_segment.py", odp=emulator)
    who, viewed, added, ordered, other = list_events(emulator)

    assert ended.stdout == "delivered 5 of 5\n"
    assert who["identifiers"] == {"fs_user_id": "user123", "email": "a@example.com"}
    assert (viewed["type"], viewed["action"]) == ("product", "detail")
    assert (added["type"], added["action"]) == ("product", "add_to_cart")
    assert (ordered["type"], ordered["action"]) == ("order", "purchase")
    assert (other["type"], other["action"]) == ("fullstack", "signed_up")
    assert ordered["data"]["total"] == 100.0


def test_from_segment_without_an_account() -> None:
    """With no key set, it starts an emulator and delivers to it."""
    assert run("from_segment.py").stdout.endswith("delivered 5 of 5\n")


def test_the_table_of_segment_is_the_examples() -> None:
    """The example maps what the page says it does."""
    source = (EXAMPLES / "from_segment.py").read_text(encoding="utf-8")

    found = re.findall(r'"([A-Z][^"]*)": \("(\w+)", "(\w+)"\)', source)
    assert found == FROM_SEGMENT


def test_the_page_shows_these_rows() -> None:
    """The page's tables are the ones that were tried here, no more and no less."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    sdk = [f"`{before}` `{after}`" for before, after in FROM_SDK]
    segment = [f"`{name}` `{kind}`, `{action}`" for name, kind, action in FROM_SEGMENT]
    assert [" ".join(row) for row in cells] == sdk + segment
