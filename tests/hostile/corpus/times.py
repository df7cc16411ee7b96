"""Times of events."""

from __future__ import annotations

import enum
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .expected import Record, Sent, fields
from .hostile import HUGE, Closed, Float, Int, Shop, Text, Zone, moment, raising, saying

MOMENT = 1_291_191_960
ISO = "2010-12-01T08:26:00+00:00"


def _read(name: str, make: Any, becomes: Any, **adjusted: int) -> Record:
    outcome = Sent(ts=becomes, adjusted=adjusted)
    return Record(f"time {name}", lambda: fields(timestamp=make()), outcome)


def _unread(name: str, make: Any) -> Record:
    """Return a record whose time is none: that of the log call stands in for it."""
    outcome = Sent(adjusted={"timestamp": 1})
    return Record(f"time {name}", lambda: fields(timestamp=make()), outcome)


def _in_data(name: str, make: Any, becomes: Any, **adjusted: int) -> Record:
    outcome = Sent(ts=becomes, adjusted=adjusted)
    return Record(f"ts {name}", lambda: fields(data={"ts": make()}), outcome)


def _in_the_shop() -> datetime:
    return datetime.fromtimestamp(MOMENT, Shop())


class _Year(enum.IntEnum):
    FIRST = 5


RECORDS = [
    _read("zero", lambda: 0, 0),
    _read("before 1970", lambda: -1.5, -2),
    _read("fraction", lambda: MOMENT + 0.999, MOMENT),
    _read("milliseconds", lambda: MOMENT * 1000 + 5, MOMENT, milliseconds=1),
    _read("text", lambda: f" {MOMENT} ", MOMENT),
    _read("text with underscores", lambda: "1_000", 1000),
    _read("Arabic digits", lambda: "\u0661\u0662", 12),
    _read("ISO", lambda: ISO, ISO),
    _read("ISO with Z", lambda: "2010-12-01T08:26:00Z", "2010-12-01T08:26:00Z"),
    _read("day", lambda: "2010-12-01", "2010-12-01"),
    _read("date", lambda: date(2010, 12, 1), "2010-12-01"),
    _read("datetime", lambda: datetime.fromtimestamp(MOMENT, timezone.utc), MOMENT),
    _read("local datetime", lambda: datetime.fromtimestamp(MOMENT), MOMENT),
    _read(
        "first moment",
        lambda: datetime.min.replace(tzinfo=timezone.utc),
        -62_135_596_800,
    ),
    _read("zone of the shop's", lambda: _in_the_shop(), MOMENT),
    _read("member", lambda: _Year.FIRST, 5),
    _read("lying number", lambda: Int(MOMENT), MOMENT),
    _read("lying fraction", lambda: Float(MOMENT), MOMENT),
    _read("Decimal", lambda: Decimal(MOMENT), MOMENT),
    _read("bytes", lambda: str(MOMENT).encode(), MOMENT),
    _read("liar", lambda: Text(ISO), ISO),
    _read("lying moment", lambda: moment(Text(ISO)), ISO),
    _unread("empty", lambda: ""),
    _unread("soon", lambda: "soon"),
    _unread("true", lambda: True),
    _unread("nan", lambda: float("nan")),
    _unread("infinite", lambda: float("-inf")),
    _unread("infinite text", lambda: "Infinity"),
    _unread("microseconds", lambda: MOMENT * 10**6),
    _unread("far away", lambda: 1e300),
    _unread("far away and long ago", lambda: -1e300),
    _unread("too many digits", lambda: 10**5000),
    _unread("too many digits in text", lambda: "9" * 400),
    _unread("huge", lambda: "1" * HUGE),
    _unread("ISO without end", lambda: ISO[:19] + "." + "1" * 2000),
    _unread("month 13", lambda: "2010-13-01T00:00:00"),
    _unread("list", lambda: [MOMENT]),
    _unread("long list", lambda: [MOMENT] * 20_000),
    _unread("dict", lambda: {"seconds": MOMENT}),
    _unread("time of day", lambda: time(8, 26)),
    _unread("Fraction", lambda: Fraction(MOMENT, 1)),
    _unread("saying a time", lambda: saying(ISO)),
    _unread("closed", Closed),
    _unread("raising as a number", raising("__float__", "__index__", "__int__")),
    _unread("unknown zone", lambda: datetime(2010, 12, 1, tzinfo=Zone())),
    _unread("moment that raises", lambda: moment(ValueError("no time"))),
    _unread("moment that is no text", lambda: moment(5)),
    _unread("moment that is huge", lambda: moment("1" * HUGE)),
    _in_data("text", lambda: "soon", "soon"),
    _in_data("nan", lambda: float("nan"), None, not_finite=1),
    _in_data("none", lambda: None, None),
    _in_data("list", lambda: [1], [1]),
    _in_data("zero", lambda: 0, 0),
    _in_data("timedelta", lambda: timedelta(1), 86400.0),
    Record(
        "ts in data and a time",
        lambda: fields(data={"ts": 5}, timestamp=9),
        Sent(ts=5),
    ),
    Record(
        "ts in data and no time to be read",
        lambda: fields(data={"ts": 5}, timestamp="soon"),
        Sent(ts=5, adjusted={"timestamp": 1}),
    ),
]
