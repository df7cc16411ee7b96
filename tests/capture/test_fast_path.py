"""The fast paths of capturing and encoding give what the general paths give."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import Any
from uuid import RFC_4122, UUID

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
from odp_logging._capture.build import Builder
from odp_logging._capture.capture import Capture, capture, complete_capture
from odp_logging._capture.fast import capture_plain
from odp_logging._events import body, fast_encode, ids
from odp_logging._events.identifiers import _PLACEHOLDERS
from odp_logging._events.ids import generate_id, generate_ids

from ..conftest import KEY
from ..waiting import held


def encode_plain(
    action: Any, identifiers: Any, kind: Any, data: Any, time: Any, event_id: str
) -> OdpEvent | None:
    """Encode what a log call without a stamp and an id of its own left."""
    fields = (action, identifiers, kind, data, None, time, None)
    return fast_encode.encode_plain(fields, event_id)


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
PLAIN_NAME = st.text('abcé_ "', min_size=1, max_size=5)
PLAIN_FIELDS = st.fixed_dictionaries(
    {
        "odp_action": st.text(min_size=1, max_size=12),
        "odp_identifiers": st.dictionaries(
            PLAIN_NAME,
            st.text(min_size=1, max_size=12) | st.integers() | TEXT,
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "odp_data": st.dictionaries(PLAIN_NAME, SCALAR, max_size=4),
        "odp_type": TEXT | st.none(),
    },
)
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


@contextmanager
def general_encoder(encode: Callable[[Any], bytes]) -> Iterator[None]:
    """Encode what the general path builds with *encode*."""
    before, body._encode = body._encode, encode
    try:
        yield
    finally:
        body._encode = before


def build_json(logged: Capture, event_id: str) -> Any:
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
def test_fast_and_general_path_give_the_same_event(fields: dict[str, Any]) -> None:
    """The capture of the fast path builds the event that `capture` would give."""
    handler = OdpHandler(api_key="key", api_host="http://127.0.0.1:9")
    try:
        store = handler.client._destinations.flusher.store
        handler.client._destinations.flusher._dispatcher._build_transport = (
            None  # nothing is sent
        )
        record = logging.makeLogRecord(
            {"name": "shop", "pathname": "/shop.py", "lineno": 3, **fields}
        )
        handler.handle(record)
        (first,) = _take_events(store) or [None]
        handler.handle(record)  # the name of the logger is known now
        (second,) = _take_events(store) or [None]
        general = capture(
            fields, time=record.created, origin=("/shop.py", 3), bound=None
        )

        assert second is not None and first is not None
        assert second.origin == first.origin == ("/shop.py", 3)
        assert (
            build_json(second, "7")
            == build_json(first, "7")
            == build_json(general, "7")
        )
    finally:
        handler.client._destinations.flusher.abandon("end of the test")
        handler.close()


def test_a_bare_capture_gives_the_event_of_the_general_path() -> None:
    """An event encoded from what the log call left equals one built step by step."""
    encoded_count = 0

    @settings(max_examples=600, deadline=None)
    @given(PLAIN_FIELDS)
    def check(fields: dict[str, Any]) -> None:
        nonlocal encoded_count
        bare = capture_plain(fields, 1e9, "/shop.py", 3)
        if bare is None:
            return
        [encoded] = Builder().encode_batch([bare], ["an-id"])
        if encoded is None:
            return
        encoded_count += 1
        fields = {**fields, "odp_idempotence_id": "an-id"}
        general = capture(fields, time=1e9, origin=("/shop.py", 3), bound=None)
        with general_encoder(body._encode_with_json):
            built = Builder()(general)

        assert built is not None
        assert encoded.json == built.json
        assert dict(encoded.identifiers) == dict(built.identifiers)
        assert dict(encoded.adjusted) == dict(built.adjusted) == {}

    check()
    assert encoded_count > 100


def test_names_of_another_class_are_not_encoded_directly() -> None:
    """The flusher's thread must not run the methods of an application's class."""

    class Name(str):
        def __hash__(self) -> int:
            assert not built
            return super().__hash__()

    built: list[bool] = []
    identifiers = {Name("email"): "a@b.c"}
    bare = ("a", identifiers, None, None, None, 1.0, None, None, "/shop.py", 3)
    built.append(True)

    assert Builder().encode_batch([bare], ["an-id"]) == [None]


def _take_events(store: Any) -> list[Capture]:
    with held(store._lock):
        store._account_incoming()
        left = list(store._pending.waiting)
        store._pending.clear()
    return left


@settings(max_examples=600, deadline=None)
@given(
    TEXT,
    st.dictionaries(NAME, SCALAR, max_size=4),
    TEXT | st.none(),
    DATA | st.none(),
    st.floats(0, 1e11, exclude_max=True),
)
def test_encode_plain_gives_the_event_of_the_class(
    action: str, identifiers: Any, event_type: Any, data: Any, time: float
) -> None:
    """If `encode_plain` returns an event, it equals the `OdpEvent`."""
    quick = encode_plain(
        action,
        dict(identifiers),
        event_type,
        None if data is None else dict(data),
        time,
        "an-id",
    )
    if quick is None:
        return
    with general_encoder(body._encode_with_json):  # msgspec writes 1e16 for 1e+16
        slow = OdpEvent(
            action,
            identifiers,
            event_type,
            data,
            timestamp=time,
            idempotence_id="an-id",
        )

    assert quick.json == slow.json
    assert quick.to_dict() == slow.to_dict()
    assert (quick.action, quick.type, quick.adjusted) == (slow.action, slow.type, {})
    assert dict(quick.identifiers) == dict(slow.identifiers)
    assert dict(quick.data) == dict(slow.data)


@settings(max_examples=600, deadline=None)
@given(
    TEXT,
    st.dictionaries(NAME, SCALAR, max_size=4).map(lambda found: {"id": "1", **found}),
    st.dictionaries(NAME, VALUE | st.dictionaries(NAME, VALUE), max_size=4),
)
def test_msgspec_gives_the_event_of_json(
    action: str, identifiers: Any, data: Any
) -> None:
    """With the extra ``fast``, an event has the same values in the same order."""

    def build() -> Any:
        try:
            return OdpEvent(action, identifiers, data=data, idempotence_id="an-id")
        except InvalidEventError as error:
            return str(error)

    with general_encoder(body._encode_with_json):
        by_json = build()
        body.load_encoder()
        assert body._encode is not body._encode_with_json
        by_msgspec = build()
    if isinstance(by_json, str):
        assert by_msgspec == by_json
        return
    # As text, so that the order of the keys counts.
    assert json.dumps(by_msgspec.to_dict()) == json.dumps(by_json.to_dict())
    assert by_msgspec.adjusted == by_json.adjusted


@pytest.mark.parametrize("identifier_count", [1, 2, 8])
@pytest.mark.parametrize("data_count", [0, 1, 2, 64])
def test_any_number_of_values_has_an_encoder(
    identifier_count: int, data_count: int
) -> None:
    """Encoders are compiled for each number of identifiers and of data."""
    identifiers = {f"id{n}": f"i{n}" for n in range(identifier_count)}
    data = {f"d{n}": n for n in range(data_count)}

    event = encode_plain("a", identifiers, None, data, 1e9, "id")
    slow = OdpEvent("a", identifiers, data=data, timestamp=1e9, idempotence_id="id")
    assert event is not None and event.to_dict() == slow.to_dict()


def test_many_names_take_the_general_path_and_no_memory() -> None:
    """Events with more names than an encoder has are built, and not remembered."""
    fast_encode._encoders.clear()
    few, many = {"id": "1"}, {f"n{n}": "1" for n in range(65)}

    assert encode_plain("a", few, None, many, 1e9, "id") is None
    assert encode_plain("a", many, None, None, 1e9, "id") is None
    assert not fast_encode._encoders


def test_an_event_is_built_where_nothing_can_be_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook that forbids compile() does not stop events: the general path has none."""

    def refuse(*counts: int) -> Any:
        raise PermissionError("an audit hook")

    fast_encode._encoders.clear()
    monkeypatch.setattr(fast_encode, "_compile_encoder", refuse)
    bare = ("a", {"email": "x"}, None, {"price": 5}, None, 1.0, None, None, "/s.py", 3)
    builder = Builder()

    assert builder.encode_batch([complete_capture(bare)], ["id"]) == [None]
    event = builder(complete_capture(bare), "id")
    assert event is not None and event.data["price"] == 5


