"""Checks of accepted events for values that ODP silently drops or changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

MAX_WARNINGS = 20
"""Findings about one event, which may have thousands of invalid names."""

MAX_TEXT = 1_024
"""Characters that a text field of ODP holds, according to its documentation."""


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of problem.

    Args:
        level: "warning" where something is lost or wrong, "note" where it may be.
        title: the problem in a few words.
        about: what ODP does, as far as that is documented.
    """

    level: str
    title: str
    about: str


CHECKS = {
    "identifier-name": Check(
        "warning",
        "Unknown identifier name",
        "ODP has no identifier of this name, and none can be created: the name of a "
        "custom one ends in id, hash, number, token, alias, address or key.",
    ),
    "identifier-value": Check(
        "warning",
        "Placeholder as an identifier",
        "Customers that share an identifier become one profile. This cannot be undone.",
    ),
    "identifier-spelling": Check(
        "warning",
        "Spaces or capital letters in an identifier",
        "Whether ODP trims identifiers and puts e-mail addresses in lower case is not "
        "documented. Two spellings may become two customers: send one.",
    ),
    "identifier-custom": Check(
        "note",
        "Custom identifier",
        "It must be created in ODP before events are sent. What ODP does with an "
        "unknown one is not documented.",
    ),
    "identifier-form": Check(
        "note",
        "Identifier in an unexpected format",
        "A phone is stored as E.164, such as +4930123456; a vuid has at most 32 "
        "characters. What ODP does with other values is not documented.",
    ),
    "field-name": Check(
        "warning",
        "Invalid field name",
        "A field name is lower snake_case and starts with a letter. A value under "
        "another name is not stored.",
    ),
    "field-custom": Check(
        "note",
        "Custom field",
        "It is stored once the field was created in ODP. Until then ODP drops it "
        "silently.",
    ),
    "time-future": Check(
        "warning",
        "Time in the future",
        "data.ts is more than a minute after the event's arrival. ODP's limit is not "
        "documented.",
    ),
    "time-old": Check(
        "warning",
        "Time over a year ago",
        "Real-time segments use the last 28 days. How old an event may be is not "
        "documented.",
    ),
    "time-unit": Check(
        "warning",
        "Time in milliseconds",
        "data.ts is in seconds. Read as seconds, this time is tens of thousands of "
        "years ahead.",
    ),
    "time-form": Check(
        "warning",
        "Time in an unknown format",
        "data.ts is epoch seconds or ISO-8601 text. Without one, ODP uses the time of "
        "arrival.",
    ),
    "text-long": Check(
        "warning",
        "Text over 1,024 characters",
        "A text field holds 1,024 characters. Whether ODP truncates or drops a longer "
        "text is not documented.",
    ),
    "text-cut": Check(
        "note",
        "Text of exactly 1,024 characters",
        "It was probably truncated before it was sent.",
    ),
    "nested": Check(
        "warning",
        "List or object as a value",
        "ODP has no field for one; it reads only the items of an order.",
    ),
    "number": Check(
        "warning",
        "Number beyond 2^53",
        "ODP stores numbers in double precision, so the last digits are lost. Send "
        "it as text.",
    ),
    "empty-value": Check(
        "note",
        "Null or empty text",
        "ODP reads null as an empty text, which may overwrite a stored value.",
    ),
    "event-name": Check(
        "note",
        "Unknown action of a known type",
        "The type is one of ODP's own, but the action is not. Reports and segments "
        "that ship with ODP ignore the event.",
    ),
}
"""Each check by its name, in the order in which they are shown."""

EventWarning = dict[str, str]


def find_warnings(entry: Mapping[str, Any]) -> list[EventWarning]:
    """Return findings about a ledger *entry*: check, level, field and a text.

    There are none for a rejected event: ODP itself reports what is wrong with it.
    """
    if entry["status"] == "rejected":
        return []
    found = []
    for check, field, text in _check_event(entry["event"], entry["received"]):
        found.append(_build_warning(check, field, text))
        if len(found) == MAX_WARNINGS:
            break
    return found


def _build_warning(check: str, field: str, text: str) -> EventWarning:
    level = CHECKS[check].level
    return {"check": check, "level": level, "field": field, "text": text}


_Warnings = Iterator[tuple[str, str, str]]


def _check_event(event: Mapping[str, Any], received: float) -> _Warnings:
    for name, value in event["identifiers"].items():
        yield from _check_identifier(name, value)
    yield from _check_event_name(event["type"], event["action"])
    data = event.get("data") or {}
    if "ts" in data:
        yield from _check_time(data["ts"], received)
    for name, value in data.items():
        yield from _check_field(name, value, event["type"])


def _check_identifier(name: str, value: str) -> _Warnings:
    field = f"identifiers.{_truncate(name)}"
    if name in _IDENTIFIERS:
        pass
    elif name.replace("-", "_").lower() in _IDENTIFIERS:
        known = name.replace("-", "_").lower()
        yield "identifier-name", field, f"ODP's own is {known}"
    elif _IDENTIFIER_NAME.fullmatch(name):
        yield "identifier-custom", field, "must be created in ODP before"
    else:
        yield "identifier-name", field, "cannot be an identifier of ODP"
    if value.strip().lower() in _PLACEHOLDERS:
        yield "identifier-value", field, "is a placeholder"
    elif value != value.strip():
        yield "identifier-spelling", field, "begins or ends with a space"
    elif name == "email" and value != value.lower():
        yield "identifier-spelling", field, "has capital letters"
    elif name == "phone" and not _E164.fullmatch(value):
        yield "identifier-form", field, "is not E.164, such as +4930123456"
    elif name == "vuid" and len(value) > 32:
        yield "identifier-form", field, f"has {len(value):,} characters, not 32"


