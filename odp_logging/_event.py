"""The value that goes down the river: validated when made, never changed.

What ODP takes, and what becomes of other values, with the sources:

* ``type``, ``action`` and at least one identifier are required; identifier values are
  text (ODP's OpenAPI file for ``/v3/events``).
* Text is at most 1,024 characters, numbers are plain decimals (ODP developer docs,
  "Objects and fields"); the Go SDK refuses integers beyond 2**53, we send them as text.
* ``fs-user-id``, ``FS_USER_ID`` and ``FS-USER-ID`` mean ``fs_user_id`` (every SDK).
* ``data`` starts with the SDKs' default data, which the caller's keys override.
"""

from __future__ import annotations

import json as _json
import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NoReturn

from ._identifiers import canonical_identifiers as canonical_identifiers
from ._identifiers import integer_text, note
from ._ids import Identified
from ._ids import new_id as new_id
from ._ids import new_ids as new_ids
from ._plain import DEFAULT_TYPE as DEFAULT_TYPE
from ._plain import MAX_DEPTH, MAX_TEXT, freeze, freeze_mapping, name_of
from ._version import VERSION as VERSION
from .exceptions import InvalidEventError

MAX_INTEGER = 2**53
"""Integers beyond it lose digits in JSON readers that use doubles; sent as text."""

SOURCE: Mapping[str, str] = MappingProxyType(
    {
        "data_source_type": "sdk",
        "data_source": "odp-logging",
        "data_source_version": VERSION,
    }
)
"""Default data that names who sends; the caller's overrides it, as in the SDKs."""

OWN_DATA = frozenset({"idempotence_id", *SOURCE, "ts"})
"""Data that every event has: not counted, so that a full event can be made again."""

_MILLISECONDS_FROM = 1e11
"""Epoch seconds reach it in the year 5138: a larger number was milliseconds."""

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class OdpEvent(Identified):
    """
    One event as ODP will get it.

    Everything is checked, copied and put into ODP's form when the event is made; what
    the caller does to its dicts later changes nothing. `json` is the event in UTF-8.

    Args:
        action: What happened, for example ``"purchased"``. Text, not empty.
        identifiers: Who did it; at least one non-empty value.
        type: The kind of event; None or empty means ``"fullstack"``.
        data: More about it; any values, put into ODP's form (see `_plain.freeze`).
        timestamp: When it happened: epoch seconds, a datetime (a naive one is local
            time) or ISO-8601 text. ODP uses its time of receipt where there is none.
        idempotence_id: The id by which ODP knows a repetition; a new UUID4 if None.

    Raises:
        InvalidEventError: There is no action or no identifier, or identifiers or data
            are not mappings, or one of these holds more than 10,000 values.
    """

    action: str
    identifiers: Mapping[str, str]
    type: str
    data: Mapping[str, Any]
    json: bytes = field(init=False)
    adjusted: Mapping[str, int] = field(init=False)
    """What had to be changed to fit, by kind: ``cut``, ``not_finite`` and so on."""

    def __init__(
        self,
        action: str,
        identifiers: Mapping[str, Any],
        type: str | None = DEFAULT_TYPE,
        data: Mapping[str, Any] | None = None,
        *,
        timestamp: float | str | datetime | None = None,
        idempotence_id: str | None = None,
    ) -> None:
        notes: dict[str, int] = {}
        body: dict[str, Any] = {
            "type": _name(type, "type", notes) or DEFAULT_TYPE,
            "action": _required(_name(action, "action", notes)),
            "identifiers": canonical_identifiers(identifiers, notes),
        }
        _require_someone(body)
        body["data"] = _data(data, timestamp, idempotence_id, notes)
        try:
            encoded = _encode(body).encode()
        except UnicodeEncodeError:
            note(notes, "surrogate")
            body = _without_surrogates(body)
            encoded = _encode(body).encode()
        put = object.__setattr__
        put(self, "action", body["action"])
        put(self, "identifiers", MappingProxyType(body["identifiers"]))
        put(self, "type", body["type"])
        put(self, "data", MappingProxyType(body["data"]))
        put(self, "json", encoded)
        put(self, "adjusted", MappingProxyType(notes) if notes else _EMPTY)

    @property
    def idempotence_id(self) -> str:
        """The id that stays the same over retries, splits, spools and restarts."""
        return str(self.data["idempotence_id"])

    @property
    def size(self) -> int:
        """Bytes of the event's JSON."""
        return len(self.json)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as ODP gets it, as plain dicts of its own."""
        made: dict[str, Any] = _json.loads(self.json)
        return made

    def noting(self, kind: str, count: int = 1) -> OdpEvent:
        """Return the same event, with *count* more things of *kind* adjusted."""
        same = copy(self)
        notes = {**self.adjusted, kind: self.adjusted.get(kind, 0) + count}
        object.__setattr__(same, "adjusted", MappingProxyType(notes))
        return same

    def __copy__(self) -> OdpEvent:
        same = object.__new__(OdpEvent)
        for name in self.__slots__:
            object.__setattr__(same, name, getattr(self, name))
        return same

    def __repr__(self) -> str:
        # Events end up in tracebacks and log lines; whom they are about must not.
        return (
            f"<OdpEvent {self.type}/{self.action}: {len(self.identifiers)} identifiers,"
            f" {len(self.data)} data values>"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OdpEvent) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.json)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an OdpEvent is not pickled: it names people; use to_dict()")


def made_of(
    kind: str,
    action: str,
    identifiers: Mapping[str, str],
    data: Mapping[str, Any],
    json: bytes,
) -> OdpEvent:
    """Return the event of parts that are in ODP's form already, and of its *json*."""
    event = object.__new__(OdpEvent)
    _put_type(event, kind)
    _put_action(event, action)
    _put_identifiers(event, MappingProxyType(identifiers))
    _put_data(event, MappingProxyType(data))
    _put_json(event, json)
    _put_adjusted(event, _EMPTY)
    return event


