"""Single values within data."""

from __future__ import annotations

import array
import io
import ipaddress
import math
import re
import threading
import time as clock
import types
import uuid
import weakref
from dataclasses import make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from unittest.mock import MagicMock

from .expected import value
from .hostile import (
    HUGE,
    Endless,
    Odd,
    Rank,
    Right,
    Shade,
    Valueless,
    Zone,
    numpy_scalar,
    raising,
    refuse,
)

PLACE = "0x[0-9a-f]+>"


def _tampered() -> uuid.UUID:
    made = uuid.UUID(int=5)
    object.__setattr__(made, "int", "no number")
    return made


NUMBERS = [
    value("none", lambda: None, None),
    value("true", lambda: True, True),
    value("false", lambda: False, False),
    value("zero", lambda: 0, 0),
    value("largest exact integer", lambda: 2**53, 2**53),
    value("first too large", lambda: 2**53 + 1, "9007199254740993", integer=1),
    value("too small", lambda: -(2**53) - 1, "-9007199254740993", integer=1),
    value("400 digits", lambda: 10**400, str(10**400), integer=1),
    value("5000 digits", lambda: 10**5000, hex(10**5000)[:1024], integer=1, cut=1),
    value("2000 digits", lambda: 10**1999, str(10**1999)[:1024], integer=1, cut=1),
    value(
        "-5000 digits", lambda: -(10**5000), hex(-(10**5000))[:1024], integer=1, cut=1
    ),
    value("negative zero", lambda: -0.0, -0.0),
    value("smallest fraction", lambda: 5e-324, 5e-324),
    value("largest fraction", lambda: 1.7976931348623157e308, 1.7976931348623157e308),
    value("nan", lambda: math.nan, None, not_finite=1),
    value("infinite", lambda: math.inf, None, not_finite=1),
    value("minus infinite", lambda: -math.inf, None, not_finite=1),
    value(
        "nan in lists",
        lambda: [1, math.nan, [math.inf]],
        [1, None, [None]],
        not_finite=2,
    ),
    value("complex", lambda: 1 + 2j, "(1+2j)"),
    value("complex nan", lambda: complex(math.nan, 0), "(nan+0j)"),
    value("Fraction", lambda: Fraction(1, 3), "1/3"),
    value("Fraction beyond printing", lambda: Fraction(10**5000, 3), "<Fraction>"),
    value("Decimal", lambda: Decimal("1.10"), "1.10"),
    value("Decimal minus zero", lambda: Decimal("-0.0"), "-0.0"),
    value("Decimal huge", lambda: Decimal("1E+999999"), "1E+999999"),
    value("Decimal quiet nan", lambda: Decimal("NaN"), None, not_finite=1),
    value("Decimal signalling nan", lambda: Decimal("sNaN"), None, not_finite=1),
    value("Decimal infinite", lambda: Decimal("-Infinity"), None, not_finite=1),
    value("Decimal long", lambda: Decimal("1" * 3000), "1" * 1024, cut=1),
]

MOMENTS = [
    value("naive datetime", lambda: datetime(2010, 12, 1, 8), "2010-12-01T08:00:00"),
    value("first datetime", lambda: datetime.min, "0001-01-01T00:00:00"),
    value("last datetime", lambda: datetime.max, "9999-12-31T23:59:59.999999"),
    value(
        "odd offset",
        lambda: datetime(2010, 12, 1, tzinfo=timezone(timedelta(seconds=1))),
        "2010-12-01T00:00:00+00:00:01",
    ),
    value("unknown zone", lambda: datetime(1, 1, 1, tzinfo=Zone()), "<datetime>"),
    value("time in an unknown zone", lambda: time(1, tzinfo=Zone()), "<time>"),
    value("folded", lambda: datetime(2010, 1, 1, fold=1), "2010-01-01T00:00:00"),
    value("first date", lambda: date.min, "0001-01-01"),
    value("longest timedelta", lambda: timedelta.max, timedelta.max.total_seconds()),
    value("negative timedelta", lambda: timedelta(-1, 1), -86399.0),
    value("struct_time", lambda: clock.gmtime(0), [1970, 1, 1, 0, 0, 0, 3, 1, 0]),
    value("UUID", lambda: uuid.UUID(int=0), str(uuid.UUID(int=0))),
    value("tampered UUID", _tampered, "<UUID>"),
]

