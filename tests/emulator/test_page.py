"""The page in a browser: events as they arrive, as text and nothing but text."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .conftest import KEY, an_event, call, send, some_events

pytestmark = pytest.mark.slow


def _needed(reason: str) -> None:
    """Skip with *reason*, but not where the browser is part of the bargain."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


try:
    from selenium import webdriver
    from selenium.common.exceptions import JavascriptException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    _needed("selenium is not installed")

PATIENCE = 10
NAMES = ("received", "unique", "duplicates", "rejected", "requests")

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=1</script>",
    '"><svg onload="window.hacked=1">',
    "'\"--></style></script><script>window.hacked=1</script>",
    "javascript:window.hacked=1",
    "{{constructor.constructor('window.hacked=1')()}}",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    """One headless Chromium with a profile of its own."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        _needed("chromium and chromedriver are not installed")
    # Not below pytest's own: Chromium's socket needs a short path.
    profile = tempfile.mkdtemp(prefix="odp-page-")
    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(str(driver))
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield started
    finally:
        started.quit()
        shutil.rmtree(profile, ignore_errors=True)


class Page:
    """The page of one emulator, as who sits before it would use it."""

    def __init__(self, browser: WebDriver, url: str) -> None:
        self.browser = browser
        self._wait = WebDriverWait(browser, PATIENCE, poll_frequency=0.02)
        browser.get(f"{url}/")
        self.until(lambda: self.text("link") == "live")

    def until(self, condition: Any) -> None:
        """Wait until *condition* holds."""
        self._wait.until(lambda _: condition())

    def run(self, script: str, *arguments: Any) -> Any:
        """What *script* returns in the page."""
        return self.browser.execute_script(script, *arguments)

    def one(self, selector: str) -> WebElement:
        """The first element for *selector*."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        """The text of the element with the id *name*, shown or not."""
        return str(
            self.run("return document.getElementById(arguments[0]).textContent", name)
        )

    def rows(self) -> list[str]:
        """The text of the shown rows, newest first."""
        found = self.run(
            "return [...document.querySelectorAll('#rows tr[data-n]')]"
            ".filter((row) => row.offsetParent !== null).map((row) => row.innerText)"
        )
        return [str(text) for text in found]

    def await_rows(self, number: int) -> None:
        """Wait until *number* rows are shown."""
        self.until(lambda: len(self.rows()) == number)

    def counters(self) -> tuple[str, ...]:
        """received, unique, duplicates, rejected, requests."""
        return tuple(self.text(name) for name in NAMES)

    def row(self, n: int) -> WebElement:
        """The row of the event with the serial *n*."""
        return self.one(f'tr[data-n="{n}"]')

    def active(self) -> str:
        """What has the focus: its id, or the serial of a row."""
        return str(
            self.run(
                "const at = document.activeElement; return at.id || at.dataset.n || ''"
            )
        )

    def press(self, *keys: str) -> None:
        """Type *keys* into what has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)


@pytest.fixture
def page(browser: WebDriver, odp: Emulator) -> Iterator[Page]:
    """The page of this test's emulator."""
    yield Page(browser, odp.url)
    browser.get("about:blank")


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
    assert page.text("shown") == "latest 4"
    assert page.browser.title == "3 events · ODP emulator"


def test_events_from_before_are_shown(browser: WebDriver, odp: Emulator) -> None:
    """A page that is opened late shows the latest 500 of what was there."""
    for first in (0, 300):
        send(odp, some_events(first, first + 300))

    page = Page(browser, odp.url)
    page.await_rows(500)

    assert "user-599" in page.rows()[0]
    assert "user-100" in page.rows()[-1]
    page.until(lambda: page.counters() == ("600", "600", "0", "0", "2"))


def test_a_row_opens_on_click(page: Page, odp: Emulator) -> None:
    """A click shows the whole event below its row, and another hides it."""
    data = {"idempotence_id": "id-1", "nested": {"list": [1, None, "Zoë"]}}
    send(odp, [an_event(1, data=data)])
    page.await_rows(1)

    page.row(1).click()

    assert page.row(1).get_attribute("aria-expanded") == "true"
    shown = page.one("#rows .detail pre").text
    assert json.loads(shown) == an_event(1, data=data)
    page.row(1).click()
    assert page.browser.find_elements(By.CSS_SELECTOR, ".detail") == []
    assert page.row(1).get_attribute("aria-expanded") == "false"


