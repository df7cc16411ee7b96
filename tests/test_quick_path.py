"""The short ways, taken by nearly every event, lead where the long ones lead."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog import contextvars

from odp_logging import (
    InvalidEventError,
    OdpClient,
    OdpEvent,
    OdpHandler,
    bound_data,
    bound_identifiers,
)
from odp_logging import _ordinary as ordinary_module
from odp_logging._ids import new_ids
from odp_logging._making import Builder
from odp_logging._mapping import Capture, capture, sized
from odp_logging._ordinary import ordinary

from .conftest import KEY

ENCODERS = ["stdlib", "msgspec"]


@pytest.fixture(params=ENCODERS)
def encoder(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Encode with the standard library, then with the extra ``fast``."""
    monkeypatch.setattr(ordinary_module, "_fast", None)
    if request.param == "msgspec":
        ordinary_module.load_encoder()
        assert ordinary_module._fast is not None
    yield request.param


TEXT = st.text(max_size=12) | st.sampled_from(
    ["", " ", "x" * 1024, "x" * 1025, "\ud800", "fs-user-id", "ts", "é\u2028</\x00"]
)
SCALAR = (
    TEXT
    | st.integers()
    | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1])
    | st.floats()
    | st.booleans()
    | st.none()
)
ODD = st.sampled_from(
    [b"bytes", UUID(int=7), datetime(2026, 1, 2, tzinfo=timezone.utc), 1j, (1, "a")]
)
VALUE = SCALAR | ODD | st.lists(SCALAR, max_size=3)
NAME = TEXT | st.sampled_from(["email", "fs_user_id", "FS-USER-ID", "idempotence_id"])
IDENTIFIERS = st.dictionaries(NAME, SCALAR | ODD, max_size=4) | st.none() | SCALAR
DATA = st.dictionaries(NAME | st.integers() | st.none(), VALUE, max_size=5)
TIME = st.floats(0, 2e9) | st.sampled_from([-1.0, 1e12, math.inf, math.nan])
FIELDS = st.fixed_dictionaries(
    {"odp_action": TEXT | SCALAR},
    optional={
        "odp_identifiers": IDENTIFIERS,
        "odp_data": DATA | st.none() | SCALAR,
        "odp_type": TEXT | SCALAR,
        "odp_timestamp": SCALAR | ODD,
        "odp_idempotence_id": TEXT | SCALAR,
        "other": SCALAR,
    },
)


def made(logged: Capture, event_id: str) -> Any:
    """Return the JSON of what becomes of *logged*, or why nothing does."""
    try:
        event = Builder()(logged, event_id)
    except Exception as error:
        return type(error).__name__, str(error)
    assert event is not None
    body = json.loads(event.json)
    assert body == event.to_dict()
    assert body["identifiers"] == dict(event.identifiers)
    body["data"].pop("idempotence_id")
    return json.dumps(body), dict(event.adjusted)


@settings(max_examples=250, deadline=None)
@given(FIELDS)
def test_a_handler_takes_both_ways_to_the_same_event(fields: dict[str, Any]) -> None:
    """What the short way through `handle` leaves is what `capture` makes."""
    handler = OdpHandler(api_key="key", api_host="http://127.0.0.1:9")
    try:
        store = handler.client._flusher.store
        handler.client._flusher._transport = None  # nothing is sent
        record = logging.makeLogRecord(
            {"name": "shop", "pathname": "/shop.py", "lineno": 3, **fields}
        )
        handler.handle(record)
        (first,) = _left(store) or [None]
        handler.handle(record)  # the name of the logger is known now
        (second,) = _left(store) or [None]
        long_way = capture(
            fields, time=record.created, origin=("/shop.py", 3), bound=None
        )

        assert second is not None and first is not None
        assert second.origin == first.origin == ("/shop.py", 3)
        assert made(second, "7") == made(first, "7") == made(long_way, "7")
    finally:
        handler.client._flusher.give_up("end of the test")
        handler.close()


def _left(store: Any) -> list[Capture]:
    with store._lock.section():
        store._sort_in()
        left = list(store._ready)
        store._ready.clear()
        store._bytes = 0
    return left


