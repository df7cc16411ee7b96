"""Identifiers."""

from __future__ import annotations

import enum
import math
import uuid
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
from datetime import date
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from .expected import WHO, Record, Rejected, fields, nobody, who
from .hostile import (
    HUGE,
    Armed,
    Bytes,
    Closed,
    Dict,
    Endless,
    EndlessDict,
    Float,
    Int,
    KeyText,
    List,
    Map,
    NoPairs,
    Pretender,
    Rank,
    Shade,
    Text,
    armed,
    nameless,
    raising,
    refuse,
    saying,
)

NOBODY = "no_identifiers"
BAD = "bad_identifiers"


def _beside(name: str, make: Any) -> Record:
    """Return a record one of whose identifiers is none; the other one counts."""
    return who(f"identifier {name}", lambda: {"id": make(), **WHO}, WHO, identifier=1)


def _as(name: str, make: Any, becomes: str, **adjusted: int) -> Record:
    return who(
        f"identifier {name}", lambda: {"id": make()}, {"id": becomes}, **adjusted
    )


def _keyed(name: str, make: Any, **adjusted: int) -> Record:
    """Return a record with an identifier under a key that is none."""
    return who(f"key {name}", lambda: {make(): "x", **WHO}, WHO, **adjusted)


def _armed() -> dict[Any, Any]:
    return {**armed("x"), **WHO}


def _armed_value() -> dict[Any, Any]:
    key = Armed()
    made = {key: object(), **WHO}
    key.armed = True
    return made


def _grown() -> dict[str, str]:
    return {f"id{n}": "x" for n in range(10_001)}


class _Endless:
    def __iter__(self) -> Any:
        return iter(lambda: "k", None)


def _many(count: int) -> dict[str, str]:
    return {f"id{n}": "x" for n in range(count)}