def test_a_row_opens_on_enter(page: Page, odp: Emulator) -> None:
    """Rows open on Enter and Space, close on Escape, and arrows go between them."""
    send(odp, some_events(0, 3))
    page.await_rows(3)
    page.run("arguments[0].focus()", page.row(3))

    page.press(Keys.ENTER)
    assert "user-2" in page.one(".detail pre").text
    page.press(Keys.ESCAPE)
    assert page.browser.find_elements(By.CSS_SELECTOR, ".detail") == []
    page.press(Keys.ARROW_DOWN)
    assert page.active() == "2"
    page.press(Keys.SPACE)
    assert "user-1" in page.one(".detail pre").text
    page.press(Keys.ARROW_UP)
    assert page.active() == "3"


def test_everything_is_reached_by_tab(page: Page, odp: Emulator) -> None:
    """Tab goes through the tools and into the rows, and each shows its focus."""
    send(odp, [an_event()])
    odp.fault(status=503, match="nowhere")
    page.await_rows(1)
    page.until(page.one("#banner").is_displayed)
    page.run("document.activeElement.blur()")

    reached = []
    for _ in range(6):
        page.press(Keys.TAB)
        reached.append(page.active())
        outline = page.run(
            "return getComputedStyle(document.activeElement).outlineStyle"
        )
        assert outline != "none"

    assert reached == ["clear-faults", "filter", "problems", "pause", "clear", "1"]


def test_the_filter_narrows_what_is_shown(page: Page, odp: Emulator) -> None:
    """All words of the filter must be in the event, in any case; later events too."""
    send(odp, [an_event(1, action="Viewed"), an_event(2), an_event(2)])
    page.await_rows(3)

    page.press("/")
    assert page.active() == "filter"
    page.press("USER-1 viewed")
    page.await_rows(1)
    assert page.text("shown") == "1 of the latest 3"
    send(odp, [an_event(9)])
    page.until(lambda: page.text("shown") == "1 of the latest 4")
    page.press(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE)
    page.await_rows(4)
    page.one("#problems").click()
    page.await_rows(1)
    assert "duplicate" in page.rows()[0]


def test_a_pause_holds_new_events_back(page: Page, odp: Emulator) -> None:
    """While paused the rows stand still and the counters go on; nothing is lost."""
    send(odp, [an_event(1)])
    page.await_rows(1)

    page.one("#pause").click()
    send(odp, some_events(2, 5))
    page.until(lambda: page.text("pause") == "Resume (3 new)")
    page.until(lambda: page.counters()[0] == "4")
    assert len(page.rows()) == 1
    assert page.one("#pause").get_attribute("aria-pressed") == "true"
    page.one("#pause").click()

    page.await_rows(4)
    assert page.text("pause") == "Pause"


def test_clear_empties_page_and_ledger(page: Page, odp: Emulator) -> None:
    """Clear forgets all events, here and in the emulator."""
    send(odp, some_events(0, 3))
    page.await_rows(3)

    page.one("#clear").click()

    page.await_rows(0)
    page.until(lambda: page.counters() == ("0", "0", "0", "0", "0"))
    page.until(page.one("#empty").is_displayed)
    assert odp.stats()["received"] == 0
    send(odp, [an_event()])
    page.await_rows(1)


