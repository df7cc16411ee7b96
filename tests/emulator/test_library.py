"""What libraries report of themselves: accepted within limits, kept, shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.emulator._library import KEPT_LINES, KEPT_PROCESSES

from .browsing import Page
from .conftest import KEY, Reply, call

PATH = "/_emulator/library"
MARKUP = '<img src=x onerror="window.hacked=1">'


def report(odp: Emulator, body: Any, **headers: str) -> Reply:
    """Send one report as a library does: with the API key, without a token."""
    given = {"Content-Type": "application/json", "x-api-key": KEY, "Authorization": ""}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call(odp, "POST", PATH, text, {**given, **headers})


def lines(*texts: str, **more: Any) -> dict[str, Any]:
    """Return a report with one line for each of *texts*."""
    described = [{"time": 1e9 + n, "kind": "k", "text": t} for n, t in enumerate(texts)]
    return {"process": "shop.py (12)", "lines": described, "counts": {}, **more}


def test_a_report_is_kept_and_is_no_request(odp: Emulator) -> None:
    """Its lines are listed, oldest first; counts of events and requests stay."""
    assert report(odp, lines("one", "two")).status == 204
    assert report(odp, lines("three", counts={"waiting": 7})).status == 204

    assert [line["text"] for line in odp.diagnostics()] == ["one", "two", "three"]
    assert odp.diagnostics()[0] == {
        "n": 1,
        "process": "shop.py (12)",
        "time": 1e9,
        "kind": "k",
        "text": "one",
    }
    assert call(odp, "GET", PATH).json == odp.diagnostics()
    assert odp.requests() == [] and odp.events() == []
    assert odp.stats()["requests"] == odp.stats()["other_requests"] == 0


def test_a_report_needs_the_api_key_and_reading_needs_the_token(odp: Emulator) -> None:
    """As for events: who has no key adds nothing, and a key alone reads nothing."""
    assert report(odp, lines("x"), **{"x-api-key": "other"}).status == 403
    assert report(odp, lines("x"), Origin="http://evil.example").status == 403
    assert report(odp, lines("x"), Host="evil.example").status == 403
    assert report(odp, lines("x"), **{"Content-Type": "text/plain"}).status == 415
    headers = {"Authorization": "", "x-api-key": KEY}
    assert call(odp, "GET", PATH, b"", headers).status == 403
    assert odp.diagnostics() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        [],
        7,
        {},
        {"process": 1},
        {"process": "p", "lines": {}},
        {"process": "p", "lines": [1]},
        {"process": "p", "counts": []},
    ],
)
def test_what_is_no_report_is_refused(odp: Emulator, body: Any) -> None:
    """With a reason, and nothing is kept."""
    assert report(odp, body).status == 400
    assert odp.diagnostics() == []


def test_hostile_reports_take_bounded_memory(odp: Emulator) -> None:
    """Lines, texts, counts and processes are limited, whatever is sent."""
    odd = {"time": "soon", "kind": ["k"], "text": None, "more": "x" * 1000}
    assert report(odp, {"process": "p" * 999, "lines": [odd]}).status == 204
    assert odp.diagnostics()[0]["text"] == odp.diagnostics()[0]["kind"] == ""
    assert len(odp.diagnostics()[0]["process"]) == 60
    counts = {f"c{n}" * 50: n for n in range(500)}
    counts |= {"no": True, "minus": -1}
    for number in range(30):
        body = lines(*["x" * 5000] * 150, process=f"p{number}", counts=counts)
        assert report(odp, body).status == 204

    assert len(odp.diagnostics()) == KEPT_LINES
    assert {len(line["text"]) for line in odp.diagnostics()} == {1000}
    _, kept = odp._api.diagnostics.get_news(0)
    assert kept is not None
    assert len(kept["processes"]) == KEPT_PROCESSES
    assert all(len(each["counts"]) <= 20 for each in kept["processes"].values())
    assert report(odp, b" " * (2**20 + 1)).status == 413


def test_clear_forgets_reports(odp: Emulator) -> None:
    """With the events; the serials of later lines continue."""
    report(odp, lines("one"))
    odp.clear()
    assert odp.diagnostics() == []
    report(odp, lines("two"))
    assert [line["n"] for line in odp.diagnostics()] == [2]


@pytest.mark.slow
def test_the_page_shows_reports(page: Page, odp: Emulator) -> None:
    """Newest first, with the program and its counts; live, and until Clear."""
    page.press("4")
    assert "No reports yet" in page.text("library-none")
    report(odp, lines("shop.py:7: event rejected", counts={"waiting": 1234}))
    report(odp, lines("ODP answered 503"))
    page.until(lambda: page.text("library-count") == "2")

    first, second = page.all("#library-lines li")
    assert "ODP answered 503" in first.text
    assert "shop.py:7: event rejected" in second.text and "shop.py (12)" in second.text
    report(odp, lines(counts={"waiting": 1234, "dropped": 5}))
    page.until(lambda: "waiting 1,234 · dropped 5" in page.text("library-processes"))
    page.keep_picture("library.png")
    page.run("refresh()")
    page.until(lambda: len(page.all("#library-lines li")) == 2)
    page.click("#clear")
    page.until(lambda: page.all("#library-lines li") == [])
    assert not page.one("#library-count").is_displayed()


@pytest.mark.slow
def test_hostile_reports_are_text_on_the_page(page: Page, odp: Emulator) -> None:
    """Markup and invisible characters in every field."""
    hostile = f"{MARKUP}\u202eabc\x00" + "w" * 3000
    report(odp, lines(hostile, process=MARKUP, counts={MARKUP: 1, "__proto__": 2}))
    report(odp, lines("x", process="__proto__"))
    page.press("4")
    page.until(lambda: len(page.all("#library-lines li")) == 2)

    shown = page.one("#view-library").text
    assert MARKUP in shown and "\\u202e" in shown and "\u202e" not in shown
    assert page.run("return window.hacked") is None
    assert page.all("#view-library img") == []
    assert page.run(
        "const e = document.scrollingElement; return e.scrollWidth <= e.clientWidth"
    )
