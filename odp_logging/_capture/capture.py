"""
Captures the ``odp_*`` fields of a log call: copies of all values, and their size.

Runs on the thread of the log call; `Builder` builds the event later. `capture` serves a
log record's ``__dict__`` and a structlog event dict. `complete_capture` completes what
`fast.capture_plain` copied, for a store that needs its size or for the general path.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

from .._events.normalize import (
    Unsupported,
    freeze,
    freeze_identifier,
    freeze_mapping,
    freeze_text,
)
from .._events.rules import MAX_TEXT, MAX_VALUES, is_plain
from ..exceptions import InvalidEventError
from .fields import FIELD_NAMES

_MAX_QUICK_INTEGER = 10**18
"""Larger integers take the general path: str() may refuse one with many digits."""

_OVERHEAD_BYTES = 250
"""Bytes of JSON around the logged values: names, default data, punctuation."""

_ENTRY_BYTES = 52
"""Bytes counted for an item of a dict besides its texts. In JSON it is about 12, but
the sizes limit the buffer's memory, which is 1.5 to 2.5 times their sum for every
shape of event (tests/journeys/test_memory.py)."""

_CONTAINER_BYTES = 80
_WIDE_CHARACTER_BYTES = 3
"""Bytes counted for a character of text that is not ASCII: in memory 2 or 4."""


class Capture(NamedTuple):
    """The copied fields of one log call, from which the event is built later."""

    def __repr__(self) -> str:
        return f"<Capture of {self.size} bytes>"

    # In the order of the tuple that the fast path returns. That one has no size.
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
        """File and line of the log call; None if they are not known."""
        # An unpickled record may hold any type; the flusher's thread formats this.
        known = type(self.path) is str and type(self.line) is int
        return (self.path, self.line) if known else None


def complete_capture(bare: tuple[Any, ...]) -> Capture:
    """
    Return the capture of *bare*, its fields without the size, which is computed here.

    The handler's fast path has checked all values, but not the names of identifiers.
    """
    action, identifiers, kind, data, stamp, time, event_id, bound, path, line = bare
    size = _OVERHEAD_BYTES + len(action)
    is_unusual = type(time) is not float
    if identifiers is not None:
        for key, value in identifiers.items():
            size += _ENTRY_BYTES
            if type(key) is not str:  # its hash may have changed
                is_unusual = True
            elif type(value) is str:
                size += len(key) + (
                    len(value)
                    if value.isascii()
                    else _WIDE_CHARACTER_BYTES * len(value)
                )
            elif (
                type(value) is int and -_MAX_QUICK_INTEGER < value < _MAX_QUICK_INTEGER
            ):
                # For an existing key: the dict is not resized in its loop.
                identifiers[key] = str(value)
            else:
                is_unusual = True
    names = size
    if data is not None:
        for key, value in data.items():
            size += len(key) + _ENTRY_BYTES
            if type(value) is str:
                size += (
                    len(value)
                    if value.isascii()
                    else _WIDE_CHARACTER_BYTES * len(value)
                )
        names = size - _ENTRY_BYTES * len(data)
    if kind is not None or event_id is not None:
        kind, event_id = _freeze_name(kind), freeze_identifier(event_id)
    if is_unusual or names > MAX_TEXT:  # a name may be too long
        values = (action, identifiers, kind, data, stamp, event_id)
        fields = dict(zip(FIELD_NAMES, values))
        return capture(fields, time=time, origin=(path, line), bound=bound)
    if bound is not None:
        size += _estimate_bound_size(bound)
    # fmt: off
    return tuple.__new__(Capture, (  # half the cost of calling the class
        action, identifiers, kind, data, stamp, time, event_id, bound, path, line, size,
    ))
    # fmt: on


def capture(
    fields: Mapping[str, Any],
    *,
    time: float,
    origin: tuple[Any, Any] | None,
    bound: tuple[tuple[Any, ...], tuple[Any, ...]] | None,
    redact: frozenset[str] = frozenset(),
) -> Capture:
    """
    Return copies of the ``odp_*`` values in *fields*. Never raises.

    Args:
        fields: The ``odp_*`` keys, among others.
        time: Time of the log call in epoch seconds.
        origin: File and line of the log call.
        bound: What `read_context` returned.
        redact: Keys of data; their values are replaced.
    """
    kind = type(fields)
    # A subclass of dict may override get(); other mappings have only their own.
    may_override = kind is not dict and issubclass(kind, dict)
    get = partial(dict.get, fields) if may_override else fields.get
    size = _OVERHEAD_BYTES
    identifiers = get("odp_identifiers")
    if identifiers is not None:
        identifiers = _freeze_identifiers(identifiers)
        if type(identifiers) is dict:
            for key, value in identifiers.items():
                size += len(key) + _ENTRY_BYTES
                size += _measure_text(value) if type(value) is str else 0
    if bound is not None:
        size += _estimate_bound_size(bound)
    data = get("odp_data")
    if data is not None:
        data, more = _freeze_data(data, redact)
        size += more
    stamp = get("odp_timestamp")
    path, line = origin or (None, None)
    return tuple.__new__(
        Capture,
        (  # in the order of `Capture`
            _freeze_name(get("odp_action")),
            identifiers,
            _freeze_name(get("odp_type")),
            data,
            None if stamp is None else _freeze_timestamp(stamp),
            time if type(time) is float else _freeze_scalar(time),
            freeze_identifier(get("odp_idempotence_id")),
            bound,
            path,
            line,
            size,
        ),
    )


def _estimate_bound_size(bound: tuple[tuple[Any, ...], tuple[Any, ...]]) -> int:
    # What this library bound is shared by events; what structlog bound was copied.
    return _CONTAINER_BYTES + sum(
        [
            estimate_size(layer)
            for layers in bound
            for layer in layers
            if type(layer) is dict
        ]
    )


def _freeze_scalar(value: Any) -> Any:
    """Return *value* if it is short text or None, else a frozen copy."""
    if value is None or (type(value) is str and len(value) <= MAX_TEXT):
        return value
    return freeze(value, scalars_only=True)


def _freeze_name(value: Any) -> Any:
    """Return the text of an action or type; bytes and numbers are an `Unsupported`."""
    if value is None or (type(value) is str and len(value) <= MAX_TEXT):
        return value
    return freeze_text(value)


def _freeze_timestamp(stamp: Any) -> Any:
    if type(stamp) is not datetime:
        return _freeze_scalar(stamp)
    if stamp.tzinfo is None or type(stamp.tzinfo) is timezone:
        return stamp
    try:
        # In the log call: a time zone may run the application's code.
        return stamp.astimezone(timezone.utc)
    except Exception:  # code of the application's time zones
        return Unsupported(stamp)


def _freeze_identifiers(identifiers: Any) -> Any:
    if type(identifiers) is dict and len(identifiers) <= MAX_VALUES:
        # Copied first, in one step: another thread may change it meanwhile.
        copied = identifiers.copy()
        for key, value in copied.items():
            if type(key) is not str or len(key) > MAX_TEXT:
                break
            if type(value) is not str or len(value) > MAX_TEXT:
                copied[key] = freeze_identifier(value)
        else:
            return copied
    try:
        pairs = freeze_mapping(identifiers, shallow=True)
    except InvalidEventError as error:
        return error
    except TypeError:
        return Unsupported(identifiers)
    return {key: freeze_identifier(value) for key, value in pairs.items()}


def _freeze_data(data: Any, redact: frozenset[str]) -> tuple[Any, int]:
    if type(data) is dict and not redact and len(data) <= MAX_VALUES:
        copied = data.copy()  # first, as in `_freeze_identifiers`
        size = 0
        for key, value in copied.items():
            kind = type(value)
            if kind is str:
                size += _ENTRY_BYTES + _measure_text(value)
                if len(value) > MAX_TEXT:
                    break
            elif is_plain(kind):
                size += _ENTRY_BYTES
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
        return Unsupported(data), 0
    return frozen, estimate_size(frozen)


def estimate_size(value: Any) -> int:
    """Return the approximate bytes of a frozen *value*, see `_ENTRY_BYTES`."""
    if type(value) is str:
        return _measure_text(value) + _ENTRY_BYTES
    if type(value) is dict:
        return (
            sum(len(key) + estimate_size(item) for key, item in value.items())
            + _CONTAINER_BYTES
        )
    if type(value) is list:
        return sum(map(estimate_size, value)) + _CONTAINER_BYTES
    return _ENTRY_BYTES


def _measure_text(text: str) -> int:
    return len(text) if text.isascii() else _WIDE_CHARACTER_BYTES * len(text)
