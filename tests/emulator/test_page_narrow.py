"""The page in a window of 390 pixels, as on a phone or beside an editor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import an_event, send

pytestmark = pytest.mark.slow


@pytest.fixture
def narrow(page: Page) -> Iterator[Page]:
    """The page in a narrow window."""
    page.resize(390, 844)
    yield page
    page.resize(0)


def box(page: Page, selector: str) -> Any:
    """Return the rectangle of the first element for *selector*."""
    script = "return document.querySelector(arguments[0]).getBoundingClientRect()"
    return page.run(script, selector)


def test_the_filters_are_behind_one_button(narrow: Page, odp: Emulator) -> None:
    """It unfolds them, says how many are set, and `/` unfolds them as well."""
    send(odp, [an_event(1, type="order"), an_event(2)])
    narrow.await_rows(2)
    assert not narrow.one("#filter-type").is_displayed()
    narrow.click("#filters-button")
    assert narrow.one("#filters-button").get_attribute("aria-expanded") == "true"

    narrow.choose("filter-type", "order")
    narrow.await_rows(1)
    narrow.click("#problems")
    narrow.click("#filters-button")

    assert not narrow.one("#filter-type").is_displayed()
    assert narrow.one("#filters-button").text.split() == ["Filter", "2"]
    narrow.press("/")
    assert narrow.active() == "filter"
    narrow.press("ESCAPE")
    assert not narrow.one("#filter").is_displayed()


def test_rows_have_two_lines(narrow: Page, odp: Emulator) -> None:
    """An event shows outcome, type, action and identifiers; a request its reason."""
    send(odp, [an_event(1, identifiers={"email": "ada@example.com"})])
    send(odp, [an_event(2, type="")])
    send(odp, [an_event(3)], x_api_key="")
    narrow.await_rows(3)

    refused, rejected, accepted = narrow.rows()

    for text in ("accepted", "fullstack", "purchased", "ada@example.com"):
        assert text in accepted
    assert "missing 'type' field" in rejected
    assert "403 Forbidden\nx-api-key was empty" in refused
    rows = narrow.all("#events .body .row:not([hidden])")
    assert {row.size["height"] for row in rows} == {54}
    narrow.row("ada@example.com").click()
    assert narrow.one("#detail .json").is_displayed()


def test_every_control_is_within_the_window(narrow: Page, odp: Emulator) -> None:
    """Nothing has to be scrolled to sideways, with or without faults and a pause."""
    send(odp, [an_event(1)])
    odp.fault(status=503, seconds=60, match="nowhere")
    narrow.until(narrow.one("#banner").is_displayed)
    narrow.press("p")
    send(odp, [an_event(2)])
    narrow.until(lambda: narrow.text("pause") == "Resume (1 new)")

    buttons = narrow.run(
        "return [...document.querySelectorAll('header button')]"
        ".filter((at) => at.offsetParent !== null)"
        ".map((at) => [at.id, at.getBoundingClientRect().right])"
    )

    assert len(buttons) >= 10
    assert [name for name, right in buttons if right > 390] == []
    assert box(narrow, "#events")["height"] > 400


def test_many_faults_leave_room_for_events(narrow: Page, odp: Emulator) -> None:
    """The first one is told, and a button leads to the others."""
    for number in range(4):
        odp.fault(status=503, seconds=600, match=f"nowhere {number}")
    narrow.until(lambda: "and 3 more" in narrow.text("fault-list"))
    assert box(narrow, "#banner")["height"] < 120

    narrow.click("#fault-list button")

    assert narrow.one("#view-faults").is_displayed()
    assert len(narrow.all("#faults li")) == 4


def test_a_window_that_becomes_wide_shows_columns(narrow: Page, odp: Emulator) -> None:
    """The rows keep their order and place, and the filters are back."""
    send(odp, [an_event(n) for n in range(100)])
    narrow.await_shown("100 shown")
    narrow.run("document.getElementById('events').scrollTop = 54 * 50")
    narrow.until(lambda: "user-49" in "\n".join(narrow.rows()))

    narrow.resize(1280)

    narrow.until(
        lambda: box(narrow, "#events .body .row:not([hidden])")["height"] == 30
    )
    top = "return Math.round(document.getElementById('events').scrollTop / 30)"
    narrow.until(lambda: narrow.run(top) == 50)
    assert narrow.one("#filter-type").is_displayed()
    assert not narrow.one("#filters-button").is_displayed()
