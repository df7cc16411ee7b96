"""One Chromium, and the emulator's page as who sits before it would use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 30
NAMES = ("received", "unique", "duplicates", "rejected", "requests")
ARGUMENTS = (
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
)

ROWS = (
    "return [...document.querySelectorAll(`#${arguments[0]} .body .row:not([hidden])`)]"
    ".filter((row) => row.offsetParent !== null)"
    ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.innerText)"
)


def needed(reason: str) -> NoReturn:
    """Skip with *reason*, but not where the browser is part of the bargain."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def chromium() -> Iterator[WebDriver]:
    """Start one headless Chromium with a profile of its own."""
    try:
        from selenium import webdriver
    except ImportError:
        needed("selenium is not installed")
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        needed("chromium and chromedriver are not installed")
    # Not below pytest's own: Chromium's socket needs a short path.
    profile = tempfile.mkdtemp(prefix="odp-page-")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()
        shutil.rmtree(profile, ignore_errors=True)


class Page:
    """The page of one emulator."""

    def __init__(self, browser: WebDriver, url: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        self.browser = browser
        self._wait = WebDriverWait(browser, PATIENCE, poll_frequency=0.02)
        browser.get(url)
        self.until(lambda: self.text("link") == "live")

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until *condition* holds."""
        self._wait.until(lambda _: condition())

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what *script* returns in the page."""
        return self.browser.execute_script(script, *arguments)

    def one(self, selector: str) -> WebElement:
        """Return the first element for *selector*."""
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element for *selector*."""
        return self.browser.find_elements("css selector", selector)

    def click(self, selector: str) -> None:
        """Press what *selector* finds first."""
        from selenium.common.exceptions import StaleElementReferenceException

        def pressed() -> bool:
            try:
                self.one(selector).click()
            except StaleElementReferenceException:  # drawn anew in between
                return False
            return True

        self.until(pressed)

    def text(self, name: str) -> str:
        """Return the text of the element with the id *name*, shown or not."""
        script = "return document.getElementById(arguments[0]).textContent"
        return str(self.run(script, name))

    def rows(self, view: str = "events") -> list[str]:
        """Return the text of the rows that are in the document, from the top."""
        return [str(text) for text in self.run(ROWS, view)]

    def await_rows(self, number: int, view: str = "events") -> None:
        """Wait until *number* rows are there."""
        self.until(lambda: len(self.rows(view)) == number)

    def await_shown(self, text: str) -> None:
        """Wait until the page says how many events it shows."""
        self.until(lambda: self.text("shown") == text)

    def row(self, text: str, view: str = "events") -> WebElement:
        """Return the first row from the top that contains *text*."""
        script = ROWS.removesuffix(".map((row) => row.innerText)")
        found = self.run(script, view)
        return next(row for row in found if text in row.text)

    def counters(self) -> tuple[str, ...]:
        """Return received, unique, duplicates, rejected, requests."""
        return tuple(self.text(name) for name in NAMES)

    def active(self) -> str:
        """Return what has the focus: its id, or its text."""
        script = "const at = document.activeElement; return at.id || at.textContent"
        return str(self.run(script))

    def current(self) -> str:
        """Return the text of the row that the list's focus is on."""
        script = (
            "const list = document.activeElement, row = document.getElementById("
            "list.getAttribute('aria-activedescendant'));"
            "return row ? row.innerText : ''"
        )
        return str(self.run(script))

    def press(self, *keys: str) -> None:
        """Type *keys* into what has the focus: text, or the name of a key."""
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            typed = getattr(Keys, key) if key.isupper() and len(key) > 1 else key
            self.browser.switch_to.active_element.send_keys(typed)

    def choose(self, name: str, text: str) -> None:
        """Choose the option of the select *name* that begins with *text*."""
        self.until(
            lambda: self.run(
                "const list = document.getElementById(arguments[0]);"
                "const at = [...list.options].findIndex("
                "  (option) => option.textContent.startsWith(arguments[1]));"
                "if (at < 0) return false; list.selectedIndex = at;"
                "list.dispatchEvent(new Event('change')); return true",
                name,
                text,
            )
        )

    def prefer(self, scheme: str) -> None:
        """Have the browser prefer *scheme*: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd(  # type: ignore[attr-defined]
            "Emulation.setEmulatedMedia", {"features": features}
        )

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page a window of this size; of no size, that of the browser."""
        command, size = "Emulation.clearDeviceMetricsOverride", {}
        if width:
            command = "Emulation.setDeviceMetricsOverride"
            size = {"width": width, "height": height}
            size |= {"deviceScaleFactor": 1, "mobile": False}  # type: ignore[dict-item]
        self.browser.execute_cdp_cmd(command, size)  # type: ignore[attr-defined]

    def keep_picture(self, name: str) -> None:
        """Save a picture for who wants to look: ODP_TEST_PICTURES names the folder."""
        folder = os.environ.get("ODP_TEST_PICTURES")
        if folder:
            self.browser.save_screenshot(str(Path(folder) / name))
