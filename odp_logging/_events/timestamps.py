"""
Reads the time of an event: epoch seconds, a datetime, or ISO-8601 text.

ODP gets it as ``data.ts``. Used when an event is built, on the flusher's thread.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from typing import Any

from .adjustments import Adjustments, record_adjustment
from .normalize import get_type_name
from .rules import MAX_TEXT

_MAX_SECONDS = 1e11
"""Larger numbers are milliseconds: this is the year 5138 in epoch seconds."""


def read_time(
    timestamp: Any, adjustments: Adjustments, *, label: str = "timestamp"
) -> int | str | None:
    """
    Return *timestamp* for ``data.ts``: whole epoch seconds, or ISO-8601 text.

    Return None if it cannot be read, and count that as ``timestamp``.
    Fractions of a second are left out: ODP does not document whether it stores them.

    Args:
        label: The name of the value in a message.
    """
    if timestamp is None:
        return None
    try:
        return _read_time(timestamp, adjustments)
    except Exception:  # the application may log any object as a time
        record_adjustment(adjustments, "timestamp")
        adjustments.messages.setdefault(
            "timestamp",
            f"{label} cannot be read ({get_type_name(timestamp)}). Pass epoch seconds,"
            " a datetime or ISO-8601 text",
        )
        return None


def _read_time(timestamp: Any, adjustments: Adjustments) -> int | str:
    if isinstance(timestamp, datetime):
        # datetime's method: a subclass may return what has no floor.
        return math.floor(datetime.timestamp(timestamp))
    # A bool is an int: True would be one second after the epoch.
    if isinstance(timestamp, bool):
        raise ValueError
    if type(timestamp) is str:
        if len(timestamp) > MAX_TEXT:
            raise ValueError
        if not _is_number(timestamp):
            return normalize_iso(timestamp)
    number = float(timestamp)
    is_millis = number >= _MAX_SECONDS
    if is_millis:
        number /= 1000
    if abs(number) >= _MAX_SECONDS:
        raise ValueError
    if is_millis:
        record_adjustment(adjustments, "milliseconds")
    return math.floor(number)


def normalize_iso(text: str) -> str:
    """
    Return ISO-8601 *text* in its extended form, the same on every Python.

    `datetime.fromisoformat` of CPython 3.10 reads only 3 or 6 digits of a second and no
    basic format. This function reads dates, week dates, and times with any number of
    digits (9 are kept), with or without an offset.

    Raises:
        ValueError: *text* is not ISO-8601, or there is no such date or time.
    """
    # ASCII: \d alone matches the digits of every script, and ODP would get them.
    match = re.fullmatch(_ISO, text.strip(), re.ASCII)
    if match is None:
        raise ValueError
    year, month, day, week, weekday, hour, minute, second, digits, zone = match.groups()
    if week:
        when = date.fromisocalendar(int(year), int(week), int(weekday or 1))
    else:
        when = date(int(year), int(month), int(day))
    if hour is None:
        return when.isoformat()
    is_after_midnight = any(
        [part and part.strip("0") for part in (minute, second, digits)]
    )
    if hour == "24" and not is_after_midnight and when != date.max:
        # The end of a day, which fromisoformat reads since CPython 3.14.
        when, hour = when + timedelta(days=1), "00"
    elif hour == "24":
        raise ValueError
    local_time = f"{when.isoformat()}T{hour}:{minute or '00'}:{second or '00'}"
    offset = _normalize_offset(zone)
    datetime.fromisoformat(
        f"{local_time}{offset.replace('Z', '')}"
    )  # raises if there is no such time
    return f"{local_time}{(digits and f'.{digits[:9]}') or ''}{offset}"


_ISO = (
    r"(\d{4})-?(?:(\d\d)-?(\d\d)|W(\d\d)(?:-?(\d))?)"
    r"(?:[Tt _](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?"
    r" ?([Zz]|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?"
)


def _normalize_offset(zone: str | None) -> str:
    if zone is None:
        return ""
    if zone in "Zz":
        return "Z"
    digits = zone[1:].replace(":", "")
    return zone[0] + ":".join(
        [digits[:2], digits[2:4] or "00", *([digits[4:]] if digits[4:] else [])]
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
