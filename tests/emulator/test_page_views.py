"""The page's other views: customers, what ODP would swallow, and faults."""

from __future__ import annotations

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import an_event, ask_fault, call, send

pytestmark = pytest.mark.slow

MARKUP = '<img src=x onerror="window.hacked=1">'


def known(n: int, **identifiers: str) -> dict[str, object]:
    """Return an event of whom the *identifiers* name."""
    return an_event(n, identifiers=identifiers)


def test_identifiers_are_stitched(page: Page, odp: Emulator) -> None:
    """Events that share an identifier are one customer, over any number of steps."""
    send(odp, [known(1, vuid="v1"), known(2, vuid="v1", fs_user_id="u1")])
    send(odp, [known(3, fs_user_id="u1", email="a@example.com")])
    send(odp, [known(4, fs_user_id="u2")])
    send(odp, [{**known(5, email="a@example.com"), "type": ""}])
    page.press("2")
    page.await_rows(2, "profiles")

    other, stitched = page.rows("profiles")

    assert other.split("\n")[:2] == ["u2", "1"]
    assert stitched.split("\n")[:2] == ["a@example.com", "3"]
    for text in ("email", "fs_user_id", "u1", "vuid", "v1"):
        assert text in stitched


def test_a_late_event_joins_two_profiles(page: Page, odp: Emulator) -> None:
    """Two customers become one when an event names both, and the page says which."""
    send(odp, [known(1, vuid="v1"), known(2, email="a@example.com")])
    page.press("2")
    page.await_rows(2, "profiles")

    send(odp, [{**known(3, vuid="v1", email="a@example.com"), "action": "met"}])
    page.await_rows(1, "profiles")
    page.row("a@example.com", "profiles").click()

    shown = page.one("#detail").text
    assert "Merged\njoined by" in shown
    assert shown.count("met") == 2
    assert "Events, 3" in shown
    page.all("#detail button.line")[-1].click()
    assert page.one("#view-events").is_displayed()
    assert "v1" in page.one("#detail .json").text


def test_the_same_value_under_two_names_is_two_identifiers(
    page: Page, odp: Emulator
) -> None:
    """Only name and value together identify; values that look like code are values."""
    send(odp, [known(1, vuid="x"), known(2, email="x")])
    send(odp, [known(3, vuid="__proto__"), known(4, email="constructor")])

    page.press("2")

    page.await_rows(4, "profiles")


def test_an_event_leads_to_its_profile(page: Page, odp: Emulator) -> None:
    """From an open event one button shows the customer, and Escape goes back."""
    send(odp, [known(1, vuid="v1"), known(2, vuid="v1", email="a@example.com")])
    page.await_rows(2)
    page.rows()
    page.row("a@example.com").click()

    page.run("document.querySelector('#detail .who .plain').click()")

    assert page.one("#view-profiles").is_displayed()
    assert page.one("#detail h2").text == "a@example.com"
    assert page.active() == "profiles"
    page.press("ESCAPE")
    assert not page.one("#detail").is_displayed()


def test_what_odp_would_swallow_is_listed(page: Page, odp: Emulator) -> None:
    """Each finding stands under its check, with its events one step away."""
    odd = an_event(1, identifiers={"plan": "gold", "fs_user_id": "u1"})
    odd["data"] = {"Total Price": 3, "item": "shirt", "ts": 4e9, MARKUP: 1}
    send(odp, [odd, an_event(2)])
    page.await_rows(2)
    page.until(lambda: page.text("check-count") == "4")
    page.press("3")

    shown = page.one("#checks").text

    assert "Unknown identifier name" in shown
    assert "identifiers.plan" in shown
    assert "Invalid field name\nwarning, 1 event" in shown
    assert len(page.all("#checks .check")) == 4
    assert f"data.{MARKUP}" in shown
    assert "Time in the future" in shown
    assert "Custom field" in shown
    page.run(
        "[...document.querySelectorAll('.fields li')].find((line) => "
        "line.textContent.includes('Total Price')).querySelector('button').click()"
    )
    page.await_rows(1)
    assert "Invalid field name: data.Total Price" in page.text("filter-check")
    page.rows()
    page.row("plan").click()
    assert "identifiers.plan cannot be an identifier" in page.one(".warnings").text


