"""Identifiers on the page: values first, whole where there is room, or masked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page
from .conftest import an_event, send

pytestmark = pytest.mark.slow

VUID = "7f3a9c0e5b1d4f62a8c4e19d00000001"
MAIL = "ada.lovelace@example.com"
WHO = {"vuid": VUID, "email": MAIL, "fs_user_id": "user-1042"}

CUT = (
    "return [...document.querySelectorAll('#events .row:not([hidden]) .chip .value')]"
    ".filter((at) => at.scrollWidth > at.clientWidth).map((at) => at.textContent)"
)
SEEN = (
    "return [...document.querySelectorAll('#events .body .row:not([hidden])')]"
    ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
    ".flatMap((row) => [...row.querySelectorAll('.chip')])"
    ".map((at) => at.innerText.trim().split(/\\s+/))"
)


@pytest.mark.parametrize("width", [1280, 1920])
def test_values_stand_before_names_and_are_not_cut(
    page: Page, odp: Emulator, width: int
) -> None:
    """Where the room is short, names give way, then the data; values stay whole."""
    send(odp, [an_event(1, identifiers={"email": MAIL})])
    send(odp, [an_event(2, identifiers=WHO)])
    send(odp, [an_event(3, identifiers=WHO, data={"note": "x" * 300})])
    page.resize(width)
    page.await_rows(3)

    try:
        page.until(lambda: page.run(CUT) == [])
        chips = page.run(SEEN)
        assert [MAIL, "email"] in chips
        assert [chip[0] for chip in chips[:3]] == list(WHO.values())
        assert page.run(CUT) == []
    finally:
        page.resize(0)


def test_a_wider_window_brings_the_names_back(page: Page, odp: Emulator) -> None:
    """What is left out follows the width of the list."""
    send(odp, [an_event(1, identifiers=WHO, data={"note": "x" * 300})])
    page.await_rows(1)
    try:
        page.resize(1100)
        page.until(lambda: [VUID] in page.run(SEEN))
        page.resize(1920)
        page.until(lambda: [VUID, "vuid"] in page.run(SEEN))
    finally:
        page.resize(0)


def test_masked_values_are_nowhere_on_the_page(
    page: Page, odp: Emulator, tmp_path: Path
) -> None:
    """Not in rows, tooltips, panels, profiles, the address, or what is downloaded."""
    data = {"idempotence_id": "i", "email": MAIL, "note": f"for {MAIL}", "n": [VUID]}
    send(odp, [an_event(1, identifiers=WHO, data=data)])
    send(odp, [an_event(2, identifiers={"fs_user_id": 1234567})])
    page.await_rows(2)
    page.one("#filter-who").send_keys("user-1042")
    page.await_rows(1)
    assert "who=user-1042" in page.run("return location.hash")

    page.run("document.getElementById('events').focus()")
    page.press("m")

    assert page.one("#mask").get_attribute("aria-pressed") == "true"
    assert page.run("return location.hash") == "#events?mask=1"
    page.run("events.open(store.items[0].serial)")
    page.until(lambda: "202 Accepted" in page.text("detail"))
    assert "a•••@•••" in page.text("detail")
    assert "for a•••@•••" in page.text("detail")
    assert_masked(page)
    page.run("resetFilter(); events.open(store.items[1].serial)")
    page.until(lambda: "400 Bad Request" in page.text("detail"))
    assert_masked(page)
    page.browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )
    page.click("#download")
    page.until(lambda: (tmp_path / "odp-events.jsonl").exists())
    lines = (tmp_path / "odp-events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2]
    assert not any(secret in "".join(lines) for secret in secrets())
    page.run("events.close(); showView('profiles')")
    page.run("profileRows.open(profileRows.source.keyAt(0))")
    assert_masked(page)

    page.browser.refresh()
    page.until(lambda: page.rows("profiles") != [])
    assert_masked(page)
    page.press("m", "1")
    page.until(lambda: MAIL in "".join(page.rows()))


def secrets() -> list[str]:
    """Return what is not to be seen."""
    return [VUID, MAIL, "user-1042", "1234567"]


def assert_masked(page: Page) -> None:
    """Assert that no identifier is in a text or an attribute of the document."""
    page.until(lambda: page.run("return pending.length") == 0)
    document = page.run("return document.documentElement.outerHTML")
    assert [secret for secret in secrets() if secret in document] == []