@settings(max_examples=600, deadline=None)
@given(
    TEXT,
    st.dictionaries(NAME, SCALAR, max_size=4),
    TEXT | st.none(),
    DATA | st.none(),
    st.floats(0, 1e11, exclude_max=True),
)
@pytest.mark.parametrize("kind", ENCODERS)
def test_ordinary_makes_what_the_class_makes(
    kind: str, action: str, identifiers: Any, event_type: Any, data: Any, time: float
) -> None:
    """Where the short way makes an event at all, it is the very same one."""
    encoded = msgspec.json.Encoder().encode if kind == "msgspec" else None
    before, ordinary_module._fast = ordinary_module._fast, encoded
    try:
        quick = ordinary(
            action,
            dict(identifiers),
            event_type,
            None if data is None else dict(data),
            time,
            "an-id",
        )
    finally:
        ordinary_module._fast = before
    if quick is None:
        return
    slow = OdpEvent(
        action, identifiers, event_type, data, timestamp=time, idempotence_id="an-id"
    )

    assert quick.to_dict() == slow.to_dict()
    assert list(quick.to_dict()["data"]) == list(slow.to_dict()["data"])
    assert kind == "msgspec" or quick.json == slow.json
    assert (quick.action, quick.type, quick.adjusted) == (slow.action, slow.type, {})
    assert dict(quick.identifiers) == dict(slow.identifiers)
    assert dict(quick.data) == dict(slow.data)


def test_the_usual_event_takes_the_short_way(encoder: str) -> None:
    """A purchase as in README is made by `ordinary`; else nothing here proves much."""
    event = ordinary("purchased", {"email": "a@b.c"}, None, {"price": 5.5}, 1e9, "id")

    assert event is not None
    assert event.to_dict()["data"]["price"] == 5.5


class Size(str, Enum):
    """A text that is none exactly."""

    LARGE = "large"


@pytest.mark.parametrize(
    "fields",
    [
        {"odp_data": {"size": Size.LARGE}},
        {"odp_data": {"items": [1, 2]}},
        {"odp_data": {"long": "x" * 300}},
        {"odp_data": {str(number): number for number in range(40)}},
        {"odp_data": {1: "a key that is no text"}},
        {"odp_type": Size.LARGE},
        {"odp_timestamp": datetime(2026, 1, 2, tzinfo=timezone.utc)},
        {"odp_action": Size.LARGE},
        {"odp_action": "x" * 300},
        {"odp_type": "x" * 300},
        {"odp_timestamp": "x" * 300},
        {"odp_identifiers": {"email": "x" * 300}},
        {"odp_identifiers": {"user": UUID(int=7)}},
    ],
)
def test_what_is_unusual_takes_the_long_way(fields, monkeypatch) -> None:
    """What may change, or is large, is copied with care, in the log call."""
    for name in ("structlog_odp_identifiers", "structlog_odp_data"):
        # Bound by another test: from then on each record takes the long way.
        monkeypatch.delitem(contextvars._CONTEXT_VARS, name, raising=False)
    client = OdpClient("key", api_host="http://127.0.0.1:9")
    client._flusher._transport = None
    handler = OdpHandler(client=client)
    usual = {"name": "shop", "odp_action": "a", "odp_identifiers": {"email": "a@b.c"}}
    taken: list[Any] = []
    monkeypatch.setattr(
        client, "put", lambda fields, **more: taken.append(fields["odp_action"])
    )
    handler.handle(logging.makeLogRecord(usual))
    handler.handle(logging.makeLogRecord(usual))

    assert taken == ["a"]
    assert len(client.intake.incoming) == 1

    handler.handle(logging.makeLogRecord({**usual, **fields}))

    assert len(taken) == 2
    assert len(client.intake.incoming) == 1
    client._flusher.give_up("end of the test")


def test_what_is_bound_comes_along(emulator, logger) -> None:
    """Identifiers and data bound in the context are those of the log call."""
    handler = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(handler)
    for number in range(3):
        with bound_identifiers(email=f"{number}@b.example"), bound_data(n=number):
            logger.info("x", extra={"odp_action": "a"})
    assert handler.client.flush(10)

    found = [each["event"] for each in emulator.events()]
    assert [each["identifiers"]["email"] for each in found] == [
        "0@b.example",
        "1@b.example",
        "2@b.example",
    ]
    assert [each["data"]["n"] for each in found] == [0, 1, 2]


def test_the_callers_dicts_may_change_at_once(emulator, logger) -> None:
    """What the caller does to its dicts after the log call changes nothing."""
    handler = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(handler)
    identifiers, data = {"email": "a@b.example"}, {"item": "shirt"}
    fields = {
        "odp_action": "a", "odp_identifiers": identifiers, "odp_data": data
    }  # fmt: skip
    for _ in range(2):
        logger.info("x", extra=fields)
        identifiers["email"], data["item"] = "changed", "changed"
        identifiers["email"], data["item"] = "a@b.example", "shirt"
    identifiers.clear()
    data.clear()
    assert handler.client.flush(10)

    for each in emulator.events():
        assert each["event"]["identifiers"] == {"email": "a@b.example"}
        assert each["event"]["data"]["item"] == "shirt"


