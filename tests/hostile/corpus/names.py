"""Actions, types and idempotence ids."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from .expected import Outcome, Record, Rejected, Sent, fields
from .hostile import (
    HUGE,
    Bytes,
    Closed,
    Endless,
    Id,
    Int,
    Number,
    Odd,
    Pretender,
    Rank,
    Shade,
    Text,
    armed,
    moment,
    nameless,
    raising,
    saying,
)

ID = uuid.UUID(int=5)
LONG = "x" * 1025


def _refused(name: str, make: Any, reason: str = "bad_action") -> Record:
    return Record(f"action {name}", lambda: fields(action=make()), Rejected(reason))


def _named(name: str, make: Any, becomes: str, **adjusted: int) -> Record:
    outcome = Sent(action=becomes, adjusted=adjusted)
    return Record(f"action {name}", lambda: fields(action=make()), outcome)


def _type(name: str, make: Any, outcome: Outcome) -> Record:
    return Record(f"type {name}", lambda: fields(type=make()), outcome)


def _id(name: str, make: Any, becomes: str | None, **adjusted: int) -> Record:
    outcome = Sent(id=becomes, adjusted=adjusted)
    return Record(f"id {name}", lambda: fields(idempotence_id=make()), outcome)


ACTIONS = [
    _refused("none", lambda: None, "no_action"),
    _refused("empty", lambda: "", "no_action"),
    _refused("blank", lambda: " \t\r\n", "no_action"),
    _refused("blank in Unicode", lambda: "\u2003\u3000\x85", "no_action"),
    _refused("empty bytes", lambda: b""),
    _refused("true", lambda: True),
    _refused("fraction", lambda: 1.5),
    _refused("nan", lambda: float("nan")),
    _refused("complex", lambda: 1j),
    _refused("list", lambda: ["viewed"]),
    _refused("long list", lambda: ["viewed"] * 20_000),
    _refused("tuple", lambda: ("viewed",)),
    _refused("dict", lambda: {"action": "viewed"}),
    _refused("long dict", lambda: dict.fromkeys(range(20_000))),
    _refused("armed dict", armed),
    _refused("object", object),
    _refused("class", lambda: str),
    _refused("function", lambda: len),
    _refused("exception", lambda: ValueError("viewed")),
    _refused("saying text", lambda: saying("viewed")),
    _refused("closed", Closed),
    _refused("nameless", nameless),
    _refused("pretender", Pretender),
    _refused("member of a list", lambda: Odd.LIST),
    _refused("member of nothing", lambda: Odd.NONE, "no_action"),
    _refused("infinite Decimal", lambda: Decimal("-Infinity")),
    _refused("raising on every comparison", raising("__eq__", "__hash__", "__bool__")),
    _refused("number", lambda: 5),
    _refused("zero", lambda: 0),
    _refused("lying number", lambda: Int(5)),
    _refused("long number", lambda: 10**5000),
    _refused("Decimal", lambda: Decimal("1.50")),
    _refused("lying Decimal", lambda: Number("1.5")),
    _refused("bytes", lambda: b"viewed"),
    _refused("bytearray", lambda: bytearray(b"viewed")),
    _refused("lying bytes", lambda: Bytes(b"viewed")),
    _refused("UUID", lambda: ID),
    _refused("lying UUID", lambda: Id(int=5)),
    _refused("numbered member", lambda: Rank.FIRST),
    _refused("member with itself", lambda: Endless.ONE),
    _refused("date", lambda: date(2010, 12, 1)),
    _refused("moment", lambda: moment("noon")),
    _named("member", lambda: Shade.DARK, "dark"),
    _named("liar", lambda: Text("viewed"), "viewed"),
    _named("nul", lambda: "\x00", "\x00"),
    _named("lines", lambda: "a\r\nb", "a\r\nb"),
    _named("json", lambda: '"},{"', '"},{"'),
    _named("surrogate", lambda: "a\udfff", "a\ufffd", surrogate=1),
    _named("1024", lambda: "x" * 1024, "x" * 1024),
    _named("1025", lambda: LONG, "x" * 1024, cut=1),
    _named("huge", lambda: "é" * HUGE, "é" * 1024, cut=1),
    _refused("huge bytes", lambda: b"x" * HUGE),
]

TYPES = [
    _type("none", lambda: None, Sent()),
    _type("blank", lambda: " ", Sent()),
    _type("empty bytes", lambda: b"", Rejected("bad_type")),
    _type("bytes", lambda: b"order", Rejected("bad_type")),
    _type("number", lambda: 7, Rejected("bad_type")),
    _type("zero", lambda: 0, Rejected("bad_type")),
    _type("UUID", lambda: ID, Rejected("bad_type")),
    _type("member", lambda: Shade.DARK, Sent(type="dark")),
    _type("liar", lambda: Text("order"), Sent(type="order")),
    _type("huge", lambda: "x" * HUGE, Sent(type="x" * 1024, adjusted={"cut": 1})),
    _type("surrogate", lambda: "\ud800", Sent(type="�", adjusted={"surrogate": 1})),
    _type("false", lambda: False, Rejected("bad_type")),
    _type("list", list, Rejected("bad_type")),
    _type("long list", lambda: [0] * 20_000, Rejected("bad_type")),
    _type("closed", Closed, Rejected("bad_type")),
    _type("nan", lambda: float("nan"), Rejected("bad_type")),
]

IDS = [
    _id("none", lambda: None, None),
    _id("empty", lambda: "", None),
    _id("blank", lambda: "\n", None),
    _id("true", lambda: True, None, idempotence_id=1),
    _id("list", lambda: ["a"], None, idempotence_id=1),
    _id("long list", lambda: ["a"] * 20_000, None, idempotence_id=1),
    _id("closed", Closed, None, idempotence_id=1),
    _id("nan", lambda: float("nan"), None, idempotence_id=1),
    _id("number", lambda: 70_001, "70001"),
    _id("UUID", lambda: uuid.UUID(int=70_002), str(uuid.UUID(int=70_002))),
    _id("bytes", lambda: b"id-bytes", "id-bytes"),
    _id("liar", lambda: Text("id-liar"), "id-liar"),
    _id("surrogate", lambda: "id\ud800", None, idempotence_id=1),
    _id("1025", lambda: LONG, None, idempotence_id=1),
    _id("huge", lambda: "y" * HUGE, None, idempotence_id=1),
    _id("bytes that are no text", lambda: b"id\xff", None, idempotence_id=1),
    _id("bytearray", lambda: bytearray(b"id"), None, idempotence_id=1),
    _id(
        "moment",
        lambda: datetime(2010, 12, 1, tzinfo=timezone.utc),
        "2010-12-01T00:00:00+00:00",
    ),
    Record(
        "id in data gives way",
        lambda: fields(idempotence_id="id-field", data={"idempotence_id": "id-data"}),
        Sent(id="id-field"),
    ),
    Record(
        "id in data stands in for a blank one",
        lambda: fields(idempotence_id=" ", data={"idempotence_id": "id-data"}),
        Sent(id="id-data"),
    ),
    Record(
        "id in data is no name",
        lambda: fields(data={"idempotence_id": ["a", {"b": 1}]}),
        Sent(adjusted={"idempotence_id": 1}),
    ),
    Record(
        "id in data too long",
        lambda: fields(data={"idempotence_id": LONG}),
        Sent(adjusted={"idempotence_id": 1}),
    ),
    Record(
        "id in data raises",
        lambda: fields(data={"idempotence_id": raising("__str__")()}),
        Sent(id="<Raising>"),
    ),
]

RECORDS = [*ACTIONS, *TYPES, *IDS]
