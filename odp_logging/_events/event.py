"""
`OdpEvent`, the immutable value that stores and transports pass on.

`Builder` builds it from a log call. The module `body` brings its parts into ODP's form.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NoReturn

from .._runtime.bounded_json import parse_json
from .adjustments import Adjustments
from .body import build_body
from .ids import Identified
from .rules import DEFAULT_TYPE
from .timestamps import read_time

EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class OdpEvent(Identified):
    """
    One event in the form in which ODP gets it.

    All values are checked, copied and converted when the event is created: later
    changes to the caller's dicts have no effect. `json` is the event in UTF-8.

    Args:
        action: What happened, for example ``"purchased"``. Text, not empty.
        identifiers: The customer's identifiers; at least one non-empty value.
        type: The kind of event; None or empty means ``"fullstack"``.
        data: Further fields; any values, converted to ODP's form.
        timestamp: When it happened: epoch seconds, a datetime (a naive one is local
            time) or ISO-8601 text. Without one, ODP uses its time of receipt.
        idempotence_id: The id by which ODP detects a duplicate; a new UUID4 if None.

    Raises:
        InvalidEventError: There is no action or no identifier, or identifiers or data
            are not mappings, or one of these holds more than 10,000 values.
    """

    # The public name, in tracebacks and in the API reference.
    __module__ = "odp_logging"

    action: str
    identifiers: Mapping[str, str]
    type: str
    data: Mapping[str, Any]
    json: bytes = field(init=False)
    adjusted: Mapping[str, int] = field(init=False)
    """Counts of adjusted values by kind: ``cut``, ``not_finite`` and so on."""

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
        adjustments = Adjustments()
        seconds = read_time(timestamp, adjustments)
        built = make_event(
            action,
            identifiers,
            type,
            data,
            seconds,
            idempotence_id,
            adjustments=adjustments,
        )
        copy_attributes(built, self)

    @property
    def idempotence_id(self) -> str:
        """The id, which stays the same over retries, splits, spools and restarts."""
        # May be empty: other programs put events without one into a queue.
        return str(self.data.get("idempotence_id", ""))

    @property
    def size(self) -> int:
        """Bytes of the event's JSON."""
        return len(self.json)

    def to_dict(self) -> dict[str, Any]:
        """Return the event in the form in which ODP gets it, as new plain dicts."""
        event: dict[str, Any] = parse_json(self.json)
        return event

    def _with_adjustment(self, kind: str, count: int = 1) -> OdpEvent:
        """Return the same event with *count* more adjustments of *kind*."""
        copied = copy(self)
        adjustments = {**self.adjusted, kind: self.adjusted.get(kind, 0) + count}
        object.__setattr__(copied, "adjusted", MappingProxyType(adjustments))
        return copied

    def __copy__(self) -> OdpEvent:
        copied = object.__new__(OdpEvent)
        copy_attributes(self, copied)
        return copied

    def __deepcopy__(self, memo: Any) -> OdpEvent:
        return self  # immutable

    def __repr__(self) -> str:
        # Shown in tracebacks and log lines, which must not name a customer.
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


def copy_attributes(source: OdpEvent, target: OdpEvent) -> None:
    """Set all attributes of *target*, whose class refuses assignments."""
    for name in OdpEvent.__slots__:
        object.__setattr__(target, name, getattr(source, name))


def make_event(
    action: Any,
    identifiers: Any,
    kind: Any,
    data: Any,
    seconds: int | str | None,
    idempotence_id: Any,
    *,
    adjustments: Adjustments,
    reject_placeholders: bool = False,
) -> OdpEvent:
    """
    Build an event from parts of any type; see `OdpEvent`.

    Args:
        seconds: From `read_time`.
        adjustments: Gets the counts and messages of what is adjusted.
        reject_placeholders: See `normalize_identifiers`.

    Raises:
        InvalidEventError: See `OdpEvent`.
    """
    body, json = build_body(
        action,
        identifiers,
        kind,
        data,
        seconds,
        idempotence_id,
        adjustments=adjustments,
        reject_placeholders=reject_placeholders,
    )
    event = make_event_from_parts(
        body["type"], body["action"], body["identifiers"], body["data"], json
    )
    if adjustments:
        set_adjusted(event, MappingProxyType(dict(adjustments)))
    return event


def make_event_from_parts(
    kind: str,
    action: str,
    identifiers: Mapping[str, str],
    data: Mapping[str, Any],
    json: bytes,
) -> OdpEvent:
    """Return an event whose parts are in ODP's form already, with its *json*."""
    event = object.__new__(OdpEvent)
    set_type(event, kind)
    set_action(event, action)
    set_identifiers(event, MappingProxyType(identifiers))
    set_data(event, MappingProxyType(data))
    set_json(event, json)
    set_adjusted(event, EMPTY)
    return event


# The slots' own setters: object.__setattr__ looks them up first, at twice the cost.
# `fast_encode` uses some of them too, since setting all attributes takes 1 µs.
_slots = vars(OdpEvent)
set_type = _slots["type"].__set__
set_action = _slots["action"].__set__
set_identifiers = _slots["identifiers"].__set__
set_data = _slots["data"].__set__
set_json = _slots["json"].__set__
set_adjusted = _slots["adjusted"].__set__


def parse_event(json: bytes) -> OdpEvent:
    """
    Return the event of *json*, which stays the same byte for byte.

    Raises:
        ValueError: *json* is not an event.
    """
    body = parse_json(json)
    if not isinstance(body, dict) or sorted(body) != sorted(_MEMBERS):
        raise ValueError("not an event")
    types = {"type": str, "action": str, "identifiers": dict, "data": dict}
    if not all(isinstance(body[name], kind) for name, kind in types.items()):
        raise ValueError("not an event")
    identifiers = body["identifiers"].values()
    if not identifiers or not all(isinstance(value, str) for value in identifiers):
        raise ValueError("not an event")
    if (
        json[:1] != b"{" or json[-1:] != b"}"
    ):  # a byte order mark is not valid within a list
        raise ValueError("not an event")
    parts = body["type"], body["action"], body["identifiers"], body["data"]
    return make_event_from_parts(*parts, json)


_MEMBERS = ("type", "action", "identifiers", "data")