RECORDS = [
    Record("no identifiers", lambda: {"odp_action": "viewed"}, Rejected(NOBODY)),
    nobody("identifiers none", lambda: None, NOBODY),
    nobody("identifiers empty", dict, NOBODY),
    nobody("identifiers all empty", lambda: {"a": "", "b": None, "c": " "}, NOBODY),
    nobody(
        "identifiers without names", lambda: {"": "u1", 5: "u2", None: "u3"}, NOBODY
    ),
    nobody("identifiers that name nobody", lambda: {"a": True, "b": [1]}, NOBODY),
    nobody("identifiers surrogate blank", lambda: {"\u3000": "x"}, NOBODY),
    nobody("identifiers empty mapping", lambda: Map([], refuse), NOBODY),
    nobody("identifiers only under an armed key", lambda: armed("x"), NOBODY),
    nobody("identifiers text", lambda: "u1", BAD),
    nobody("identifiers empty text", lambda: "", BAD),
    nobody("identifiers number", lambda: 0, BAD),
    nobody("identifiers false", lambda: False, BAD),
    nobody("identifiers list of pairs", lambda: [("fs_user_id", "u1")], BAD),
    nobody("identifiers set", lambda: {"u1"}, BAD),
    nobody("identifiers view", lambda: WHO.items(), BAD),
    nobody("identifiers generator", lambda: (pair for pair in WHO.items()), BAD),
    nobody("identifiers namespace", lambda: SimpleNamespace(**WHO), BAD),
    nobody("identifiers class", lambda: dict, BAD),
    nobody("identifiers closed", Closed, BAD),
    nobody("identifiers nameless", nameless, BAD),
    nobody("identifiers pretender", Pretender, BAD),
    nobody("identifiers mock", MagicMock, BAD),
    nobody("identifiers mock of a dict", lambda: MagicMock(spec=dict), BAD),
    nobody("identifiers mapping that raises", lambda: Map(["a"], refuse), BAD),
    nobody("identifiers mapping no iterator", lambda: Map(5, refuse), BAD),
    nobody("identifiers too many", _grown, "too_many_values"),
    nobody("identifiers too many, lying", lambda: Dict(_grown()), "too_many_values"),
    nobody(
        "identifiers without end",
        lambda: Map(_Endless(), lambda key: "x"),
        "too_many_values",
    ),
    who("identifiers of endless keys", lambda: EndlessDict(WHO), WHO),
    nobody(
        "identifiers proxy without end",
        lambda: MappingProxyType(EndlessDict(WHO)),
        "too_many_values",
    ),
    nobody(
        "identifiers proxy of no pairs", lambda: MappingProxyType(NoPairs(WHO)), BAD
    ),
    who("identifiers lying dict", lambda: Dict(WHO), WHO),
    who("identifiers ordered", lambda: OrderedDict(WHO), WHO),
    who("identifiers defaultdict", lambda: defaultdict(refuse, WHO), WHO),
    who("identifiers proxy", lambda: MappingProxyType(dict(WHO)), WHO),
    who("identifiers UserDict", lambda: UserDict(WHO), WHO),
    who("identifiers ChainMap", lambda: ChainMap({}, dict(WHO)), WHO),
    who("identifiers lying length", lambda: Map(WHO, WHO.get, -5), WHO),
    who("identifiers 1000", lambda: _many(1000), _many(1000)),
    _beside("true", lambda: True),
    _beside("fraction", lambda: 1.5),
    _beside("nan", lambda: math.nan),
    _beside("infinite", lambda: math.inf),
    _beside("complex", lambda: 5 + 0j),
    _beside("Fraction", lambda: Fraction(5, 1)),
    _beside("list", lambda: ["u1"]),
    _beside("long list", lambda: ["u1"] * 20_000),
    _beside("dict", lambda: {"id": "u1"}),
    _beside("deque", lambda: deque(["u1"])),
    _beside("lying list", lambda: List(["u1"])),
    _beside("object", lambda: saying("u1")),
    _beside("raising", lambda: raising("__str__", "__repr__")()),
    _beside("closed", Closed),
    _beside("nameless", nameless),
    _beside("unequal", raising("__eq__", "__hash__", "__bool__", "__len__")),
    _beside("lambda", lambda: lambda: "u1"),
    _beside("1025 characters", lambda: "x" * 1025),
    _beside("number of 1025 digits", lambda: 10**1024),
    _beside("number beyond printing", lambda: 10**5000),
    _beside("huge", lambda: "x" * HUGE),
    _beside("huge bytes", lambda: b"x" * HUGE),
    _as("text of 1024", lambda: "x" * 1024, "x" * 1024),
    _as("with spaces", lambda: " u 1\n", " u 1\n"),
    _as("nul", lambda: "u\x001", "u\x001"),
    _beside("surrogate", lambda: "u\ud8001"),
    _beside(
        "surrogate escaped", lambda: b"J\xfcrgen".decode("utf-8", "surrogateescape")
    ),
    nobody("identifiers surrogate", lambda: {"id": "u\udcff"}, NOBODY),
    _as("pair", lambda: "\ud83d\ude00", "\U0001f600"),
    _as("replacement character", lambda: "u\ufffd1", "u\ufffd1"),
    _beside("float beyond 2**53", lambda: 2.0**53 + 2),
    _as("float of 2**53", lambda: 2.0**53, str(2**53)),
    _as("injection", lambda: '","admin":"', '","admin":"'),
    _as("liar", lambda: Text("u1"), "u1"),
    _as("number", lambda: 17850, "17850"),
    _as("negative zero", lambda: -0.0, "0"),
    _as("whole fraction", lambda: 17850.0, "17850"),
    _as("lying fraction", lambda: Float(17850.0), "17850"),
    _as("lying number", lambda: Int(17850), "17850"),
    _as("large number", lambda: 2**70, str(2**70)),
    _as("number of 1024 digits", lambda: 10**1023, str(10**1023)),
    _as("UUID", lambda: uuid.UUID(int=1), str(uuid.UUID(int=1))),
    _as("Decimal", lambda: Decimal("17850"), "17850"),
    _as("bytes", lambda: "ü1".encode(), "ü1"),
    _beside("bytes that are no text", lambda: b"u1\xff"),
    _beside("bytes, too long in the middle of a letter", lambda: "é".encode() * 3000),
    _beside("member of bytes", lambda: enum.Enum("Raw", {"ONE": b"\xff"}).ONE),
    _beside("member with itself", lambda: Endless.ONE),
    _as("lying bytes", lambda: Bytes(b"u1"), "u1"),
    _as("member", lambda: Shade.DARK, "dark"),
    _as("numbered member", lambda: Rank.FIRST, "1"),
    _as("date", lambda: date(2010, 12, 1), "2010-12-01"),
    who("identifier none", lambda: {"id": None, **WHO}, WHO),
    who("identifier blank", lambda: {"id": "\t", **WHO}, WHO),
    _keyed("number", lambda: 5, identifier=1),
    _keyed("none", lambda: None, identifier=1),
    _keyed("nan", lambda: math.nan, identifier=1),
    _keyed("tuple", lambda: ("a", "b"), identifier=1),
    _keyed("bytes", lambda: b"email", identifier=1),
    _keyed("object", object, identifier=1),
    _keyed("blank", lambda: " ", identifier=1),
    _keyed("saying text", lambda: saying("email"), identifier=1),
    _keyed("1025 characters", lambda: "k" * 1025, identifier=1),
    _keyed("huge", lambda: "k" * HUGE, identifier=1),
    _keyed("huge liar", lambda: KeyText("k" * HUGE), identifier=1),
    who("key armed", _armed, WHO, identifier=1),
    who("key armed before an object", _armed_value, WHO, identifier=1),
    who("key 1024", lambda: {"k" * 1024: "x"}, {"k" * 1024: "x"}),
    _keyed("surrogate", lambda: "k\ud800", identifier=1),
    who("key pair", lambda: {"k\ud83d\ude00": "x"}, {"k\U0001f600": "x"}),
    who("key liar", lambda: {KeyText("email"): "x"}, {"email": "x"}),
    who("key member", lambda: {Shade.DARK: "x"}, {"dark": "x"}),
    who("key alias liar", lambda: {KeyText("FS-USER-ID"): "u1"}, WHO),
    who("key Turkish", lambda: {"FS_USER_\u0130D": "x"}, {"FS_USER_\u0130D": "x"}),
    who("aliases", lambda: {"FS-USER-ID": "u1", "fs-user-id": "u2"}, WHO),
    who("alias of nobody", lambda: {"fs-user-id": True, **WHO}, WHO, identifier=1),
    Record(
        "identifiers only in data",
        lambda: {"odp_action": "viewed", "odp_data": {"fs_user_id": "u1"}},
        Rejected(NOBODY),
    ),
    Record(
        "everything hostile",
        lambda: fields(
            action=Text("viewed"),
            type=Closed(),
            identifiers=Dict(id=Closed()),
            data=Dict(a=nameless()),
            timestamp=Closed(),
            idempotence_id=Closed(),
        ),
        Rejected("bad_type"),
    ),
]
