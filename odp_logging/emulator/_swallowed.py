"""What ODP would take without a word and yet not keep, or not as it was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

MAX_WARNINGS = 20
"""For one event; an event of ten thousand bad names is said in as many lines."""

MAX_TEXT = 1_024
"""Characters that a text field of ODP holds."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at.

    Args:
        level: "warning" where something is lost or wrong, "note" where it may be.
        title: it in a few words.
        about: what ODP does, as far as that is documented.
    """

    level: str
    title: str
    about: str


CHECKS = {
    "identifier-name": Check(
        "warning",
        "Unknown identifier name",
        "ODP has no identifier of this name, and none can be made: the name of one "
        "ends in id, hash, number, token, alias, address or key.",
    ),
    "identifier-value": Check(
        "warning",
        "Placeholder as an identifier",
        "A value that many customers share merges the profiles of strangers, and "
        "that cannot be undone.",
    ),
    "identifier-custom": Check(
        "note",
        "Identifier of your own",
        "ODP must have been told of it first; what becomes of it otherwise is not "
        "documented.",
    ),
    "identifier-form": Check(
        "note",
        "Identifier in an unusual form",
        "phone is kept as E.164, such as +4930123456; a vuid has at most 32 "
        "characters. What becomes of others is not documented.",
    ),
    "field-name": Check(
        "warning",
        "Field that ODP cannot have",
        "Names of fields are lower snake_case and start with a letter; what is sent "
        "under another is not stored.",
    ),
    "field-custom": Check(
        "note",
        "Field of your own",
        "Stored only once the field was created in ODP: until then it is dropped "
        "without a word.",
    ),
    "time-future": Check(
        "warning",
        "Time in the future",
        "data.ts is later than the event's arrival by over a minute. ODP's limit is "
        "not documented.",
    ),
    "time-old": Check(
        "warning",
        "Over a year old",
        "Real-time segments see the last 28 days; how far back ODP takes events is "
        "not documented.",
    ),
    "time-unit": Check(
        "warning",
        "Milliseconds as a time",
        "data.ts is in seconds: read so, this lies tens of thousands of years ahead.",
    ),
    "time-form": Check(
        "warning",
        "Time that cannot be read",
        "data.ts is epoch seconds or ISO-8601 text. Without one, ODP takes the time "
        "of arrival.",
    ),
    "text-long": Check(
        "warning",
        "Text over 1,024 characters",
        "A text field holds 1,024 characters; whether ODP cuts or drops the rest is "
        "not documented.",
    ),
    "text-cut": Check(
        "note",
        "Text cut",
        "Exactly 1,024 characters: it was probably cut before it was sent.",
    ),
    "nested": Check(
        "warning",
        "List or object as a value",
        "ODP has no field for one; only the items of an order are read.",
    ),
    "number": Check(
        "warning",
        "Number beyond 2^53",
        "Numbers are decimals of double precision: the last digits are lost. Send "
        "it as text.",
    ),
    "empty-value": Check(
        "note",
        "Null or empty text",
        "ODP reads null as an empty text, which may blank out what was there.",
    ),
    "event-name": Check(
        "note",
        "Unlike ODP's own events",
        "The type is one of ODP's own, the action is not: reports and segments that "
        "ship with ODP pass it over.",
    ),
}
"""Each check by its name, in the order in which they are shown."""

Finding = dict[str, str]


def swallowed(entry: Mapping[str, Any]) -> list[Finding]:
    """What ODP would swallow of a ledger *entry*: check, level, field and a text.

    Nothing for a rejected event: of that, ODP does say something.
    """
    if entry["status"] == "rejected":
        return []
    found = []
    for check, field, text in _look(entry["event"], entry["received"]):
        found.append(_said(check, field, text))
        if len(found) == MAX_WARNINGS:
            break
    return found


def _said(check: str, field: str, text: str) -> Finding:
    level = CHECKS[check].level
    return {"check": check, "level": level, "field": field, "text": text}


_Found = Iterator[tuple[str, str, str]]


def _look(event: Mapping[str, Any], received: float) -> _Found:
    for name, value in event["identifiers"].items():
        yield from _identifier(name, value)
    yield from _name(event["type"], event["action"])
    data = event.get("data") or {}
    if "ts" in data:
        yield from _time(data["ts"], received)
    for name, value in data.items():
        yield from _field(name, value, event["type"])


def _identifier(name: str, value: str) -> _Found:
    field = f"identifiers.{_brief(name)}"
    if name in _IDENTIFIERS:
        pass
    elif name.replace("-", "_").lower() in _IDENTIFIERS:
        known = name.replace("-", "_").lower()
        yield "identifier-name", field, f"ODP's own is {known}"
    elif _IDENTIFIER_NAME.fullmatch(name):
        yield "identifier-custom", field, "must have been created in ODP"
    else:
        yield "identifier-name", field, "cannot be an identifier of ODP"
    if value.strip().lower() in _PLACEHOLDERS:
        yield "identifier-value", field, "stands for nobody"
    elif name == "phone" and not _E164.fullmatch(value):
        yield "identifier-form", field, "is not E.164, such as +4930123456"
    elif name == "vuid" and len(value) > 32:
        yield "identifier-form", field, f"has {len(value):,} characters, not 32"


def _name(type_: str, action: str) -> _Found:
    known = _EVENTS.get(type_)
    if known is not None and action not in known:
        own = ", ".join(known)
        yield "event-name", "action", f"ODP's own for {type_}: {own}"


def _time(value: Any, received: float) -> _Found:
    moment = _seconds(value)
    if moment is None:
        yield "time-form", "data.ts", "is neither epoch seconds nor ISO-8601"
    elif moment > _MILLISECONDS:
        yield "time-unit", "data.ts", "looks like milliseconds: send seconds"
    elif moment > received + _TOLERANCE:
        yield "time-future", "data.ts", f"is {_span(moment - received)} ahead"
    elif moment < received - _YEAR:
        yield "time-old", "data.ts", f"is {_span(received - moment)} old"


def _field(name: str, value: Any, type_: str) -> _Found:
    field = f"data.{_brief(name)}"
    if not _FIELD_NAME.fullmatch(name):
        yield "field-name", field, "is not lower snake_case: it is not stored"
    elif name not in _FIELDS and not (type_ == "order" and name in _ORDER_FIELDS):
        yield "field-custom", field, "is stored only once it was created in ODP"
    if value is None or value == "":
        said = "null" if value is None else "an empty text"
        yield "empty-value", field, f"is {said}"
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        yield "text-long", field, f"has {len(value):,} characters"
    elif isinstance(value, str) and len(value) == MAX_TEXT:
        yield "text-cut", field, "has 1,024 characters"
    elif isinstance(value, (list, dict)):
        if not (type_ == "order" and name in _ORDER_FIELDS):
            said = "a list" if isinstance(value, list) else "an object"
            yield "nested", field, f"is {said}"
    elif isinstance(value, int) and abs(value) > 2**53:
        yield "number", field, "is beyond 2^53"


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _float(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    if _NUMBER.fullmatch(value):
        return _float(value)
    try:
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        # A date without a zone is midnight in UTC to ODP.
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _span(seconds: float) -> str:
    for size, name in ((_YEAR, "years"), (86_400, "days"), (3_600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds / 60:,.0f} minutes"


def _brief(name: str) -> str:
    return name if len(name) <= 64 else name[:63] + "…"


_YEAR = 365.25 * 86_400
_TOLERANCE = 60.0
_MILLISECONDS = 1e11

_IDENTIFIERS = frozenset(
    ("email", "phone", "vuid", "zaius_id", "fs_user_id", "web_user_id", "customer_id")
)
_IDENTIFIER_NAME = re.compile(
    "(?:[a-z][a-z0-9_]*_)?(?:id|hash|number|token|alias|address|key)"
)
_FIELD_NAME = re.compile("[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?")
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
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