def test_profiles_are_searched_and_sorted(page: Page, odp: Emulator) -> None:
    """The search finds any identifier; the order is the chosen one."""
    send(odp, [known(1, email="b@example.com", vuid="v1"), known(2, vuid="v1")])
    send(odp, [known(3, email="a@example.com"), known(4, email="c@example.com")])
    page.press("2")
    page.await_rows(3, "profiles")

    def names() -> list[str]:
        return [row.split("\n")[0][:1] for row in page.rows("profiles")]

    assert names() == ["c", "a", "b"]
    page.choose("profile-sort", "most events")
    assert names() == ["b", "c", "a"]
    page.choose("profile-sort", "customer")
    assert names() == ["a", "b", "c"]
    page.press("/")
    assert page.active() == "profile-search"
    page.press("V1 vuid")
    page.await_rows(1, "profiles")
    assert page.text("profile-count") == "1 of 3 profiles"
    page.press("x")
    assert page.one("#no-profile").is_displayed()
    page.press("ESCAPE", "ESCAPE")
    page.await_rows(3, "profiles")
    assert page.active() == "profiles"


def test_a_kind_of_identifier_has_one_chip(page: Page, odp: Emulator) -> None:
    """It shows the latest value, and how many there are."""
    send(odp, [known(n, email="a@example.com", vuid=f"v{n}") for n in range(3)])
    page.press("2")
    page.await_rows(1, "profiles")

    chips = page.run(
        "return [...document.querySelectorAll('#profiles .chip')]"
        ".map((chip) => chip.innerText.split(/\\s+/))"
    )

    assert chips == [["a@example.com", "email"], ["v2", "vuid", "×3"]]


def test_a_duplicate_leads_to_its_first(page: Page, odp: Emulator) -> None:
    """And the first one to its duplicates; without the first, that is said."""
    send(odp, [an_event(1), an_event(2)])
    send(odp, [an_event(1), an_event(2)])
    page.await_rows(4)

    page.run("events.open(4)")
    page.click("#detail .facts button")
    assert page.one("#detail .badge").text == "accepted"
    assert "event 2 in request 1" in page.text("detail")
    assert "Received again" in page.text("detail")
    page.click("#detail .facts button")
    assert page.one("#detail .badge").text == "duplicate"
    page.run("store.items.shift(); store.items.shift(); events.open(4)")
    assert "an event that is no longer kept here" in page.text("detail")


def test_an_empty_view_is_neutral(page: Page, odp: Emulator) -> None:
    """Without events each view says so, and praises or blames nothing."""
    empty = {"profiles": "No profiles yet", "checks": "No events yet"}
    empty["library"] = "No reports yet"
    for view, title in empty.items():
        page.run("showView(arguments[0])", view)
        assert title in page.one(f"#view-{view}").text
        assert page.all(f"#view-{view} .icon") == []
    assert not page.one("#check-count").is_displayed()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 503}, "503 Service Unavailable to every request"),
        (
            {"status": 429, "retry_after": 2, "count": 3},
            "429 Too Many Requests to every request, Retry-After: 2",
        ),
        ({"status": 500, "rate": 0.5}, "500 Internal Server Error to half of the"),
        ({"status": 599, "rate": 0.125}, "599 to 12.5 % of the requests"),
        ({"latency": 0.25}, "every request answered 250 ms late"),
        ({"drop": "before"}, "connection dropped for every request, before the"),
        ({"drop": "after"}, "answer lost for every request, after the events"),
        ({"max_events": 1}, "413 Content Too Large to every request of more than 1 e"),
        (
            {"events": [0, 2], "opaque": True},
            "400 Bad Request to every request with an event at index 0, 2, without",
        ),
        ({"match": "x"}, "every request with an event that contains “x”"),
        (
            {"status": 200, "keep": False, "body": "<p>", "content_type": "text/html"},
            "200 OK to every request, the events are not taken, body “<p>”, as text/h",
        ),
    ],
)
def test_a_fault_is_told_in_words(
    page: Page, odp: Emulator, fault: dict[str, object], words: str
) -> None:
    """The banner says what it does and to what."""
    odp.fault(**fault)

    page.until(lambda: words in page.text("fault-list"))