# What `object.__setattr__` finds first, at twice the price.
_slots = vars(OdpEvent)
_put_type = _slots["type"].__set__
_put_action = _slots["action"].__set__
_put_identifiers = _slots["identifiers"].__set__
_put_data = _slots["data"].__set__
_put_json = _slots["json"].__set__
_put_adjusted = _slots["adjusted"].__set__


def restored(json: bytes) -> OdpEvent:
    """
    Return the event that *json* is, byte for byte: one that was made before.

    Raises:
        ValueError: It is none.
    """
    body = _json.loads(json)
    if not isinstance(body, dict) or sorted(body) != sorted(_PARTS):
        raise ValueError("not an event")
    shapes = {"type": str, "action": str, "identifiers": dict, "data": dict}
    if not all(isinstance(body[name], kind) for name, kind in shapes.items()):
        raise ValueError("not an event")
    parts = body["type"], body["action"], body["identifiers"], body["data"]
    return made_of(*parts, json)


_PARTS = ("type", "action", "identifiers", "data")


def _name(value: Any, what: str, notes: dict[str, int]) -> str:
    """Return the text of an action or type, "" for what is empty."""
    plain = freeze(value, only_known=True)
    if plain is None:
        return ""
    if type(plain) is int:
        plain = integer_text(plain)
    if type(plain) is not str:
        raise InvalidEventError(
            f"odp_{what} must be text, not {name_of(value)}",
            reason=f"bad_{what}",
        )
    return _cut(plain, notes) if plain.strip() else ""


def _cut(text: str, notes: dict[str, int]) -> str:
    if len(text) <= MAX_TEXT:
        return text
    note(notes, "cut")
    return text[:MAX_TEXT]


def _required(action: str) -> str:
    if not action:
        raise InvalidEventError(
            'the action is empty; pass odp_action="purchased" or the like',
            reason="no_action",
        )
    return action


