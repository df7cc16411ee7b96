"""The page in a browser: events as they arrive, found, opened, paused and kept."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import KEY, an_event, call, send, some_events

pytestmark = pytest.mark.slow


def test_events_appear_as_they_arrive(page: Page, odp: Emulator) -> None:
    """Each event becomes a row, newest first, and the counters follow."""
    assert page.one("#empty").is_displayed()
    assert page.counters() == ("0", "0", "0", "0", "0")

    send(odp, [an_event(1), an_event(1), an_event(2, action="viewed")])
    send(odp, [an_event(3, type="")])
    page.await_rows(4)

    rejected, viewed, duplicate, accepted = page.rows()
    assert "rejected" in rejected
    assert "missing 'type' field" in rejected
    assert "viewed" in viewed
    assert "duplicate" in duplicate
    assert "fullstack" in accepted
    assert "user-1" in accepted
    assert "accepted" in accepted
    page.until(lambda: page.counters() == ("3", "2", "1", "1", "2"))
    assert not page.one("#empty").is_displayed()
    assert page.text("shown") == "4 shown"
    assert page.browser.title == "3 events · ODP emulator"


def test_a_row_says_when_and_how_old(page: Page, odp: Emulator) -> None:
    """A row has the time of arrival, and the age by data.ts if there is one."""
    send(odp, [an_event(1, data={"ts": 1_700_000_000, "page": "/home"})])
    send(odp, [an_event(2, data={"page": "/away"})])
    page.await_rows(2)

    received = odp.events()[0]["received"]
    clock = page.run("return clock(arguments[0])", received)
    years = f"{round((received - 1_700_000_000) / 31_557_600)} y"
    assert clock in page.row("/home").text
    assert years in page.row("/home").text
    assert "–" in page.row("/away").text


def test_requests_refused_as_a_whole_are_shown(page: Page, odp: Emulator) -> None:
    """What left no event in the ledger has a row as well, in order, with the reason."""
    send(odp, [an_event(1)])
    send(odp, [an_event(2)], x_api_key="another")
    send(odp, b"{")
    odp.fault(status=503, count=1)
    send(odp, [an_event(3), an_event(4)])
    send(odp, [an_event(5)])

    page.await_rows(5)

    last, fault, unparsable, forbidden, first = page.rows()
    assert "user-5" in last
    assert "503 Service Unavailable\nby a fault 2 events not taken" in fault
    assert "400 Bad Request\nUnable to parse request body: expecting" in unparsable
    assert "refused" in forbidden
    assert "403 Forbidden\nx-api-key is not the key" in forbidden
    assert "user-1" in first
    page.until(lambda: page.text("refused") == "3")
    page.click("#problems")
    page.await_rows(3)


def test_events_from_before_are_shown(browser: Any, odp: Emulator) -> None:
    """A page that is opened late shows what was there, up to its Rows."""
    for first in (0, 300):
        send(odp, some_events(first, first + 300))

    page = Page(browser, odp.page)
    page.await_shown("600 shown")
    page.until(lambda: page.counters() == ("600", "600", "0", "0", "2"))
    page.choose("limit", "200")
    page.await_shown("200 shown")
    assert "user-599" in page.rows()[0]
    page.choose("limit", "10,000")

    page.await_shown("600 shown")


def test_a_row_opens_on_click(page: Page, odp: Emulator) -> None:
    """A click shows the whole event and the answer, and another hides them."""
    data = {"idempotence_id": "id-1", "nested": {"list": [1, None, "Zoë", 2**60]}}
    send(odp, [an_event(1, data=data)])
    page.await_rows(1)

    page.row("user-1").click()

    assert page.row("user-1").get_attribute("aria-selected") == "true"
    assert json.loads(page.one("#detail .json").text) == an_event(1, data=data)
    page.until(lambda: "202 Accepted" in page.text("detail"))
    shown = page.text("detail")
    assert "application/json" in shown
    assert KEY not in shown
    assert f"…{KEY[-4:]}" in shown
    page.row("user-1").click()
    assert not page.one("#detail").is_displayed()
    assert page.row("user-1").get_attribute("aria-selected") == "false"


def test_a_rejected_event_is_shown_with_its_answer(page: Page, odp: Emulator) -> None:
    """The answer of a rejected event names it, as the sender read it."""
    reply = send(odp, [an_event(1), an_event(2, type="")])
    page.await_rows(2)

    refused, rejected = page.rows()
    assert "1 event not taken" in refused
    assert "missing 'type' field" in rejected
    page.row("missing 'type' field").click()
    page.until(lambda: "400 Bad Request" in page.text("detail"))

    answer = page.all("#detail .json")[1].text
    assert json.loads(answer) == reply.json


def test_an_open_event_is_copied(page: Page, odp: Emulator) -> None:
    """Its JSON is copied to the letter, and so is a curl that sends it again."""
    event = an_event(1, action="it's", data={"big": 2**63, "text": "a\u202eb"})
    send(odp, [event])
    page.await_rows(1)
    page.row("it's").click()
    page.browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )

    def copied(n: int) -> str:
        button = page.all("#detail .actions button")[n]
        button.click()
        page.until(lambda: button.text == "Copied")
        return str(
            page.browser.execute_async_script(
                "navigator.clipboard.readText().then(arguments[0])"
            )
        )

    assert json.loads(copied(0)) == event
    command = copied(1)
    assert KEY not in command
    words = shlex.split(command)
    assert words[:2] == ["curl", f"{odp.url}/v3/events"]
    assert "x-api-key: $ODP_API_KEY" in words
    assert json.loads(words[-1]) == [event]


def test_the_list_is_used_by_keys(page: Page, odp: Emulator) -> None:
    """Arrows move, Enter and Space open, the open one follows, Escape closes."""
    send(odp, some_events(0, 60))
    page.await_shown("60 shown")
    page.run("document.getElementById('events').focus()")
    assert "user-59" in page.current()

    page.press("ARROW_DOWN", "ENTER")
    assert "user-58" in page.one("#detail .json").text
    page.press("ARROW_DOWN")
    assert "user-57" in page.one("#detail .json").text
    page.press("ESCAPE")
    assert not page.one("#detail").is_displayed()
    page.press("END")
    assert "user-0" in page.current()
    page.press("SPACE")
    assert "user-0" in page.one("#detail .json").text
    page.press("TAB")
    assert page.active() == "Close"
    page.press("ESCAPE", "PAGE_UP", "HOME")
    assert "user-59" in page.current()
    assert page.run("return document.getElementById('events').scrollTop") == 0


def test_everything_is_reached_by_tab(page: Page, odp: Emulator) -> None:
    """Tab goes through tools, filters and list, and each shows its focus."""
    send(odp, [an_event()])
    odp.fault(status=503, match="nowhere")
    page.await_rows(1)
    page.until(page.one("#banner").is_displayed)
    page.run("document.activeElement.blur()")

    reached = []
    for _ in range(14):
        page.press("TAB")
        reached.append(page.active())
        assert page.run(
            "return document.activeElement.matches(':focus-visible') "
            "&& getComputedStyle(document.activeElement).outlineStyle"
        ) not in (False, "none")

    assert reached == [
        *("clear-faults", "tab-events", "pause", "mask", "download", "clear"),
        *("help", "filter", "filter-type", "filter-action", "filter-who"),
        *("problems", "limit", "events"),
    ]
    page.press("ENTER")
    assert "user-0" in page.one("#detail .json").text


def test_views_are_reached_by_keys(page: Page, odp: Emulator) -> None:
    """Digits and arrows go through the views, and a question mark shows the keys."""
    send(odp, [an_event()])
    page.await_rows(1)
    page.run("document.getElementById('events').focus()")
    page.press("3")
    assert page.one("#view-checks").is_displayed()
    assert page.active().startswith("tab-checks")
    page.press("1")
    page.run("document.getElementById('tab-events').focus()")
    page.press("ARROW_RIGHT")
    assert page.one("#view-profiles").is_displayed()
    page.press("ARROW_LEFT", "ARROW_LEFT")
    assert page.active() == "tab-faults"
    assert page.one("#view-faults").is_displayed()
    page.press("?")
    assert page.one("#keys").is_displayed()
    page.press("ESCAPE")
    assert not page.one("#keys").is_displayed()
    page.press("?", "ENTER")
    assert not page.one("#keys").is_displayed()


def test_the_text_filter_narrows_what_is_shown(page: Page, odp: Emulator) -> None:
    """All words of the filter must be in the event, in any case; later events too."""
    send(odp, [an_event(1, action="Viewed"), an_event(2), an_event(2)])
    page.await_rows(3)

    page.press("/")
    assert page.active() == "filter"
    page.press("USER-1 viewed")
    page.await_rows(1)
    assert page.text("shown") == "1 of 3 shown"
    send(odp, [an_event(9)])
    page.await_shown("1 of 4 shown")
    page.press("x")
    assert page.one("#none").is_displayed()
    page.press("ESCAPE")
    page.await_rows(4)
    page.press("ESCAPE")
    assert page.active() == "events"


def test_each_filter_narrows_what_is_shown(page: Page, odp: Emulator) -> None:
    """Type, action, identifier and only problems each leave what they say."""
    send(odp, [an_event(1, type="order"), an_event(2, action="viewed"), an_event(3)])
    send(odp, [an_event(3), an_event(4, identifiers={"email": "none"})])
    page.await_rows(5)
    page.until(lambda: "order" in page.text("filter-type"))

    def left(*names: str) -> bool:
        rows = page.rows()
        page.click("#reset")
        page.await_rows(5)
        return len(rows) == len(names) and all(
            name in row for name, row in zip(names, rows)
        )

    page.choose("filter-type", "order")
    assert left("user-1")
    page.choose("filter-action", "viewed")
    assert left("user-2")
    page.one("#filter-who").send_keys("fs_user_id USER-3")
    assert left("user-3", "user-3")
    page.click("#problems")
    assert left("none", "duplicate")


def test_a_pause_holds_new_events_back(page: Page, odp: Emulator) -> None:
    """While paused the rows stand still and the counters go on; nothing is lost."""
    send(odp, [an_event(1)])
    page.await_rows(1)

    page.press("p")
    send(odp, some_events(2, 5))
    page.until(lambda: page.text("pause") == "Resume (3 new)")
    page.until(lambda: page.counters()[0] == "4")
    assert len(page.rows()) == 1
    assert page.one("#pause").get_attribute("aria-pressed") == "true"
    assert page.text("link") == "paused"
    page.click("#pause")

    page.await_rows(4)
    assert (page.text("pause"), page.text("link")) == ("Pause", "live")


def test_a_pause_ends_where_the_ledger_is_emptied(page: Page, odp: Emulator) -> None:
    """What is cleared meanwhile does not come back with Resume."""
    send(odp, some_events(0, 3))
    page.await_rows(3)
    page.press("p")
    send(odp, [an_event(4)])
    page.until(lambda: page.text("pause") == "Resume (1 new)")

    odp.clear()  # by another program
    page.until(page.one("#empty").is_displayed)
    assert page.text("pause") == "Resume"
    send(odp, [an_event(5)])
    page.until(lambda: page.text("pause") == "Resume (1 new)")
    page.press("p")

    page.await_rows(1)
    assert "user-5" in page.rows()[0]


def test_a_tab_that_goes_behind_still_draws(page: Page, odp: Emulator) -> None:
    """Nothing piles up for a frame that a tab asked for just before it was hidden."""
    page.browser.minimize_window()
    try:
        page.until(lambda: page.run("return document.hidden"))
        page.run(
            "Object.defineProperty(document, 'hidden', {value: false, configurable: 1})"
            ";drawSoon(); delete document.hidden;"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        send(odp, some_events(0, 3))

        page.until(lambda: page.run("return store.items.length + pending.length") == 3)
        page.until(lambda: page.run("return pending.length") == 0)
    finally:
        page.browser.set_window_size(1280, 900)


def test_clear_empties_page_and_ledger(page: Page, odp: Emulator) -> None:
    """Clear forgets all events, here and in the emulator."""
    send(odp, some_events(0, 3))
    page.await_rows(3)
    page.row("user-1").click()

    page.click("#clear")

    page.until(page.one("#empty").is_displayed)
    page.until(lambda: page.counters() == ("0", "0", "0", "0", "0"))
    assert not page.one("#detail").is_displayed()
    assert odp.stats()["received"] == 0
    send(odp, [an_event()])
    page.await_rows(1)


def test_what_is_shown_is_downloaded(page: Page, odp: Emulator, tmp_path: Path) -> None:
    """Download writes the shown events as JSON lines, oldest first, to the letter."""
    exact = {"big": 2**63, "price": 50.0, "text": "\u2028Zoë\ud800"}
    send(odp, [an_event(1, data=exact), an_event(2), an_event(3, type="order")])
    page.await_rows(3)
    page.choose("filter-type", "fullstack")
    page.await_rows(2)
    page.browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )

    page.click("#download")
    page.until(lambda: (tmp_path / "odp-events.jsonl").exists())

    lines = (tmp_path / "odp-events.jsonl").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == odp.events()[:2]


def test_the_empty_page_tells_how_to_send(page: Page, odp: Emulator) -> None:
    """Without events the page shows its own address to copy; the key is not shown."""
    page.until(lambda: "THE_KEY" in page.text("example-export"))
    assert f"ODP_API_HOST={odp.url}" in page.text("example-export")
    assert f"curl {odp.url}/v3/events" in page.text("example-curl")
    assert KEY not in page.browser.page_source
    assert not page.one("#test-event").is_displayed()


def test_a_test_event_is_sent(browser: Any) -> None:
    """An emulator that takes any key can be tried from its page."""
    with Emulator() as odp:
        page = Page(browser, odp.page)
        page.until(lambda: "any key will do" in page.text("example-export"))
        page.click("#test-event")
        page.await_rows(1)

        assert "user123" in page.rows()[0]
        assert odp.events()[0]["warnings"] == []
        browser.get("about:blank")


def test_the_page_survives_an_outage(page: Page, odp: Emulator) -> None:
    """The page says that the emulator is gone, and goes on when it is back."""
    send(odp, [an_event()])
    send(odp, b"{")
    page.await_rows(2)

    odp.stop()
    page.until(lambda: page.text("link") == "not connected, trying again")
    odp.start()
    page.until(lambda: page.text("link") == "live")
    send(odp, [an_event(1)])

    page.until(lambda: "user-1" in page.rows()[0])
    assert len(page.rows()) == 3


def test_another_emulator_starts_a_new_page(browser: Any) -> None:
    """If a fresh emulator takes the port, the old events go and the new ones show."""
    with Emulator(key=KEY, token="mine") as first:
        page = Page(browser, first.page)
        send(first, some_events(0, 3))
        page.await_rows(3)
    port = int(first.url.rpartition(":")[2])
    with Emulator(key=KEY, port=port, token="mine") as second:
        send(second, [an_event(7)])

        page.await_rows(1)
        assert "user-7" in page.rows()[0]
        browser.get("about:blank")


def test_the_counters_are_told_to_who_listens(page: Page, odp: Emulator) -> None:
    """A live region says the counts in words, and the spark line the last minute."""
    send(odp, [an_event(1), an_event(1)])

    page.until(lambda: page.text("summary").startswith("2 events received"))
    assert "1 duplicate" in page.text("summary")
    assert page.one("#summary").get_attribute("aria-live") == "polite"
    page.until(lambda: "2 at most" in page.one("#spark").get_attribute("aria-label"))
    assert call(odp, "GET", "/_emulator/stats").json["received"] == 2


def test_the_page_has_its_token_from_its_address(page: Page, odp: Emulator) -> None:
    """Lists, the stream and changes work with it, and commands to copy have it."""
    page.click("#tab-faults")
    page.until(lambda: odp.token in page.text("fault-curl"))
    assert odp.token not in page.text("example-curl")
    send(odp, [an_event()])
    page.click("#tab-events")
    page.await_rows(1)
    page.click("#clear")
    page.until(lambda: odp.events() == [])


def test_a_page_without_access_says_so(page: Page, odp: Emulator) -> None:
    """Where another emulator has the port, the page cannot go on, and says why."""
    port = int(odp.url.rpartition(":")[2])
    odp.stop()
    with Emulator(port=port):
        page.until(lambda: page.text("link").startswith("no access: open the address"))
    odp.start()


def test_other_requests_are_shown(page: Page, odp: Emulator) -> None:
    """A query for segments and a mistyped address have a line each."""
    headers = {"content-type": "application/json", "x-api-key": KEY}
    call(odp, "POST", "/v3/graphql", b'{"query": "query {customer {id}}"}', headers)
    call(odp, "POST", "/v3/v3/events", b"[]", headers)
    send(odp, [an_event(identifiers={"email": "Ada@Example.com"})])
    page.await_rows(3)
    event, wrong, query = page.rows()

    assert "Ada@Example.com" in event
    assert "refused" in wrong
    assert "404 Not Found\nThere is nothing at this path: events go to" in wrong
    assert "POST /v3/v3/events" in wrong
    assert "query" in query
    assert "200 OK\nthe customer is in no segment" in query
    page.row("/v3/graphql").click()
    page.until(lambda: "audiences" in page.text("detail"))
    page.keep_picture("other-requests.png")
    page.click("#problems")
    page.await_rows(2)
