"""Logged fields to event: captured in the caller's thread, made on the flusher's.

One function serves a log record's ``__dict__`` and a structlog event dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._event import DEFAULT_TYPE, OdpEvent, canonical_identifiers
from ._plain import MAX_TEXT, freeze_mapping
from .exceptions import InvalidEventError

ACTION = "odp_action"
"""The tag: a record that carries it becomes an event."""

FIELDS = frozenset(
    {
        "odp_action",
        "odp_identifiers",
        "odp_type",
        "odp_data",
        "odp_timestamp",
        "odp_idempotence_id",
    }
)

_PLAIN = frozenset({str, int, float, bool, type(None)})
_OVERHEAD = 250
"""Bytes of JSON around the logged values: names, default data, punctuation."""


class Taken(str):
    """
    An action that a handler has captured, equal to itself in every other way.

    It stands where the action stood in structlog's event dict, so that a processor
    further down the same path leaves the event alone. Other handlers take it as well.
    """

    __slots__ = ()


class Captured(Taken):
    """An action that a processor has captured: for whoever comes after, it is done."""

    __slots__ = ()


class Capture(NamedTuple):
    """What a log call leaves behind, copied: enough to make the event later."""

    action: Any
    identifiers: Any
    type: Any
    data: Any
    time: Any
    idempotence_id: Any
    bound: tuple[tuple[Any, ...], tuple[Any, ...]] | None
    origin: tuple[str, int] | None
    size: int


def capture(
    fields: Mapping[str, Any],
    *,
    time: float,
    origin: tuple[str, int] | None,
    bound: tuple[tuple[Any, ...], tuple[Any, ...]] | None,
    redact: frozenset[str] = frozenset(),
) -> Capture:
    """
    Return what *fields* say of an event, safe from later changes; never raises.

    Args:
        fields: Holds the ``odp_*`` keys among others.
        time: When it was logged, epoch seconds.
        origin: Where it was logged, file and line.
        bound: What the context adds.
        redact: Names of data keys whose values are left out.
    """
    get = fields.get
    identifiers, size = _copy(get("odp_identifiers"))
    data = get("odp_data")
    if data is not None:
        data, more = _frozen(data, redact)
        size += more
    stamp = get("odp_timestamp")
    return Capture(
        get("odp_action"),
        identifiers,
        get("odp_type", DEFAULT_TYPE),
        data,
        time if stamp is None else stamp,
        get("odp_idempotence_id"),
        bound,
        origin,
        size + _OVERHEAD,
    )


def _copy(identifiers: Any) -> tuple[Any, int]:
    if type(identifiers) is not dict:
        if identifiers is None:
            return None, 0
        try:
            identifiers = freeze_mapping(identifiers, shallow=True)
        except TypeError:
            return _Unfit(identifiers), 0
    copied = dict(identifiers)
    size = 0
    for value in copied.values():
        size += len(value) if type(value) is str else 40
    return copied, size


def _frozen(data: Any, redact: frozenset[str]) -> tuple[Any, int]:
    if type(data) is dict and not redact:
        copied = dict(data)
        size = 0
        for key, value in copied.items():
            kind = type(value)
            if kind is str and len(value) <= MAX_TEXT:
                size += len(value) + 8
            elif kind not in _PLAIN or kind is str or type(key) is not str:
                break
            else:
                size += 16
        else:
            return copied, size
    try:
        frozen = freeze_mapping(data, hidden=redact)
    except InvalidEventError as error:
        return error, 0
    except TypeError:
        return _Unfit(data), 0
    return frozen, weigh(frozen)


def weigh(value: Any) -> int:
    """Return about how many bytes of JSON a frozen *value* takes."""
    if type(value) is str:
        return len(value) + 8
    if type(value) is dict:
        return sum(len(key) + weigh(item) for key, item in value.items()) + 8
    if type(value) is list:
        return sum(map(weigh, value)) + 8
    return 16


class _Unfit:
    """Stands for something that is no mapping, which we do not want to hold on to."""

    def __init__(self, value: Any) -> None:
        self.name = type(value).__name__


def build(
    logged: Capture | OdpEvent,
    *,
    default_identifiers: Mapping[str, Any],
    default_data: Mapping[str, Any],
    redact: frozenset[str] = frozenset(),
    before_send: Callable[[OdpEvent], OdpEvent | None] | None = None,
) -> OdpEvent | None:
    """
    Return the event of what was *logged*; None if *before_send* leaves it out.

    Defaults give way to what the context binds, that to structlog's context, and that
    to the record's own; an empty value gives way to any other.

    Raises:
        InvalidEventError: ODP could not store it.
    """
    if isinstance(logged, OdpEvent):
        event = logged
    else:
        event = _made(logged, default_identifiers, default_data, redact)
    if before_send is None:
        return event
    changed = before_send(event)
    if changed is not None and not isinstance(changed, OdpEvent):
        raise InvalidEventError(
            f"before_send returned {type(changed).__name__};"
            " return the event, a new OdpEvent, or None",
            reason="bad_before_send",
        )
    return changed


def _made(
    logged: Capture,
    default_identifiers: Mapping[str, Any],
    default_data: Mapping[str, Any],
    redact: frozenset[str],
) -> OdpEvent:
    identifiers, data = logged.identifiers, logged.data
    for value, name in ((identifiers, "odp_identifiers"), (data, "odp_data")):
        if isinstance(value, _Unfit):
            raise InvalidEventError(
                f'{name} must be a dict, not {value.name}; pass {name}={{"name": ...}}',
                reason=f"bad_{name[4:]}",
            )
    if isinstance(data, InvalidEventError):
        raise data
    if default_identifiers or default_data or logged.bound:
        bound_identifiers, bound_data = logged.bound or ((), ())
        merged: dict[str, Any] = {}
        for layer in (default_identifiers, *bound_identifiers, identifiers):
            merged.update(canonical_identifiers(layer))
        identifiers = merged
        whole: dict[str, Any] = {}
        for layer in (default_data, *bound_data, data):
            if layer is not None:
                whole.update(freeze_mapping(layer, hidden=redact))
        data = whole
    return OdpEvent(
        logged.action,
        identifiers,
        logged.type,
        data,
        timestamp=logged.time,
        idempotence_id=logged.idempotence_id,
    )
