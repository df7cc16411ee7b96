"""The page fits its window in either scheme, and ten thousand events do not stop it."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import an_event, send, some_events

pytestmark = pytest.mark.slow

LONGEST_TASK = 1_000
"""Milliseconds, on a machine that runs other tests; alone it is under a hundred."""

MOST_NODES = 4_000

WATCH = (
    "window.tasks = []; new PerformanceObserver((list) => {"
    "for (const each of list.getEntries()) tasks.push(Math.round(each.duration)); })"
    ".observe({entryTypes: ['longtask']});"
    "window.keys = []; new PerformanceObserver((list) => {"
    "for (const each of list.getEntries()) if (each.name === 'keydown')"
    " keys.push(each.duration); }).observe({type: 'event', durationThreshold: 16})"
)
SCROLL = (
    "const list = document.getElementById('events'); let at = 0, last = null;"
    "window.scrolled = false; window.frames_ = [];"
    "(function step(now) { if (last) frames_.push(now - last); last = now;"
    "at += 3000; list.scrollTop = at;"
    "if (at < 310000) requestAnimationFrame(step); else window.scrolled = true; })()"
)
SMOOTH = 50
"""Milliseconds between half of the frames, at most, while other tests run as well."""


def test_ten_thousand_events_do_not_stop_it(page: Page, odp: Emulator) -> None:
    """While they arrive, and in all that follows, the page stays quick and small."""
    page.run(WATCH)

    for first in range(0, 10_000, 500):
        send(odp, some_events(first, first + 500))
    page.await_shown("10,000 shown")
    assert page.one("#events").get_attribute("aria-rowcount") == "10001"
    page.run(SCROLL)
    page.until(lambda: page.run("return scrolled"))
    page.until(lambda: "user-0" in page.rows()[-1])
    page.run("document.getElementById('events').focus()")
    page.press("HOME")
    assert "user-9999" in page.current()
    page.press("/", "user-77")
    page.await_shown("111 of 10,000 shown")
    page.press("ESCAPE")
    page.press("ESCAPE", "2")
    page.until(lambda: page.text("profile-count") == "10,000 profiles")
    page.press("3", "1")
    send(odp, some_events(10_000, 10_500))
    page.until(lambda: "user-10499" in page.rows()[0])

    assert page.text("shown") == "10,000 shown"
    assert page.run("return document.querySelectorAll('*').length") < MOST_NODES
    longest = max(page.run("return tasks"), default=0)
    frames = sorted(page.run("return frames_"))
    middle, late = frames[len(frames) // 2], frames[len(frames) * 95 // 100]
    keys = sorted(page.run("return keys")) or [0]
    print(
        f"10,000 events: frames while scrolling {middle:.1f} ms in the middle,"
        f" {late:.1f} ms at the 95th percentile; key to screen at most"
        f" {keys[-1]:.0f} ms; longest task {longest} ms"
    )
    assert longest < LONGEST_TASK
    assert middle < SMOOTH


def test_new_events_do_not_move_what_is_looked_at(page: Page, odp: Emulator) -> None:
    """Whoever has scrolled down goes on seeing the same rows."""
    send(odp, some_events(0, 200))
    page.await_shown("200 shown")
    page.run("document.getElementById('events').scrollTop = 3000")
    page.until(lambda: "user-99\n" in "\n".join(page.rows()))
    top = page.run(
        "return document.elementFromPoint(300, 300).closest('.row').innerText"
    )

    send(odp, some_events(200, 300))
    page.await_shown("300 shown")

    again = "return document.elementFromPoint(300, 300).closest('.row').innerText"
    page.until(lambda: page.run(again) == top)


TOO_WIDE = (
    "return [...document.querySelectorAll(arguments[0])]"
    ".filter((at) => at.scrollWidth > at.clientWidth)"
    ".map((at) => [at.tagName, at.id, at.scrollWidth, at.clientWidth])"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_page_fits(page: Page, odp: Emulator, scheme: str, width: int) -> None:
    """Long values never push any view wider than its window, in either scheme."""
    long = "x" * 3_000
    odp.fault(status=503, match=long[:900], count=1, rate=0)
    send(odp, [an_event(1, action=long, identifiers={long: long}, data={long: long})])
    send(odp, [an_event(2), an_event(2)])
    send(odp, [an_event(3, identifiers={long: 7})])
    page.resize(width)
    page.prefer(scheme)
    page.until(lambda: len(page.rows()) >= 3)

    try:
        for view in ("events", "profiles", "checks", "library", "faults"):
            page.run("showView(arguments[0])", view)
            page.until(lambda: len(page.all("#faults .progress")) == 1)
            assert page.run(TOO_WIDE, "html, main, .scroll") == []
            page.keep_picture(f"page-{view}-{scheme}-{width}.png")
        page.run("showView('events'); events.open(store.view[0].serial)")
        assert page.run(TOO_WIDE, "#detail") == []
        page.keep_picture(f"page-open-{scheme}-{width}.png")
    finally:
        page.resize(0)
        page.prefer("")


@pytest.mark.parametrize("width", [800, 1000, 1280, 1920])
def test_the_counters_stay_in_one_line(page: Page, width: int) -> None:
    """Six digits in each counter leave the head as high as it was."""
    page.resize(width)
    try:
        page.run(
            "for (const each of document.querySelectorAll('.counters dd'))"
            "  each.textContent = '123,456'"
        )

        assert page.run("return document.querySelector('.top').offsetHeight") < 50
        assert page.run(TOO_WIDE, "html, header") == []
    finally:
        page.resize(0)


def test_light_and_dark_differ(page: Page, odp: Emulator) -> None:
    """The scheme of the system is the page's, and text is legible in both."""
    odd = an_event(1, identifiers={"plan": "x\u202ey"}, data={"A": [1, None, "b"]})
    send(odp, [odd, an_event(1, data={"item": 1})])
    odp.fault(status=503, match="nowhere")
    send(odp, [{}])
    send(odp, b"{")
    page.await_rows(4)

    assert _contrasts(page, "light")[0] > 0.8
    assert _contrasts(page, "dark")[0] < 0.1


def _contrasts(page: Page, scheme: str) -> list[float]:
    """Return the page's brightness, having looked at the contrast of its texts."""
    page.prefer(scheme)
    found: list[Any] = []
    try:
        for view in ("profiles", "checks", "faults", "events"):
            page.run("showView(arguments[0])", view)
            found += page.run(CONTRASTS)
        page.run("events.open(store.view[0].serial)")
        page.until(lambda: "202 Accepted" in page.text("detail"))
        found += page.run(CONTRASTS)
        page.run("events.close()")
    finally:
        page.prefer("")
    assert len(found) > 300
    assert [each for each in found if each[1] < 4.5] == []
    return [each[2] for each in found]


CONTRASTS = """
const read = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) =>
  c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (at) => {
  for (; at; at = at.parentElement) {
    const colour = read(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return light(colour);
  }
  return 1;
};
return [...document.querySelectorAll('body *')].filter((at) => at.offsetParent !== null
  && [...at.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((at) => {
    const [text, back] = [light(read(getComputedStyle(at).color)), behind(at)];
    return [at.className + at.tagName, (Math.max(text, back) + 0.05)
      / (Math.min(text, back) + 0.05), back];
  });
"""