def _check_event_name(type_: str, action: str) -> _Warnings:
    known = _EVENTS.get(type_)
    if known is not None and action not in known:
        actions = ", ".join(known)
        yield "event-name", "action", f"ODP's own for {type_}: {actions}"


def _check_time(value: Any, received: float) -> _Warnings:
    timestamp = _parse_time(value)
    if timestamp is None:
        yield "time-form", "data.ts", "is neither epoch seconds nor ISO-8601"
    elif timestamp > _MIN_MILLISECONDS:
        yield "time-unit", "data.ts", "looks like milliseconds: send seconds"
    elif timestamp > received + _MAX_FUTURE_SECONDS:
        yield "time-future", "data.ts", f"is {_format_span(timestamp - received)} ahead"
    elif timestamp < received - _YEAR_SECONDS:
        yield "time-old", "data.ts", f"is {_format_span(received - timestamp)} old"


def _check_field(name: str, value: Any, type_: str) -> _Warnings:
    field = f"data.{_truncate(name)}"
    if not _FIELD_NAME.fullmatch(name):
        yield "field-name", field, "is not lower snake_case: ODP does not store it"
    elif name not in _FIELDS and not (type_ == "order" and name in _ORDER_FIELDS):
        yield "field-custom", field, "is stored only once it was created in ODP"
    if value is None or value == "":
        kind = "null" if value is None else "an empty text"
        yield "empty-value", field, f"is {kind}"
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        yield "text-long", field, f"has {len(value):,} characters"
    elif isinstance(value, str) and len(value) == MAX_TEXT:
        yield "text-cut", field, "has 1,024 characters"
    elif isinstance(value, (list, dict)):
        if not (type_ == "order" and name in _ORDER_FIELDS):
            kind = "a list" if isinstance(value, list) else "an object"
            yield "nested", field, f"is {kind}"
    elif isinstance(value, int) and abs(value) > 2**53:
        yield "number", field, "is beyond 2^53"


def _parse_time(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _to_float(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    if _NUMBER.fullmatch(value):
        return _to_float(value)
    try:
        # CPython 3.10 does not read Z.
        parsed = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        # ODP reads a date without a zone as midnight in UTC.
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=timezone.utc)
        return parsed.timestamp()
    except (ValueError, OverflowError):
        return None


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _format_span(seconds: float) -> str:
    for size, name in ((_YEAR_SECONDS, "years"), (86_400, "days"), (3_600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds / 60:,.0f} minutes"


def _truncate(name: str) -> str:
    return name if len(name) <= 64 else name[:63] + "…"


_YEAR_SECONDS = 365.25 * 86_400
_MAX_FUTURE_SECONDS = 60.0
# In epoch seconds, the year 5138.
_MIN_MILLISECONDS = 1e11

_IDENTIFIERS = frozenset(
    ("email", "phone", "vuid", "zaius_id", "fs_user_id", "web_user_id", "customer_id")
)
_IDENTIFIER_NAME = re.compile(
    "(?:[a-z][a-z0-9_]*_)?(?:id|hash|number|token|alias|address|key)"
)
_FIELD_NAME = re.compile("[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?")
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
# More than the library leaves out, and by the emulator's own rules: it only warns, and
# some of these may be meant.
_PLACEHOLDERS = frozenset(
    ("", "-", "unknown", "anonymous", "null", "none", "nil", "undefined", "nan", "n/a")
)

# Fields that every account has, and those that ODP's own SDKs send.
_FIELDS = frozenset(
    (
        *("ts", "idempotence_id", "active_event", "product_id", "category", "channel"),
        *("data_source", "data_source_type", "data_source_version"),
        *("data_source_details", "data_source_instance"),
        *("ua", "ip", "title", "hostname", "page", "source", "medium", "campaign"),
        *("content", "keywords", "language", "character_set", "days_since_last_visit"),
        *("landing", "referrer", "search_term", "filter_field", "filter_value"),
        *("sort_field", "sort_direction", "os", "os_version", "device_type", "model"),
    )
)
_ORDER_FIELDS = frozenset(
    (
        *("order", "order_id", "total", "subtotal", "discount", "tax", "shipping"),
        *("coupon_code", "items"),
    )
)

# The standard types and their actions, from ODP's developer docs.
_EVENTS = {
    "product": ("detail", "add_to_cart", "remove_from_cart"),
    "order": ("purchase", "cancel", "return", "refund"),
    "account": ("login", "logout", "register", "update"),
    "navigation": ("search", "sort", "filter"),
    "email": (
        *("sent", "open", "click", "abort"),
        *("soft_bounce", "hard_bounce", "spamreport"),
    ),
    "list": ("subscribe", "unsubscribe"),
}
