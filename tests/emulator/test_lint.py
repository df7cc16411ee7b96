"""What ODP would take without a word is said by the emulator, and nothing else is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.emulator._lint import CHECKS, MAX_WARNINGS, find_warnings

from .conftest import an_event, call, send

NOW = 1_800_000_000.0
DAY = 86_400


def found(event: dict[str, Any], status: str = "accepted") -> list[tuple[str, str]]:
    """Return check and field of what is swallowed of *event*, which arrived at NOW."""
    entry = {"event": event, "received": NOW, "status": status}
    return [(each["check"], each["field"]) for each in find_warnings(entry)]


def of_data(**data: Any) -> list[tuple[str, str]]:
    """Return what is swallowed of *data*."""
    return found(an_event(data=data))


def of_who(name: str, value: str = "x1") -> list[tuple[str, str]]:
    """Return what is swallowed of one identifier."""
    return found(an_event(identifiers={name: value}))


def test_a_plain_event_is_kept_whole() -> None:
    """What this library sends by itself has nothing to warn of."""
    event = an_event(
        data={
            "ts": NOW - 1,
            "idempotence_id": "id",
            "data_source_type": "sdk",
            "data_source": "odp-logging",
            "data_source_version": "1.0",
            "page": "/home",
            "active_event": False,
        }
    )

    assert found(event) == []
    assert found({**event, "data": {}}) == []
    assert found({k: v for k, v in event.items() if k != "data"}) == []


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("plan", "identifier-name"),
        ("Email", "identifier-name"),
        ("fs-user-id", "identifier-name"),
        ("Loyalty_id", "identifier-name"),
        ("<b>id", "identifier-name"),
        ("grid", "identifier-name"),
        ("loyalty_id", "identifier-custom"),
        ("card_number", "identifier-custom"),
        ("apns_push_token", "identifier-custom"),
    ],
)
def test_names_of_identifiers(name: str, check: str) -> None:
    """A name is ODP's own, can have been made there, or cannot be an identifier."""
    assert of_who(name) == [(check, f"identifiers.{name}")]


@pytest.mark.parametrize("name", ["email", "vuid", "fs_user_id", "customer_id"])
def test_names_that_odp_knows(name: str) -> None:
    """ODP's own identifiers are in order, unless their value is a placeholder."""
    assert of_who(name) == []
    for nobody in ("", " ", "-", "unknown", "NULL", "undefined"):
        assert of_who(name, nobody) == [("identifier-value", f"identifiers.{name}")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "Ada@example.com"),
        ("email", "ada@EXAMPLE.com"),
        ("email", " ada@example.com"),
        ("email", "ada@example.com\n"),
        ("fs_user_id", "u1 "),
        ("customer_id", "\u00a0u1"),
    ],
)
def test_blanks_and_capitals_in_identifiers(name: str, value: str) -> None:
    """They may make two customers of one; capitals do so in an e-mail address."""
    assert of_who(name, value) == [("identifier-spelling", f"identifiers.{name}")]
    assert of_who(name, value.strip().lower()) == []
    assert of_who("fs_user_id", "U1") == []
    assert CHECKS["identifier-spelling"].level == "warning"


def test_forms_of_identifiers() -> None:
    """Phones are E.164, and a vuid has at most 32 characters."""
    assert of_who("phone", "+4930123456") == []
    assert of_who("phone", "030 123456") == [("identifier-form", "identifiers.phone")]
    assert of_who("vuid", "a" * 32) == []
    assert of_who("vuid", "a" * 33) == [("identifier-form", "identifiers.vuid")]


@pytest.mark.parametrize(
    "name", ["Total", "a b", "1st", "_x", "größe", "", "a-b", "a\n"]
)
def test_fields_that_odp_cannot_have(name: str) -> None:
    """Only lower snake_case can be a field."""
    assert of_data(**{name: 1}) == [("field-name", f"data.{name}")]