def test_ids_are_those_of_uuid4() -> None:
    """Ids drawn together differ, and are UUIDs of version 4."""
    drawn = new_ids(500)

    assert len({*drawn}) == 500
    assert {UUID(each).version for each in drawn} == {4}
    assert {UUID(each).variant for each in drawn} == {UUID(drawn[0]).variant}
    assert all(str(UUID(each)) == each for each in drawn)
    assert new_ids(0) == []


def test_a_bare_tuple_has_a_size() -> None:
    """What the handler leaves is weighed afterwards, a long text cut as always."""
    bare = ("a", {"email": "x" * 5000}, None, {"k": "v" * 9}, None, 1.0, None, None)
    logged = sized((*bare, "/shop.py", 3))

    assert len(logged.identifiers["email"]) == 1025
    assert 1000 < logged.size < 2000
    assert sized(("a", {"email": "x"}, *bare[2:], "/shop.py", 3)).size < 400


def test_a_number_that_names_somebody_takes_the_short_way() -> None:
    """A user's id is often an integer: it is text for ODP, and not worth a detour."""
    bare = ("a", {"user_id": 42, "email": "a@b.c"}, None, None, None, 1.0, None, None)
    logged = sized((*bare, "/shop.py", 3))

    assert logged.identifiers == {"user_id": "42", "email": "a@b.c"}
    assert ordinary("a", logged.identifiers, None, None, 1.0, "id") is not None


def test_a_flag_names_nobody() -> None:
    """True is an integer in Python, and no identifier."""
    bare = ("a", {"vip": True, "email": "a@b.c"}, None, None, None, 1.0, None, None)
    event = Builder()(sized((*bare, "/shop.py", 3)))

    assert event is not None and dict(event.identifiers) == {"email": "a@b.c"}
    assert event.adjusted == {"identifier": 1}


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> Iterator[OdpClient]:
    """A client that keeps what comes in, in a process where structlog bound nothing."""
    for name in ("structlog_odp_identifiers", "structlog_odp_data"):
        # Bound by another test: from then on each record takes the long way.
        monkeypatch.delitem(contextvars._CONTEXT_VARS, name, raising=False)
    client = OdpClient("key", api_host="http://127.0.0.1:9")
    client._flusher._transport = None
    yield client
    client._flusher.give_up("end of the test")


USUAL = {"name": "shop", "odp_action": "a", "odp_identifiers": {"email": "a@b.c"}}


def test_a_record_without_a_process_takes_the_long_way(unsent, monkeypatch) -> None:
    """Without ``logging.logProcesses`` it is None, as is an unknown logger's."""
    emitted: list[logging.LogRecord] = []

    class Handler(OdpHandler):
        def emit(self, record: logging.LogRecord) -> None:
            emitted.append(record)

    monkeypatch.setattr(logging, "logProcesses", False)
    OdpHandler(client=unsent).handle(logging.makeLogRecord(USUAL))  # others are warm
    handler = Handler(client=unsent)
    for _ in range(3):
        handler.handle(logging.makeLogRecord(USUAL))

    assert len(emitted) == 3


def test_what_comes_late_into_an_earlier_buffer_is_sent(emulator, monkeypatch) -> None:
    """A log call that was held up over `configure` wakes whom it left its event to."""
    monkeypatch.delitem(contextvars._CONTEXT_VARS, "structlog_odp_data", raising=False)
    client = OdpClient(KEY, api_host=emulator.url, flush_interval=0.05)
    earlier = client.intake
    assert client.flush(10)
    client.configure("another")
    assert client.close(10)

    bare = ("a", {"email": "a@b.c"}, None, None, None, 1e9, None, None, "/shop.py", 3)
    earlier.incoming.append(bare)
    assert earlier.idle
    client.arrived(earlier)

    assert emulator.wait_for(1, 5)
    assert client.close(10)
    assert client.stats.delivered == client.stats.accepted == 1


def test_a_key_is_not_asked_for_its_hash_again() -> None:
    """It may have another one by then, or none: the buffer would not get past it."""

    class Key:
        hashed = 0

        def __hash__(self) -> int:
            self.hashed += 1
            assert self.hashed == 1
            return 7

    who: dict[Any, Any] = {Key(): 42, "email": "a@b.c"}
    bare = ("a", who, None, None, None, 1.0, None, None, "/shop.py", 3)

    assert sized(bare).identifiers == {"": 42, "email": "a@b.c"}


def test_what_is_bound_counts_as_well() -> None:
    """An event of more values than it may have is rejected, whoever named them."""
    more = {f"bound {number}": number for number in range(6_000)}
    own = {f"own {number}": number for number in range(6_000)}
    logged = capture(
        {"odp_action": "a", "odp_identifiers": {"email": "a@b.c"}, "odp_data": own},
        time=1.0,
        origin=None,
        bound=((), (more,)),
    )

    with pytest.raises(InvalidEventError, match="10000 values"):
        Builder()(logged)