def test_faults_are_announced(page: Page, odp: Emulator) -> None:
    """A banner says which faults are set and how often they fired, and unsets them."""
    banner = page.one("#banner")
    assert not banner.is_displayed()

    odp.fault(status=503, count=5, body=HOSTILE[0])
    page.until(banner.is_displayed)
    assert "1 fault active" in banner.text
    assert "status 503" in banner.text
    assert HOSTILE[0] in banner.text
    send(odp, [an_event()])
    page.until(lambda: "fired 1" in banner.text)
    page.one("#clear-faults").click()

    page.until(lambda: not banner.is_displayed())
    assert call(odp, "GET", "/_emulator/faults").json == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_text(page: Page, odp: Emulator, text: str) -> None:
    """Wherever markup is put, it is shown to the letter and never acts."""
    hostile = an_event(1, type=text, action=text, identifiers={text: text})
    hostile["data"] = {text: text, "__proto__": {"x": text}}
    send(odp, [hostile])
    send(odp, [{**hostile, "identifiers": {text: 7}}])
    send(odp, [text])
    page.await_rows(3)

    for row in page.browser.find_elements(By.CSS_SELECTOR, "tr[data-n]"):
        page.run("arguments[0].focus()", row)
        page.press(Keys.ENTER)

    opened = page.row(1).find_element(By.XPATH, "following-sibling::tr[1]//pre")
    assert json.loads(opened.text) == hostile
    assert page.row(1).find_element(By.CSS_SELECTOR, ".action").text == text
    assert page.row(1).text.count(text) >= 6
    assert f"identifier '{text}' must be text" in page.row(2).text
    assert text in page.row(3).text
    markup = "#rows img, #rows script, #rows svg, #rows style, #rows a"
    assert page.browser.find_elements(By.CSS_SELECTOR, markup) == []
    assert page.run("return typeof window.hacked") == "undefined"


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
    policy = call(odp, "GET", "/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    with pytest.raises(JavascriptException, match="TrustedScript"):
        page.run("document.body.setAttribute('onclick', 'window.hacked=1')")
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.run("document.body.innerHTML = '<img src=x onerror=window.hacked=1>'")

    assert page.run("return typeof window.hacked") == "undefined"


def test_the_page_survives_an_outage(page: Page, odp: Emulator) -> None:
    """The page says that the emulator is gone, and goes on when it is back."""
    send(odp, [an_event()])
    page.await_rows(1)

    odp.stop()
    page.until(lambda: page.text("link") == "not connected, trying again")
    odp.start()
    page.until(lambda: page.text("link") == "live")
    send(odp, [an_event(1)])

    page.await_rows(2)


def test_another_emulator_starts_a_new_page(browser: WebDriver) -> None:
    """If a fresh emulator takes the port, the old events go and the new ones show."""
    with Emulator(key=KEY) as first:
        page = Page(browser, first.url)
        send(first, some_events(0, 3))
        page.await_rows(3)
    with Emulator(key=KEY, port=int(first.url.rpartition(":")[2])) as second:
        send(second, [an_event(7)])

        page.await_rows(1)
        assert "user-7" in page.rows()[0]
        browser.get("about:blank")


def test_nothing_is_wrong_on_the_console(page: Page, odp: Emulator) -> None:
    """The page runs without an error or a policy violation of its own."""
    page.browser.get_log("browser")  # type: ignore[attr-defined]
    page.browser.refresh()
    send(odp, [an_event()])
    page.await_rows(1)

    assert page.browser.get_log("browser") == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280])
def test_the_page_fits(page: Page, odp: Emulator, scheme: str, width: int) -> None:
    """Long values never push the page wider than its window, in either scheme."""
    long = "x" * 3_000
    odp.fault(status=503, match=long[:900], count=1, rate=0.5)
    send(odp, [an_event(1, action=long, identifiers={long: long}, data={long: long})])
    send(odp, [an_event(2), an_event(2)])
    send(odp, [an_event(3, identifiers={long: 7})])
    page.browser.set_window_size(width, 900)
    _prefer(page.browser, scheme)
    page.until(lambda: len(page.rows()) >= 3)

    overflow = page.run(
        "const at = document.documentElement; return at.scrollWidth - at.clientWidth"
    )

    _keep_picture(page.browser, f"page-{scheme}-{width}.png")
    page.browser.set_window_size(1280, 900)
    assert overflow <= 0


def _prefer(browser: WebDriver, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Emulation.setEmulatedMedia", {"features": features}
    )


def _keep_picture(browser: WebDriver, name: str) -> None:
    """Save a picture for who wants to look: ODP_TEST_PICTURES names the folder."""
    folder = os.environ.get("ODP_TEST_PICTURES")
    if folder:
        browser.save_screenshot(str(Path(folder) / name))