def _require_someone(body: dict[str, Any]) -> None:
    if not body["identifiers"]:
        kind = f"{_shown(body['type'])}/{_shown(body['action'])}"
        raise InvalidEventError(
            f"no identifiers in {kind}, which was not sent; pass"
            ' odp_identifiers={"email": ...} or bind them once:'
            " odp_logging.bind_identifiers(fs_user_id=...)",
            reason="no_identifiers",
        )


def _shown(name: str) -> str:
    """Return a type or action as a line can show it."""
    return "".join(c if c.isprintable() else "?" for c in name[:60])


def _data(
    data: Any, timestamp: Any, idempotence_id: Any, notes: dict[str, int]
) -> dict[str, Any]:
    made: dict[str, Any] = {"idempotence_id": None, **SOURCE}
    seconds = _seconds(timestamp, notes)
    if seconds is not None:
        made["ts"] = seconds
    if data is not None:
        try:
            plain = freeze_mapping(data, uncounted=OWN_DATA)
        except TypeError:
            raise InvalidEventError(
                f"odp_data must be a dict, not {name_of(data)};"
                ' pass odp_data={"item": "shirt"}',
                reason="bad_data",
            ) from None
        for key, value in plain.items():
            kind = type(value)
            short = kind is str and len(value) <= MAX_TEXT
            fits = short or kind is bool or value is None
            made[_cut(key, notes)] = value if fits else _fit(value, notes, 1)
        if seconds is not None and made["ts"] is None:
            made["ts"] = seconds
    given = _name_or_empty(idempotence_id, notes)
    if not given:
        given = _name_or_empty(made["idempotence_id"], notes)
    made["idempotence_id"] = given or new_id()
    return made


def _name_or_empty(value: Any, notes: dict[str, int]) -> str:
    try:
        return _name(value, "idempotence_id", notes)
    except InvalidEventError:
        return ""


def _fit(value: Any, notes: dict[str, int], depth: int) -> Any:
    """Return a frozen *value* within ODP's limits, noting what had to change."""
    kind = type(value)
    if kind is str:
        return _cut(value, notes)
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        note(notes, "integer")
        return _cut(integer_text(value), notes)
    if kind is float:
        if math.isfinite(value):
            return value
        note(notes, "not_finite")
        return None
    if kind is not dict and kind is not list:
        return value
    if depth > MAX_DEPTH:
        note(notes, "depth")
        return None
    if kind is list:
        return [_fit(item, notes, depth + 1) for item in value]
    return {
        _cut(key, notes): _fit(item, notes, depth + 1) for key, item in value.items()
    }


def _seconds(timestamp: Any, notes: dict[str, int]) -> int | str | None:
    """Return *timestamp* for ``data.ts``: whole epoch seconds, or ISO text as given.

    Fractions are left out: whether ODP stores them is documented nowhere.
    """
    if timestamp is None:
        return None
    try:
        if isinstance(timestamp, datetime):
            # datetime's own: a subclass may return what has no floor.
            return math.floor(datetime.timestamp(timestamp))
        if type(timestamp) is str and len(timestamp) > MAX_TEXT:
            raise ValueError
        if type(timestamp) is str and not _is_number(timestamp):
            datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
            return str(timestamp)
        if isinstance(timestamp, bool):
            raise ValueError
        number = float(timestamp)
        thousandfold = number >= _MILLISECONDS_FROM
        if thousandfold:
            number /= 1000
        if abs(number) >= _MILLISECONDS_FROM:
            raise ValueError
        if thousandfold:
            note(notes, "milliseconds")
        return math.floor(number)
    except Exception:  # anything may have been logged as a time, see _plain
        note(notes, "timestamp")
        return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _without_surrogates(value: Any) -> Any:
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is list:
        return [_without_surrogates(item) for item in value]
    if type(value) is dict:
        return {
            _without_surrogates(key): _without_surrogates(item)
            for key, item in value.items()
        }
    return value


_encode: Callable[[Any], str] = _json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode
