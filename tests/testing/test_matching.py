"""Assertions about captured events, and the text of their failures."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest

from odp_logging import OdpClient, OdpEvent
from odp_logging.testing import Events, capture

PURCHASE = OdpEvent(
    "purchase",
    {"fs_user_id": "17850", "email": "a@b.example"},
    "order",
    {
        "total": 12.5,
        "price": Decimal("12.50"),
        "day": date(2026, 1, 2),
        "basket": UUID(int=7),
        "coupon": None,
        "customer": {"city": "Bonn", "tags": ["new", {"vip": True}]},
        "odd__name": 1,
    },
)


@pytest.fixture
def events() -> Events:
    """Return a purchase between two views."""
    events = Events()
    events += [
        OdpEvent("viewed", {"vuid": "v1"}, data={"page": "home"}),
        PURCHASE,
        OdpEvent("viewed", {"vuid": "v2"}),
    ]
    return events


@pytest.mark.parametrize(
    "expected",
    [
        {"action": "purchase"},
        {"type": "order"},
        {"identifiers": {"email": "a@b.example"}},
        {"identifiers": {"fs_user_id": 17850}},
        {"identifiers": {"FS-USER-ID": "17850"}},
        {"identifiers__email": "a@b.example"},
        {"data": {"total": 12.5}},
        {"data": {"customer": {"city": "Bonn", "tags": ["new", {"vip": True}]}}},
        {"data__total": 12.5},
        {"data__total": pytest.approx(12.5000001)},
        {"data__price": Decimal("12.50")},
        {"data__price": "12.50"},
        {"data__day": date(2026, 1, 2)},
        {"data__basket": UUID(int=7)},
        {"data__coupon": None},
        {"data__coupon": ANY},
        {"data__customer__city": "Bonn"},
        {"data__customer__tags__0": "new"},
        {"data__customer__tags__1__vip": True},
        {"data__odd__name": 1},
        {"data__idempotence_id": PURCHASE.idempotence_id},
    ],
)
def test_an_event_with_all_expected_values_matches(
    expected: dict[str, Any], events: Events
):
    """Values may be given as they were logged, or as ODP receives them."""
    assert events.assert_one(**expected) is PURCHASE
    assert events.find(**expected) == [PURCHASE]


@pytest.mark.parametrize(
    "expected",
    [
        {"action": "purchas"},
        {"action": "purchase", "type": "fullstack"},
        {"identifiers": {"email": "a@b.example", "vuid": "v1"}},
        {"identifiers": {"email": None}},
        {"identifiers": {"email": ANY, "phone": ANY}},
        {"data": {"total": 12}},
        {"data": {"customer": {"city": "Bonn"}}},
        {"data__total": None},
        {"data__customer__street": None},
        {"data__customer__tags__9": ANY},
        {"data__customer__city__x": ANY},
        {"data__total": object()},
        {"action": "purchase", "data__missing": ANY},
    ],
)
def test_an_event_without_an_expected_value_does_not_match(
    expected: dict[str, Any], events: Events
):
    """A missing part and a different value are both mismatches."""
    events.assert_none(**expected)
    with pytest.raises(AssertionError, match=r"expected 1 event with .*; got none"):
        events.assert_one(**expected)


def test_matching_events_are_counted(events: Events):
    """assert_count returns the matching events in their order."""
    views = events.assert_count(2, action="viewed")

    assert [event.identifiers["vuid"] for event in views] == ["v1", "v2"]
    assert views.assert_one(data={"page": "home"}) == events[0]
    events.assert_count(3)
    with pytest.raises(AssertionError, match=r"expected 1 event with .* got 2"):
        events.assert_one(action="viewed")
    with pytest.raises(AssertionError, match="expected no events; got 3"):
        events.assert_none()
    events.clear()
    events.assert_none()


@pytest.mark.parametrize("name", ["datum__total", "total", "data__", "identifier"])
def test_an_unknown_argument_raises(name: str, events: Events):
    """An argument that was ignored would make every assertion pass."""
    with pytest.raises(TypeError, match=r"unknown argument .*data__total=12\.5"):
        events.assert_none(**{name: 1})


def test_a_failure_shows_the_closest_event_and_lists_all():
    """It names the expected values and compares them with the closest event."""
    client = OdpClient()
    with capture() as events:
        client.send_odp_event("viewed", {"vuid": "v1"}, data={"page": "home"})
        client.send_odp_event("purchase", {"fs_user_id": "u2"}, "order", {"total": 12})
        client.send_odp_event("viewed", {})
    with pytest.raises(AssertionError) as failed:
        events.assert_one(
            type="order", action="purchase", identifiers={"fs_user_id": "u1"},
            data__total=12.5, data__coupon="X",
        )  # fmt: skip
    text = str(failed.value).replace(__file__, "shop.py")

    assert text.splitlines()[0] == (
        "expected 1 event with type 'order', action 'purchase', fs_user_id='u1',"
        " total=12.5, coupon='X'; got none"
    )
    _, headline, *compared = text.splitlines()[1:8]
    assert headline.startswith("the nearest is #2, logged at shop.py:")
    assert compared == [
        "    type                    'order'",
        "    action                  'purchase'",
        "  ! identifiers.fs_user_id  'u2'        wanted 'u1'",
        "  ! data.total              12          wanted 12.5",
        "  ! data.coupon             nothing     wanted 'X'",
    ]
    assert text.splitlines()[9:12] == [
        "2 events captured",
        "  #1  fullstack/viewed  vuid='v1'        page='home'",
        "  #2  order/purchase    fs_user_id='u2'  total=12",
    ]
    assert text.splitlines()[12] == "1 event rejected"
    assert text.splitlines()[13].startswith("  no_identifiers  shop.py:")


def test_the_closest_event_has_the_most_similar_action(events: Events):
    """Similarity decides where no value is equal."""
    with pytest.raises(AssertionError, match=r"(?s)nearest is #2.* wanted 'purchased'"):
        events.assert_one(action="purchased")


def test_a_failure_fits_on_a_screen():
    """The text has at most 24 lines of 100 columns, with many and long events too."""
    events = Events()
    for number in range(500):
        text = f"{number}\n" * 200
        events.append(OdpEvent(text, {"email": text}, text, {"long": text, "b": text}))
    with pytest.raises(AssertionError) as failed:
        events.assert_one(data__b="x", identifiers={"email": "x"}, data__long="y" * 999)
    lines = str(failed.value).splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines[1:])) <= 100
    assert "… and 488 more" in lines[-1]


def test_repr_shows_no_identifiers(events: Events):
    """repr() is one line without values; str() has the values."""
    assert repr(events) == "<Events: 3, and 0 rejected>"
    assert "a@b.example" in str(events)
