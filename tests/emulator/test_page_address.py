"""View and filter are in the page's address: for a reload, for Back and for reports."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import an_event, send

pytestmark = pytest.mark.slow


def address(page: Page) -> str:
    """Return the part of the address that is the page's own."""
    return str(page.run("return location.hash"))


def send_orders(odp: Emulator) -> None:
    """Send two orders, a login, and something that a check finds."""
    send(odp, [an_event(1, type="order"), an_event(2, type="order", action="return")])
    send(odp, [an_event(3, type="account", action="login")])
    send(odp, [an_event(4, data={"Total Price": 1})])


def test_a_filter_is_in_the_address_and_survives_a_reload(
    page: Page, odp: Emulator
) -> None:
    """The reloaded page shows the same events, and its controls the same filter."""
    send_orders(odp)
    page.await_rows(4)
    page.choose("filter-type", "order")
    assert address(page) == "#events?type=order"
    page.one("#filter").send_keys("user-2")
    page.await_rows(1)
    assert address(page) == "#events?q=user-2&type=order"

    page.browser.refresh()

    page.await_shown("1 of 4 shown")
    assert "user-2" in page.rows()[0]
    assert page.one("#filter").get_property("value") == "user-2"
    chosen = "return document.getElementById('filter-type').selectedOptions[0].text"
    page.until(lambda: page.run(chosen).startswith("order"))
    page.click("#reset")
    page.await_rows(4)
    assert address(page) == "#events"


def test_back_leads_through_views_and_filters(page: Page, odp: Emulator) -> None:
    """Back and Forward show what was there, and a search is no step per letter."""
    send_orders(odp)
    page.await_rows(4)
    page.choose("filter-type", "order")
    page.click("#problems")
    page.press("2")
    page.choose("profile-sort", "most events")
    page.one("#profile-search").send_keys("user-1")
    page.await_rows(1, "profiles")
    assert address(page) == "#profiles?q=user-1&sort=events"
    page.click("#tab-checks")

    steps = []
    for _ in range(5):
        page.browser.back()
        steps.append(address(page))

    assert steps == [
        "#profiles?q=user-1&sort=events",
        "#profiles",
        "#events?problems=1&type=order",
        "#events?type=order",
        "",
    ]
    page.await_rows(4)
    page.browser.forward()
    page.await_rows(2)
    assert page.one("#tab-events").get_attribute("aria-selected") == "true"


def test_an_event_with_an_empty_type_is_found_by_address(
    page: Page, odp: Emulator
) -> None:
    """An empty value is a value; no value is no filter."""
    send_orders(odp)
    send(odp, [an_event(5, type="")])
    page.await_rows(5)

    page.run("location.hash = '#events?type='")

    page.await_rows(1)
    assert "user-5" in page.rows()[0]


def test_a_check_is_in_the_address(page: Page, odp: Emulator) -> None:
    """The events that a check found have an address, in the check's words."""
    send_orders(odp)
    page.await_rows(4)
    page.press("3")
    page.until(lambda: "Total Price" in page.text("checks"))
    page.run(
        "[...document.querySelectorAll('.fields li')].find((line) => "
        "line.textContent.includes('Total Price')).querySelector('button').click()"
    )
    page.await_rows(1)
    assert address(page) == "#events?check=field-name&field=data.Total+Price"

    page.browser.refresh()

    page.await_shown("1 of 4 shown")
    label = "Invalid field name: data.Total Price"
    page.until(lambda: label in page.text("filter-check"))


def test_an_open_event_is_in_the_address(page: Page, odp: Emulator) -> None:
    """A reload opens it again, Back closes it, and a request has an address as well."""
    send_orders(odp)
    send(odp, [an_event(5)], x_api_key="")
    page.await_rows(5)
    page.row("user-2").click()
    assert address(page) == "#events?event=2"
    page.press("ARROW_UP")
    page.until(lambda: address(page) == "#events?event=3")

    page.browser.refresh()
    page.until(lambda: "user-3" in page.text("detail"))
    assert page.row("user-3").get_attribute("aria-selected") == "true"
    page.browser.back()
    page.until(lambda: not page.one("#detail").is_displayed())
    assert address(page) == ""
    page.run("location.hash = '#events?request=4'")
    page.until(lambda: "x-api-key was empty" in page.text("detail"))
    page.click("#detail .close")
    page.until(lambda: address(page) == "#events")


def test_back_from_a_profile_opens_its_event_again(page: Page, odp: Emulator) -> None:
    """The way from an event to its customer leads back."""
    send_orders(odp)
    page.await_rows(4)
    page.row("user-2").click()
    page.run("document.querySelector('#detail .who .plain').click()")
    assert address(page) == "#profiles"

    page.browser.back()

    page.until(lambda: "user-2" in page.one("#detail .json").text)
    assert address(page) == "#events?event=2"


@pytest.mark.parametrize(
    "hostile",
    [
        "#nowhere?type=order",
        "#__proto__",
        "#constructor?q=x",
        "#profiles?sort=__proto__",
        "#events?check=__proto__&field=%E2%80%AE",
        "#events?q=%00%ff&who=%3Cimg%20src=x%20onerror=alert(1)%3E",
        "#events?event=1e999&request=-1",
        "#events?event=__proto__",
        "#?",
        "#events?" + "&".join(f"a{n}=b" for n in range(2_000)),
    ],
)
def test_any_address_opens_the_page(page: Page, odp: Emulator, hostile: str) -> None:
    """A mistyped or hostile address is a view with its filter, and no error."""
    page.run("location.hash = arguments[0]", hostile)
    page.until(lambda: page.run("return buildAddress()") != "")
    page.browser.refresh()
    page.until(lambda: page.text("link") == "live")

    page.run("resetFilter(); showView('events')")
    send(odp, [an_event()])
    page.await_rows(1)
    assert page.all("main img") == []
    assert page.browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_the_token_stays_in_the_address(browser: Any, odp: Emulator) -> None:
    """The view is behind it, so a reload still has access."""
    page = Page(browser, f"{odp.page}#faults")
    assert page.one("#view-faults").is_displayed()
    page.press("1")

    page.browser.refresh()

    page.until(lambda: page.text("link") == "live")
    assert odp.token in page.browser.current_url
    browser.get("about:blank")