def test_the_event_of_readme_takes_the_fast_path() -> None:
    """`encode_plain` builds the purchase of README; the tests here depend on it."""
    event = encode_plain(
        "purchased", {"email": "a@b.c"}, None, {"price": 5.5}, 1e9, "id"
    )

    assert event is not None
    assert event.to_dict()["data"]["price"] == 5.5


@pytest.mark.parametrize("name", ["100%", "%s", "%(a)s", '"', "ä", "\\", "{0}"])
def test_names_and_actions_may_have_any_characters(name: str) -> None:
    """They are constants of the encoder, and keep their text."""
    for _ in range(2):  # the second event uses the encoder of the first one
        event = encode_plain(name, {name: "a%s"}, name, {name: "100%"}, 1e9, "id")
        assert event is not None
        slow = OdpEvent(name, {name: "a%s"}, name, {name: "100%"}, timestamp=1e9)
        found, expected = event.to_dict(), slow.to_dict()
        expected["data"]["idempotence_id"] = "id"
        assert found == expected


def test_encoders_do_not_add_up() -> None:
    """An application that generates names does not fill the memory."""
    for number in range(3000):
        assert encode_plain("a", {"id": "a"}, None, {f"n{number}": 1}, 1e9, "id")
    assert len(fast_encode._encoders) <= 256


