"""Likely mistakes in events that ODP accepts, and what is said of them."""

from __future__ import annotations

import pytest

from odp_logging import OdpClient, OdpEvent
from odp_logging._capture import build
from odp_logging._events.lint import check_event
from odp_logging.emulator import Emulator

from ..conftest import KEY

WHO = {"email": "ada@example.com"}
NOW = 1_700_000_000.0


def find_kinds(event: OdpEvent) -> list[str]:
    """Return the kinds of all problems of *event*."""
    return [kind for kind, _ in check_event(event, NOW)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e-mail", 'did you mean "email"?'),
        ("fsUserId", 'did you mean "fs_user_id"?'),
        ("Customer ID", 'did you mean "customer_id"?'),
        ("userName", '"userName" cannot be an identifier in ODP'),
        ("ada@example.com", "a name cannot be an identifier in ODP"),
    ],
)
def test_a_name_that_no_identifier_can_have(name, text):
    """It is named, with the standard one; a name that may be a value is not shown."""
    ((kind, message),) = check_event(OdpEvent("sold", {name: "a"}), NOW)
    assert kind == "identifier_name"
    assert text in message
    assert "ada@" not in message


@pytest.mark.parametrize(
    "name", ["email", "phone", "vuid", "loyalty_id", "token", "store_number"]
)
def test_names_of_identifiers(name):
    """Standard ones, and those that can be created, are no problem."""
    assert find_kinds(OdpEvent("sold", {name: "a"})) == []


@pytest.mark.parametrize(
    ("type_", "data", "kinds"),
    [
        (None, {"price": 5, "item": "shirt", "note": None}, []),
        (None, {"sizes": [1, 2]}, ["nested"]),
        (None, {"shop": {"id": 5}}, ["nested"]),
        ("order", {"items": [{"product_id": "p1"}], "order": {"total": 5}}, []),
        (None, {"email": "ada@example.com"}, []),
        (None, {"phone": "+4930123456"}, ["identifier_in_data"]),
        (None, {"eMail": "ada@example.com", "vuid": "v"}, ["identifier_in_data"]),
        (None, {"ts": NOW + 7200}, ["time_ahead"]),
        (None, {"ts": NOW + 60}, []),
        (None, {"ts": "2100-01-01"}, []),
    ],
)
def test_values_that_odp_ignores(type_, data, kinds):
    """Lists and dicts outside of an order, identifiers in data, times ahead."""
    assert find_kinds(OdpEvent("sold", WHO, type=type_, data=data)) == kinds


def test_each_kind_is_reported_once(emulator: Emulator, caplog):
    """With file and line of the first log call; all events are delivered."""
    with OdpClient(KEY, api_host=emulator.url) as client:
        for number in range(3):
            client.send_odp_event("sold", {"e-mail": f"{number}"}, data={"a": [number]})
    lines = [record.getMessage() for record in caplog.records]

    assert client.stats.delivered == 3
    assert len([line for line in lines if '"e-mail"' in line]) == 1
    assert len([line for line in lines if '"a" in odp_data is a list' in line]) == 1
    assert all(line.startswith(f"{__file__}:") for line in lines)


def test_only_the_first_events_are_checked(monkeypatch):
    """Later ones cost nothing."""
    monkeypatch.setattr(build, "_MAX_LINTED_EVENTS", 2)
    reported: list[str] = []
    builder = build.Builder(report=lambda kind, text, **_: reported.append(kind))
    for identifiers in (WHO, WHO, {"e-mail": "a"}):
        builder(OdpEvent("sold", identifiers))
    assert reported == []
