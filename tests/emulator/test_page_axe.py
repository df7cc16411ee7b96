"""axe-core finds nothing to improve for readers, keyboards and eyes, in any view."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page, needed
from .conftest import an_event, call, send

pytestmark = pytest.mark.slow

RUN = (
    "const done = arguments[arguments.length - 1];"
    "axe.run(document, {resultTypes: ['violations']}).then("
    "(found) => done(found.violations.map((each) => "
    "[each.id, each.help, each.nodes.slice(0, 3).map((node) => node.html)])),"
    "(error) => done([String(error)]))"
)


def load_axe() -> str:
    """Return axe-core's script: of the file ODP_TEST_AXE, or of its package."""
    given = os.environ.get("ODP_TEST_AXE")
    if given:
        return Path(given).read_text("utf-8")
    try:
        package = importlib.resources.files("axe_core_python")
    except ModuleNotFoundError:
        needed("axe-core-python is not installed")
    return package.joinpath("axe.min.js").read_text("utf-8")


def find_violations(page: Page) -> Any:
    """Return what axe-core finds in the page as it is."""
    return page.browser.execute_async_script(RUN)  # type: ignore[attr-defined]


@pytest.fixture
def axe_page(page: Page) -> Page:
    """The page, with axe-core in it."""
    page.run(f"{load_axe()}; window.axe = axe")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(
    axe_page: Page, odp: Emulator, scheme: str, width: int
) -> None:
    """In every view, empty and full, and in panels and the dialog."""
    page = axe_page
    found: dict[str, Any] = {}
    page.resize(width)
    page.prefer(scheme)
    views = ("profiles", "checks", "library", "faults", "events")
    try:
        for view in views:
            page.run("showView(arguments[0])", view)
            found[f"empty {view}"] = find_violations(page)
        fill(page, odp)
        for view in views:
            page.run("showView(arguments[0])", view)
            found[view] = find_violations(page)
        for number in range(5):
            page.run(
                "unfoldFilters(true); events.open(store.items[arguments[0]].serial)",
                number,
            )
            page.until(lambda: "Status" in page.text("detail"))
            found[f"open {number}"] = find_violations(page)
        page.run("events.close(); setFilter({text: 'nothing'})")
        found["none"] = find_violations(page)
        page.run("resetFilter(); toggleMask(); showView('profiles')")
        page.run("profileRows.open(profileRows.source.keyAt(0))")
        found["profile"] = find_violations(page)
        page.run("document.getElementById('keys').showModal()")
        found["keys"] = find_violations(page)
    finally:
        page.resize(0)
        page.prefer("")

    assert len(found) == 18
    assert {where: what for where, what in found.items() if what} == {}


def fill(page: Page, odp: Emulator) -> None:
    """Send something of every kind that the page shows."""
    odd = an_event(1, identifiers={"plan": "x", "email": "a@b.example"})
    odd["data"] |= {"Total Price": 1, "note": "x\u202e" * 400}
    send(odp, [odd])
    send(odp, [odd])
    send(odp, [an_event(3, type="")])
    send(odp, [an_event(4)], x_api_key="")
    headers = {"content-type": "application/json", "x-api-key": ""}
    call(odp, "POST", "/v3/v3/events", b"[]", headers)
    report = {"time": 1e9, "kind": "k", "text": "ODP answered 503"}
    odp._api.diagnostics.record(
        {"process": "p", "lines": [report], "counts": {"waiting": 1}}
    )
    odp.fault(status=503, match="nowhere", seconds=600)
    page.await_rows(5)
    page.until(page.one("#banner").is_displayed)
