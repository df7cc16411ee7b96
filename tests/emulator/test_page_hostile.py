"""Whatever an event holds, the page shows it as text and nothing but text."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..hostile.corpus.expected import Sent
from ..hostile.corpus.records import RECORDS
from .browsing import Page
from .conftest import an_event, call, send

pytestmark = pytest.mark.slow

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "'\"--></style></script><script>window.hacked=1</script>",
    '"><svg onload="window.hacked=1">',
    "javascript:window.hacked=1",
]
UNSEEN = "a\u202eb\u2066c\x00\x1b\x9f\u200b\ufeff\u2028\U000e0041z"
MADE = "main img, main script, main a, main style, main iframe, #banner img"


def plainly(value: Any) -> Any:
    """Return *value* with patterns as texts, for they cannot be sent."""
    if isinstance(value, dict):
        return {key: plainly(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plainly(each) for each in value]
    return value.pattern if isinstance(value, re.Pattern) else value


def corpus() -> list[dict[str, Any]]:
    """Return every event of the corpus that is sent."""
    return [
        {
            "type": outcome.type,
            "action": outcome.action,
            "identifiers": dict(outcome.identifiers),
            "data": plainly(dict(outcome.data)),
        }
        for record in RECORDS
        if isinstance(outcome := record.outcome, Sent)
    ]


def opened(page: Page, *serials: int) -> list[str]:
    """Return the JSON of each event when it is open, its long texts shown whole."""
    found: list[str] = page.run(
        "return [...arguments].map((serial) => { events.open(serial);"
        "const json = document.querySelector('#detail .json');"
        "for (const more of json.querySelectorAll('.more')) more.click();"
        "return json.textContent; })",
        *serials,
    )
    return found


def hidden(text: str) -> list[str]:
    """Return what in *text* cannot be seen, but for line ends and joiners."""
    return [
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        and character not in "\n\u200c\u200d"
    ]


def test_the_corpus_is_shown_as_text(page: Page, odp: Emulator) -> None:
    """Every hostile record is shown whole, to the letter, with nothing unseen in it."""
    sent = corpus()
    assert len(sent) > 150
    for first in range(0, len(sent), 100):
        assert send(odp, sent[first : first + 100]).status in (202, 400)
    accepted = [each["event"] for each in odp.events()]
    page.until(lambda: page.run("return newest") == len(accepted))
    page.until(lambda: page.run("return pending.length") == 0)
    serials = page.run(
        "return store.items.filter((item) => item.raw).map((item) => item.serial)"
    )

    for text, event in zip(opened(page, *serials), accepted):
        assert json.loads(text) == event
        assert hidden(text) == []
    for view in ("profiles", "checks", "events"):
        page.run("showView(arguments[0])", view)
        shown = page.run("return document.querySelector('main').textContent")
        assert hidden(shown) == []
    assert page.all(MADE) == []
    assert page.browser.get_log("browser") == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_text_wherever_it_stands(
    page: Page, odp: Emulator, text: str
) -> None:
    """Markup is shown to the letter in rows, reasons, details, profiles and checks."""
    hostile = an_event(1, type=text, action=text, identifiers={text: text})
    hostile["data"] = {text: text, "__proto__": {"x": text}}
    send(odp, [hostile])
    send(odp, [{**hostile, "identifiers": {text: 7}}])
    send(odp, [text], user_agent=text)
    odp.fault(status=503, body=text, content_type="text/html")
    send(odp, [hostile])
    page.await_rows(4)
    assert f"identifier '{text}' must be text" in page.row("must be text").text

    assert json.loads(opened(page, 1)[0]) == hostile
    for serial in (2, 3, 4):
        page.run("events.open(arguments[0])", serial)
        page.until(lambda: "Status" in page.text("detail"))
        assert text in page.text("detail")
    for view in ("profiles", "checks", "faults", "events"):
        page.run("showView(arguments[0])", view)
        page.until(lambda: text in page.one("main").get_property("textContent"))
    assert page.all(MADE) == []
    assert page.run("return typeof window.hacked") == "undefined"


def test_what_cannot_be_seen_is_made_visible(page: Page, odp: Emulator) -> None:
    """Bidi marks and controls are escapes that look different, and turn nothing."""
    send(odp, [an_event(1, action=UNSEEN, identifiers={"email": UNSEEN})])
    send(odp, [an_event(2, action="שלום", data={"word": "\u05e9", "page": "/x"})])
    page.await_rows(2)

    row = page.row("fullstack\na")

    shown = r"a\u202eb\u2066c\u0000\u001b\u009f\u200b\ufeff\u2028\udb40\udc41z"
    assert shown in str(row.get_property("textContent"))
    assert row.find_element("css selector", ".escape").text == r"\u202e"
    assert page.run("return plain(arguments[0])", "a\u200db") == "a\u200db"
    assert json.loads(opened(page, 1)[0])["action"] == UNSEEN


def test_huge_values_are_clipped(page: Page, odp: Emulator) -> None:
    """A huge text is shown clipped, with a button that shows all of it."""
    huge = "x" * 2_000_000 + "end"
    many = {f"k{n}": n for n in range(20_000)}
    send(odp, [an_event(1, data={"text": huge})])
    send(odp, [an_event(2, data=many)])
    page.await_rows(2)

    page.run("events.open(1)")
    assert len(page.text("detail")) < 5_000
    assert "show all 2,000,003 characters" in page.text("detail")
    assert json.loads(opened(page, 1)[0]) == an_event(1, data={"text": huge})
    page.run("events.open(2)")
    assert page.run("return document.querySelectorAll('#detail *').length") < 20_000
    assert json.loads(opened(page, 2)[0]) == an_event(2, data=many)


def test_nothing_is_loaded_from_outside(page: Page, odp: Emulator) -> None:
    """The page is one file: all it asks for is the emulator itself."""
    send(odp, [an_event()])
    page.await_rows(1)

    names = page.run(
        "return performance.getEntriesByType('resource').map((one) => one.name)"
    )

    assert names
    assert all(name.startswith((f"{odp.url}/", "data:")) for name in names)


def test_only_its_own_script_may_run(page: Page, odp: Emulator) -> None:
    """The page's policy forbids everything but its own script and style."""
    from selenium.common.exceptions import JavascriptException

    policy = call(odp, "GET", "/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    with pytest.raises(JavascriptException, match="TrustedScript"):
        page.run("document.body.setAttribute('onclick', 'window.hacked=1')")
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.run("document.body.innerHTML = '<img src=x onerror=window.hacked=1>'")

    assert page.run("return typeof window.hacked") == "undefined"


def test_nothing_is_wrong_on_the_console(page: Page, odp: Emulator) -> None:
    """The page runs without an error or a policy violation of its own."""
    page.browser.get_log("browser")  # type: ignore[attr-defined]
    page.browser.refresh()
    send(odp, [an_event()])
    page.await_rows(1)
    page.row("user-0").click()
    for key in "2341":
        page.press(key)

    assert page.browser.get_log("browser") == []  # type: ignore[attr-defined]