def test_an_encoded_event_is_an_event() -> None:
    """Applications copy and replace it in callbacks, and read all attributes."""
    event = encode_plain("sold", {"email": "a@b.c"}, None, {"price": 5.5}, 1e9, "id")
    assert event is not None
    changed = dataclasses.replace(event, action="bought")

    assert isinstance(event, OdpEvent)
    assert changed.to_dict() == {**event.to_dict(), "action": "bought"}
    assert copy.copy(event) == event
    assert event.idempotence_id == "id"
    assert repr(event).startswith("<OdpEvent fullstack/sold: 1 identifiers")


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
def test_uncommon_values_take_the_general_path(fields, monkeypatch) -> None:
    """Mutable and large values are copied by `capture`, in the log call."""
    for name in ("structlog_odp_identifiers", "structlog_odp_data"):
        # Bound by another test: from then on each record takes the general path.
        monkeypatch.delitem(contextvars._CONTEXT_VARS, name, raising=False)
    client = OdpClient("key", api_host="http://127.0.0.1:9")
    client._destinations.flusher._dispatcher._build_transport = None
    handler = OdpHandler(client=client)
    common = {"name": "shop", "odp_action": "a", "odp_identifiers": {"email": "a@b.c"}}
    put: list[Any] = []
    monkeypatch.setattr(
        client, "_put", lambda fields, **more: put.append(fields["odp_action"])
    )
    handler.handle(logging.makeLogRecord(common))
    handler.handle(logging.makeLogRecord(common))

    assert put == ["a"]
    assert len(client._router.inbox.queue) == 1

    handler.handle(logging.makeLogRecord({**common, **fields}))

    assert len(put) == 2
    assert len(client._router.inbox.queue) == 1
    client._destinations.flusher.abandon("end of the test")


def test_the_fast_path_includes_the_context(emulator, logger) -> None:
    """Identifiers and data bound at the log call are in the event."""
    handler = OdpHandler(KEY, api_host=emulator.url, flush_interval=60)
    logger.addHandler(handler)
    for number in range(3):
        with bound_identifiers(email=f"{number}@b.example"), bound_data(n=number):
            logger.info("x", extra={"odp_action": "a"})
    assert handler.client.flush(10)

    found = [entry["event"] for entry in emulator.events()]
    assert [event["identifiers"]["email"] for event in found] == [
        "0@b.example",
        "1@b.example",
        "2@b.example",
    ]
    assert [event["data"]["n"] for event in found] == [0, 1, 2]


def test_changes_after_the_log_call_are_not_sent(emulator, logger) -> None:
    """The application may change its dicts right after the log call."""
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

    for entry in emulator.events():
        assert entry["event"]["identifiers"] == {"email": "a@b.example"}
        assert entry["event"]["data"]["item"] == "shirt"


@pytest.mark.parametrize("text", sorted(_PLACEHOLDERS))
def test_a_placeholder_takes_the_general_path(text: str) -> None:
    """A text for a missing value is reported, which `encode_plain` cannot do."""
    for spelling in (text, text.upper(), text.title(), f"{text}\n"):
        assert encode_plain("a", {"email": spelling}, None, None, 1e9, "id") is None
    assert (
        encode_plain("a", {"email": f"{text}@b.c"}, None, None, 1e9, "id") is not None
    )


@pytest.mark.parametrize(
    "draw",
    [lambda: generate_ids(500), lambda: [generate_id() for _ in range(500)]],
    ids=["together", "one by one"],
)
def test_generated_ids_are_uuid4(draw: Callable[[], list[str]]) -> None:
    """Ids differ, are UUIDs of version 4, and all their other bits are random."""
    texts = draw()
    drawn = [UUID(text) for text in texts]

    assert len({*drawn}) == 500
    assert {identifier.version for identifier in drawn} == {4}
    assert {identifier.variant for identifier in drawn} == {RFC_4122}
    assert [str(identifier) for identifier in drawn] == texts
    ever, always = 0, (1 << 128) - 1
    for identifier in drawn:
        ever |= identifier.int
        always &= identifier.int
    assert always == 0x4000_8000_000000000000  # the version and the variant
    assert ever == (1 << 128) - 1 - 0xB000_4000_000000000000