def test_a_fault_counts_down(page: Page, odp: Emulator) -> None:
    """The banner says how long a fault lasts, without being read out each second."""
    odp.fault(status=503, seconds=90)
    page.until(lambda: "not fired yet, 90 s left" in page.text("fault-list"))
    page.until(lambda: "not fired yet, 88 s left" in page.text("fault-list"))

    live = "return Boolean(document.querySelector('.progress').closest('[role=alert]'))"
    assert page.run(live) is False
    said = page.run("return sayProgress({fired: 2, until: 130_500}, 500)")
    assert said == "fired 2 times, 2 min 10 s left"


def test_faults_are_switched_on_and_off(page: Page, odp: Emulator) -> None:
    """A switch sets the fault it shows, the banner says so, and both unset it."""
    banner = page.one("#banner")
    assert not banner.is_displayed()
    page.press("5")
    switch = next(one for one in page.all(".switch") if "Slow" in one.text)

    switch.click()
    page.until(banner.is_displayed)
    assert "1 fault on" in banner.text
    assert "every request answered 2.0 s late" in banner.text
    assert switch.get_attribute("aria-checked") == "true"
    assert call(odp, "GET", "/_emulator/faults").json[0]["latency"] == 2
    switch.click()
    page.until(lambda: not banner.is_displayed())

    assert switch.get_attribute("aria-checked") == "false"
    assert call(odp, "GET", "/_emulator/faults").json == []


def test_any_fault_is_set_by_the_form(page: Page, odp: Emulator) -> None:
    """The form sends its fields, shows them as curl, and says what is wrong."""
    page.press("5")
    page.until(page.one("#fault-form").is_displayed)

    def fill(name: str, text: str) -> None:
        field = page.one(f"#fault-form [name={name}]")
        page.run("arguments[0].value = ''", field)
        field.send_keys(text)

    fill("status", "5x3")
    page.click("#fault-add")
    page.until(lambda: "fault field 'status' cannot be" in page.text("fault-error"))
    fill("status", "400")
    fill("events", "0, 2")
    fill("count", "5")
    fill("match", MARKUP)
    assert f"curl {odp.url}/_emulator/faults" in page.text("fault-curl")
    page.click("#fault-add")
    page.until(page.one("#banner").is_displayed)

    fault = call(odp, "GET", "/_emulator/faults").json[0]
    del fault["id"]
    assert fault == {
        "status": 400,
        "events": [0, 2],
        "count": 5,
        "match": MARKUP,
        "fired": 0,
    }
    assert page.text("fault-error") == ""
    assert MARKUP in page.one("#banner").text


def test_faults_from_elsewhere_are_announced(page: Page, odp: Emulator) -> None:
    """The banner counts how often each fired, and switches all of them off."""
    banner = page.one("#banner")
    ask_fault(odp, [{"status": 503, "count": 2, "body": MARKUP}, {"latency": 0.01}])
    page.until(banner.is_displayed)

    send(odp, [an_event()])
    page.until(lambda: "fired 1 of 2" in banner.text)
    assert "2 faults on" in banner.text
    assert MARKUP in banner.text
    page.press("5")
    assert len(page.all("#faults button")) == 2
    page.click("#faults button")
    page.until(lambda: "1 fault on" in banner.text)
    page.click("#clear-faults")

    page.until(lambda: not banner.is_displayed())
    assert call(odp, "GET", "/_emulator/faults").json == []


def test_a_fault_that_ends_leaves_the_banner(page: Page, odp: Emulator) -> None:
    """The banner goes when the fault's time is over, without an event."""
    odp.fault(status=503, seconds=0.5)
    page.until(page.one("#banner").is_displayed)

    page.until(lambda: not page.one("#banner").is_displayed())