def test_fields_of_ones_own() -> None:
    """A field that not every account has is noted; those of an order only in one."""
    assert of_data(item="shirt") == [("field-custom", "data.item")]
    assert of_data(total=5) == [("field-custom", "data.total")]
    order = an_event(type="order", action="purchase", data={"total": 5, "items": [{}]})
    assert found(order) == []


@pytest.mark.parametrize(
    ("ts", "check"),
    [
        (NOW, None),
        (NOW + 59, None),
        (NOW - 365 * DAY, None),
        (str(int(NOW)), None),
        ("2027-01-15T08:00:00Z", None),
        ("2027-01-15T08:00:00.123+00:00", None),
        ("2027-01-15", None),
        (NOW + 61, "time-future"),
        ("2027-01-15T09:00:00", "time-future"),
        (NOW - 367 * DAY, "time-old"),
        (0, "time-old"),
        (-5, "time-old"),
        ("1999-01-01", "time-old"),
        (NOW * 1000, "time-unit"),
        (10**400, "time-unit"),
        ("9" * 15, "time-unit"),
        ("yesterday", "time-form"),
        ("", "time-form"),
        (True, "time-form"),
        (None, "time-form"),
        ([1], "time-form"),
        ("1" * 5_000, "time-form"),
        ("0001-01-01T00:00:00+14:00", "time-old"),
    ],
)
def test_times(ts: Any, check: str | None) -> None:
    """A time is recent, or too far away, in milliseconds, or none at all."""
    checks = [each for each, _ in of_data(ts=ts) if each.startswith("time")]

    assert checks == ([] if check is None else [check])


@pytest.mark.parametrize(
    ("value", "check"),
    [
        ("x" * 1023, None),
        ("x" * 1024, "text-cut"),
        ("😀" * 1024, "text-cut"),
        ("x" * 1025, "text-long"),
        (None, "empty-value"),
        ("", "empty-value"),
        ([], "nested"),
        ({"a": 1}, "nested"),
        (2**53, None),
        (2**53 + 1, "number"),
        (-(2**60), "number"),
        (1.5, None),
        (False, None),
    ],
)
def test_values(value: Any, check: str | None) -> None:
    """Each value that a field of ODP does not hold as it is has its check."""
    assert of_data(page=value) == ([] if check is None else [(check, "data.page")])


def test_names_of_events() -> None:
    """A type of ODP's own with an action unlike its own is noted; others are free."""
    assert found(an_event(type="order", action="purchased")) == [
        ("event-name", "action")
    ]
    assert found(an_event(type="order", action="purchase")) == []
    assert found(an_event(type="shop", action="opened")) == []


def test_rejected_events_have_no_warnings() -> None:
    """ODP says what is wrong with those, whatever they hold."""
    assert found({}, "rejected") == []
    assert found({"type": 7, "identifiers": "x"}, "rejected") == []


def test_warnings_are_bounded() -> None:
    """An event full of faults has a few warnings, and long names are cut."""
    bad = of_data(**{f"{'X' * 500} {n}": None for n in range(1_000)})

    assert len(bad) == MAX_WARNINGS
    assert all(len(field) < 100 for _, field in bad)


def test_checks_are_explained(odp: Emulator) -> None:
    """Each check has a level, a title and a word on what ODP does."""
    told = call(odp, "GET", "/_emulator/checks").json

    assert list(told) == list(CHECKS)
    assert {check["level"] for check in told.values()} == {"warning", "note"}
    assert all(check["title"] and check["about"] for check in told.values())


def test_entries_come_with_warnings(odp: Emulator) -> None:
    """Whoever reads the ledger is told, over HTTP and in Python alike."""
    send(odp, [an_event(identifiers={"plan": "gold"}, data={"ts": time.time()})])

    (entry,) = call(odp, "GET", "/_emulator/events").json

    assert [entry] == odp.events()
    assert entry["warnings"] == [
        {
            "check": "identifier-name",
            "level": "warning",
            "field": "identifiers.plan",
            "text": "cannot be an identifier of ODP",
        }
    ]