@pytest.mark.skipif(not hasattr(os, "getrandom"), reason="only Linux has it")
def test_ids_where_getrandom_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may not know the call; then os.urandom() is used."""

    def refuse(size: int, flags: int = 0) -> bytes:
        raise OSError(errno.ENOSYS, "not implemented")

    assert ids._choose_source() is os.getrandom
    monkeypatch.setattr(os, "getrandom", refuse)
    assert ids._choose_source() is os.urandom


def test_no_ids_are_generated_for_no_events() -> None:
    """An empty batch needs none."""
    assert generate_ids(0) == []


def test_complete_capture_estimates_the_size() -> None:
    """A fast capture gets its size later, and long text is cut as in `capture`."""
    bare = ("a", {"email": "x" * 5000}, None, {"k": "v" * 9}, None, 1.0, None, None)
    logged = complete_capture((*bare, "/shop.py", 3))

    assert len(logged.identifiers["email"]) == 1025
    assert 1000 < logged.size < 2000
    assert complete_capture(("a", {"email": "x"}, *bare[2:], "/shop.py", 3)).size < 400


def test_an_integer_identifier_takes_the_fast_path() -> None:
    """An integer identifier becomes text, as ODP needs it."""
    bare = ("a", {"user_id": 42, "email": "a@b.c"}, None, None, None, 1.0, None, None)
    logged = complete_capture((*bare, "/shop.py", 3))

    assert logged.identifiers == {"user_id": "42", "email": "a@b.c"}
    assert encode_plain("a", logged.identifiers, None, None, 1.0, "id") is not None


def test_a_boolean_is_no_identifier() -> None:
    """True is an integer in Python, and yet not an identifier."""
    bare = ("a", {"vip": True, "email": "a@b.c"}, None, None, None, 1.0, None, None)
    event = Builder()(complete_capture((*bare, "/shop.py", 3)))

    assert event is not None and dict(event.identifiers) == {"email": "a@b.c"}
    assert event.adjusted == {"identifier": 1}


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> Iterator[OdpClient]:
    """A client that keeps what comes in, in a process where structlog bound nothing."""
    for name in ("structlog_odp_identifiers", "structlog_odp_data"):
        # Bound by another test: from then on each record takes the general path.
        monkeypatch.delitem(contextvars._CONTEXT_VARS, name, raising=False)
    client = OdpClient("key", api_host="http://127.0.0.1:9")
    client._destinations.flusher._dispatcher._build_transport = None
    yield client
    client._destinations.flusher.abandon("end of the test")


COMMON = {"name": "shop", "odp_action": "a", "odp_identifiers": {"email": "a@b.c"}}


def test_a_record_without_a_process_takes_the_general_path(unsent, monkeypatch) -> None:
    """With ``logging.logProcesses`` off, the process of a record is None."""
    emitted: list[logging.LogRecord] = []

    class Handler(OdpHandler):
        def emit(self, record: logging.LogRecord) -> None:
            emitted.append(record)

    monkeypatch.setattr(logging, "logProcesses", False)
    OdpHandler(client=unsent).handle(logging.makeLogRecord(COMMON))  # others are warm
    handler = Handler(client=unsent)
    for _ in range(3):
        handler.handle(logging.makeLogRecord(COMMON))

    assert len(emitted) == 3


def test_an_event_left_in_an_earlier_inbox_is_sent(emulator, monkeypatch) -> None:
    """A log call that `configure` overtook wakes the earlier flusher."""
    monkeypatch.delitem(contextvars._CONTEXT_VARS, "structlog_odp_data", raising=False)
    client = OdpClient(KEY, api_host=emulator.url, flush_interval=0.05)
    earlier = client._router.inbox
    assert client.flush(10)
    client.configure("another")
    assert client.close(10)

    bare = ("a", {"email": "a@b.c"}, None, None, None, 1e9, None, None, "/shop.py", 3)
    earlier.queue.append(bare)
    assert earlier.is_flusher_idle
    client._router.check_inbox(earlier)

    assert emulator.wait_for(1, 5)
    assert client.close(10)
    assert client.stats.delivered == client.stats.accepted == 1


def test_the_hash_of_a_key_is_not_computed_again() -> None:
    """It may have changed: an exception would stop the whole buffer."""

    class Key:
        hashed = 0

        def __hash__(self) -> int:
            self.hashed += 1
            assert self.hashed == 1
            return 7

    identifiers: dict[Any, Any] = {Key(): 42, "email": "a@b.c"}
    bare = ("a", identifiers, None, None, None, 1.0, None, None, "/shop.py", 3)

    assert complete_capture(bare).identifiers == {"": 42, "email": "a@b.c"}


def test_bound_values_count_towards_the_limit() -> None:
    """An event with too many values is rejected, even if some of them are bound."""
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
