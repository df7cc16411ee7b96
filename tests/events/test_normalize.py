"""Properties: any object anywhere gives a valid event or a reason, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._capture.build import Builder
from odp_logging._capture.capture import capture

SETTINGS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Liar(str):
    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __str__(self) -> str:
        return "a lie"


class UnequalLiar(Liar):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equality")

    def __hash__(self) -> int:
        raise ValueError("no hash")


class LyingDict(dict):
    def items(self) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Any:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 10**18

    def __getitem__(self, key: object) -> Any:
        raise KeyError(key)


class Odd(enum.Enum):
    LIST = (1, 2)
    NONE = None


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**52, max_value=2**60),
    st.floats(),
    st.text(),
    st.text(st.characters(codec=None, categories=["Cs", "Lu", "Cc"])),
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from(Odd),
    st.builds(UnequalLiar, st.text()),
    st.builds(object),
    st.builds(Hostile),
    st.sampled_from([int, len, math, ..., NotImplemented, ValueError("x")]),
)
keys = st.one_of(st.text(), st.integers(), st.none(), st.builds(Liar, st.text()))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner),
        st.builds(LyingDict, st.dictionaries(st.text(), inner)),
        st.sets(st.integers()),
        st.builds(iter, st.lists(inner)),
    ),
    max_leaves=20,
)
mappings = st.one_of(anything, st.dictionaries(keys, anything))
record = st.fixed_dictionaries(
    {},
    optional={
        "odp_action": anything,
        "odp_identifiers": mappings,
        "odp_type": anything,
        "odp_data": mappings,
        "odp_timestamp": anything,
        "odp_idempotence_id": anything,
    },
)


def check(event: OdpEvent) -> None:
    """Assert that *event* is one that ODP takes."""
    sent = json.loads(event.json.decode("utf-8"), parse_constant=pytest.fail)
    assert set(sent) == {"type", "action", "identifiers", "data"}
    assert isinstance(sent["type"], str) and sent["type"].strip()
    assert isinstance(sent["action"], str) and sent["action"].strip()
    assert sent["identifiers"]
    for name, value in sent["identifiers"].items():
        assert name.strip() and isinstance(value, str) and value.strip()
        assert name == "fs_user_id" or name.lower().replace("-", "_") != "fs_user_id"
    assert sent["data"]["idempotence_id"].strip()
    fits(sent["data"], depth=0)
    assert event.to_dict() == sent


def fits(value: Any, depth: int) -> None:
    """Assert that *value* is within ODP's limits, all the way down."""
    assert depth <= 10
    if isinstance(value, str):
        assert len(value) <= 1024
        value.encode()
    elif isinstance(value, bool) or value is None:
        pass
    elif isinstance(value, int):
        assert abs(value) <= 2**53
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, list):
        for item in value:
            fits(item, depth + 1)
    else:
        for key, item in value.items():
            assert len(key) <= 1024
            fits(item, depth + 1)


@SETTINGS
@given(record)
def test_whatever_is_logged_becomes_an_event_or_a_reason(fields):
    """Any object in any field gives an event or a reason; capturing never raises."""
    logged = capture(fields, time=1.7e9, origin=("shop.py", 5), bound=None)
    try:
        event = Builder()(logged)
    except InvalidEventError as error:
        assert error.reason and str(error)
    else:
        assert event is not None
        check(event)


@SETTINGS
@given(
    anything,
    st.dictionaries(st.text(min_size=1), st.text(min_size=1)),
    mappings,
    anything,
)
def test_a_direct_event_is_valid_or_refused(action, identifiers, data, timestamp):
    """OdpEvent raises InvalidEventError and nothing else."""
    try:
        event = OdpEvent(action, identifiers, data=data, timestamp=timestamp)
    except InvalidEventError as error:
        assert error.reason
    else:
        check(event)


@SETTINGS
@given(st.dictionaries(st.text(), anything))
def test_values_in_data_never_refuse_an_event(data):
    """Whatever the values in data are, the event is sent."""
    check(OdpEvent("viewed", {"fs_user_id": "u1"}, data=data))


@SETTINGS
@given(st.dictionaries(st.text(max_size=20), anything, max_size=5))
def test_an_event_rebuilt_from_its_parts_is_equal(data):
    """ODP's form is a fixed point: normalizing it again changes nothing."""
    event = OdpEvent("viewed", {"fs_user_id": "u1"}, data=data)

    again = dataclasses.replace(event)

    assert again == event
    assert not again.adjusted


def held(value: Any) -> int:
    """Return the bytes of memory that a captured *value* holds on to."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        inside = value
    return sys.getsizeof(value) + sum(map(held, inside))


@pytest.mark.parametrize(
    "identifiers",
    [
        {"u": "x" * 10**6},
        {"u": [f"{n:01000}" for n in range(1000)]},
        {"u": {f"{n:01000}": n for n in range(1000)}},
        {"k" * 10**6: "v"},
        {f"k{n}": "v" for n in range(10_000)},
        {f"k{n}": None for n in range(10_000)},
    ],
)
def test_the_size_of_a_capture_is_near_its_memory(identifiers):
    """The buffer's limit counts the memory of any identifier."""
    fields = {"odp_action": "viewed", "odp_identifiers": identifiers}
    logged = capture(fields, time=1.7e9, origin=None, bound=None)

    assert held(tuple(logged)) < 8 * logged.size + 4096
