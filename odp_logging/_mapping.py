"""Logged fields, captured in the caller's thread: enough to make the event later.

One function serves a log record's ``__dict__`` and a structlog event dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

from ._plain import (
    MAX_TEXT,
    MAX_VALUES,
    Unfit,
    freeze,
    freeze_mapping,
    is_plain,
)
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

HIDDEN = "_odp"
"""Attribute of a record to which `HideOdpFields` moves them, as a dict."""

_LARGE = 10**18
"""Integers beyond it take another way to text, which some of them do not have."""

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


def mark(action: Any, kind: type[Taken]) -> Any:
    """Return *action* as what a handler or a processor has captured, if it is text."""
    plain = freeze(action, only_known=True)
    return kind(plain) if type(plain) is str else action


class Capture(NamedTuple):
    """What a log call leaves behind, copied: enough to make the event later."""

    def __repr__(self) -> str:
        return f"<Capture of {self.size} bytes>"

    action: Any
    identifiers: Any
    type: Any
    data: Any
    timestamp: Any
    time: float
    idempotence_id: Any
    bound: tuple[tuple[Any, ...], tuple[Any, ...]] | None
    path: Any
    line: Any
    size: int

    @property
    def origin(self) -> tuple[str, int] | None:
        """File and line of the log call, as far as they are known."""
        # A record off the wire may hold anything; the flusher's thread writes this.
        known = type(self.path) is str and type(self.line) is int
        return (self.path, self.line) if known else None


def sized(bare: tuple[Any, ...]) -> Capture:
    """
    Return the capture whose fields, but for its size, a handler left as *bare*.

    The handler has looked at what could change, all values; not at identifiers' names.
    """
    action, identifiers, kind, data, stamp, time, event_id, bound, path, line = bare
    size = _OVERHEAD + len(action)
    unusual = type(time) is not float
    if identifiers is not None:
        for key, value in identifiers.items():
            if type(key) is not str:  # its hash may be another one by now
                size += 48
                unusual = True
            elif type(value) is str:
                size += len(key) + len(value) + 12
            elif type(value) is int and -_LARGE < value < _LARGE:
                size += 48
                identifiers[key] = str(value)  # a key it has: nothing else moves
            else:
                size += 48
                unusual = True
    if data is not None:
        for key, value in data.items():
            size += len(key) + 24
            if type(value) is str:
                size += len(value) - 12
    if kind is not None or event_id is not None:
        kind, event_id = _settled(kind), _settled(event_id)
    if unusual or size > MAX_TEXT:  # a text in it may be too long
        fields = {
            "odp_action": action,
            "odp_identifiers": identifiers,
            "odp_type": kind,
            "odp_data": data,
            "odp_timestamp": stamp,
            "odp_idempotence_id": event_id,
        }
        return capture(fields, time=time, origin=(path, line), bound=bound)
    if bound is not None:
        size += _weigh_bound(bound)
    # Half the price of calling the class.
    return tuple.__new__(
        Capture,
        (
            action,
            identifiers,
            kind,
            data,
            stamp,
            time,
            event_id,
            bound,
            path,
            line,
            size,
        ),
    )


def capture(
    fields: Mapping[str, Any],
    *,
    time: float,
    origin: tuple[Any, Any] | None,
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
    kind = type(fields)
    # A subclass of dict may lie; another mapping has nothing but its own methods.
    lies = kind is not dict and issubclass(kind, dict)
    get = partial(dict.get, fields) if lies else fields.get
    size = _OVERHEAD
    identifiers = get("odp_identifiers")
    if identifiers is not None:
        identifiers = _copy(identifiers)
        if type(identifiers) is dict:
            for key, value in identifiers.items():
                size += len(key) + (len(value) + 12 if type(value) is str else 24)
    if bound is not None:
        size += _weigh_bound(bound)
    data = get("odp_data")
    if data is not None:
        data, more = _frozen(data, redact)
        size += more
    stamp = get("odp_timestamp")
    path, line = origin or (None, None)
    return tuple.__new__(
        Capture,
        (
            _settled(get("odp_action")),
            identifiers,
            _settled(get("odp_type")),
            data,
            None if stamp is None else _moment(stamp),
            time if type(time) is float else _settled(time),
            _settled(get("odp_idempotence_id")),
            bound,
            path,
            line,
            size,
        ),
    )


def _weigh_bound(bound: tuple[tuple[Any, ...], tuple[Any, ...]]) -> int:
    # What we bound is shared; what structlog bound was copied for this.
    return sum(
        [weigh(each) for layers in bound for each in layers if type(each) is dict]
    )


def _settled(value: Any) -> Any:
    """Return *value*, or what it is now if it could be anything else later."""
    if value is None or (type(value) is str and len(value) <= MAX_TEXT):
        return value
    return freeze(value, only_known=True)


def _moment(stamp: Any) -> Any:
    if type(stamp) is not datetime:
        return _settled(stamp)
    if stamp.tzinfo is None or type(stamp.tzinfo) is timezone:
        return stamp
    try:
        return stamp.astimezone(timezone.utc)
    except Exception:  # code of the application's time zones
        return Unfit(stamp)


def _copy(identifiers: Any) -> Any:
    if type(identifiers) is dict and len(identifiers) <= MAX_VALUES:
        copied = identifiers.copy()
        for key, value in copied.items():
            if type(key) is not str or len(key) > MAX_TEXT:
                break
            if type(value) is not str or len(value) > MAX_TEXT:
                copied[key] = _who(value)
        else:
            return copied
    try:
        pairs = freeze_mapping(identifiers, shallow=True)
    except InvalidEventError as error:
        return error
    except TypeError:
        return Unfit(identifiers)
    return {key: _who(value) for key, value in pairs.items()}


def _who(value: Any) -> Any:
    # A bytearray may have been another name in the log call.
    return Unfit(value) if issubclass(type(value), bytearray) else _settled(value)


def _frozen(data: Any, redact: frozenset[str]) -> tuple[Any, int]:
    if type(data) is dict and not redact and len(data) <= MAX_VALUES:
        copied = data.copy()
        size = 0
        for key, value in copied.items():
            kind = type(value)
            if kind is str:
                size += len(value) + 12
                if len(value) > MAX_TEXT:
                    break
            elif is_plain(kind):
                size += 24
            else:
                break
            if type(key) is not str or len(key) > MAX_TEXT:
                break
            size += len(key)
        else:
            return copied, size
    try:
        frozen = freeze_mapping(data, hidden=redact)
    except InvalidEventError as error:
        return error, 0
    except TypeError:
        return Unfit(data), 0
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