BINARY = [
    value("empty bytes", lambda: b"", ""),
    value("no UTF-8", lambda: b"\xff\xfe\x00a", "\ufffd\ufffd\x00a"),
    value("overlong UTF-8", lambda: b"\xc0\x80", "\ufffd\ufffd"),
    value("surrogate as UTF-8", lambda: b"\xed\xa0\x80", "\ufffd" * 3),
    value("UTF-8 cut within a character", lambda: b"x" + b"\xe2\x82", "x\ufffd"),
    value("1025 astral as bytes", lambda: "😀".encode() * 1025, "😀" * 1024, cut=1),
    value("huge bytes", lambda: b"x" * HUGE, "x" * 1024, cut=1),
    value("huge bytearray", lambda: bytearray(HUGE), "\x00" * 1024, cut=1),
    value("memoryview", lambda: memoryview(b"x"), re.compile(f"<memory at {PLACE}")),
    value("array", lambda: array.array("i", [1, 2]), "array('i', [1, 2])"),
]

MEMBERS = [
    value("member with text", lambda: Shade.DARK, "dark"),
    value("member with a number", lambda: Rank.FIRST, 1),
    value("members combined", lambda: Right.READ | Right.WRITE, 6),
    value("member with a tuple", lambda: Odd.LIST, [1, 2]),
    value("member with none", lambda: Odd.NONE, None),
    value("member with nan", lambda: Odd.NAN, None, not_finite=1),
    value("member with an object", lambda: Odd.OBJECT, "Odd.OBJECT"),
    value("member without a value", lambda: Valueless.ONE, "Valueless.ONE"),
    value("member with itself", lambda: Endless.ONE, "Endless.ONE"),
]

_Point = make_dataclass("Point", ["x"])


def _generator() -> Any:
    yield from ()


def _dead() -> Any:
    return weakref.proxy(_Point(1))


OBJECTS = [
    value("Ellipsis", lambda: ..., "Ellipsis"),
    value("NotImplemented", lambda: NotImplemented, "NotImplemented"),
    value("class", lambda: int, "<class 'int'>"),
    value("built-in function", lambda: len, "<built-in function len>"),
    value(
        "function", lambda: _generator, re.compile(f"<function _generator at {PLACE}")
    ),
    value("module", lambda: math, re.compile("<module 'math'.*>")),
    value("generator", _generator, re.compile(f"<generator object .* at {PLACE}")),
    value("exception", lambda: ValueError("x"), "x"),
    value("exception without words", ValueError, ""),
    value("KeyboardInterrupt as a value", lambda: KeyboardInterrupt("x"), "x"),
    value("exception that is its own cause", lambda: _ring(), "ring"),
    value("lock", threading.Lock, re.compile(f"<unlocked .*lock object at {PLACE}")),
    value("stream", io.StringIO, re.compile(f"<_io.StringIO object at {PLACE}")),
    value("slice", lambda: slice(1, 2), "slice(1, 2, None)"),
    value("endless range", lambda: range(10**18), f"range(0, {10**18})"),
    value("path", lambda: PurePosixPath("/a/b"), "/a/b"),
    value("address", lambda: ipaddress.ip_address("::1"), "::1"),
    value("pattern", lambda: re.compile("a+"), "re.compile('a+')"),
    value("namespace", lambda: types.SimpleNamespace(a=1), "namespace(a=1)"),
    value("dataclass", lambda: _Point(1), "Point(x=1)"),
    value("dataclass that raises", lambda: _Point(raising("__repr__")()), "<Point>"),
    value("dead proxy", _dead, re.compile("<.*[Pp]roxy.*>")),
    value("mock", MagicMock, re.compile("<MagicMock id='[0-9]+'>")),
    value("mock of a dict", lambda: MagicMock(spec=dict), re.compile("<MagicMock .*>")),
    value("frame", lambda: _frame(), re.compile("<frame at .*>")),
    value(
        "traceback", lambda: _traceback(), re.compile(f"<traceback object at {PLACE}")
    ),
]


def _ring() -> Exception:
    error = ValueError("ring")
    error.__cause__ = error.__context__ = error
    return error


def _frame() -> Any:
    return _traceback().tb_frame


def _traceback() -> Any:
    try:
        refuse()
    except RuntimeError as error:
        return error.__traceback__


NUMPY = [
    value("like numpy's integer", lambda: numpy_scalar(lambda self: 5), 5),
    value(
        "like numpy's nan",
        lambda: numpy_scalar(lambda self: math.nan),
        None,
        not_finite=1,
    ),
    value("like numpy's longdouble", lambda: numpy_scalar(lambda self: self), "scalar"),
    value(
        "like numpy's datetime", lambda: numpy_scalar(lambda self: date.min), "scalar"
    ),
    value("like numpy's, raising", lambda: numpy_scalar(refuse), "scalar"),
    value(
        "like numpy's integer, large",
        lambda: numpy_scalar(lambda self: 2**63),
        "9223372036854775808",
        integer=1,
    ),
]

RECORDS = [*NUMBERS, *MOMENTS, *BINARY, *MEMBERS, *OBJECTS, *NUMPY]
