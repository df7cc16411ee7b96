"""Logged fields to event: captured in the caller's thread, made on the flusher's.

One function serves a log record's ``__dict__`` and a structlog event dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

from ._event import OWN_DATA, OdpEvent, canonical_identifiers, new_id, ordinary
from ._plain import (
    MAX_TEXT,
    MAX_VALUES,
    Unfit,
    freeze,
    freeze_mapping,
    is_plain,
    name_of,
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

    The handler has looked at what could change: the values of ``odp_data``.
    """
    action, identifiers, kind, data, stamp, time, event_id, bound, path, line = bare
    size = _OVERHEAD + len(action)
    unusual = type(time) is not float
    if identifiers is not None:
        for key, value in identifiers.items():
            size += len(key) if type(key) is str else 24
            size += len(value) + 12 if type(value) is str else 24
            unusual = unusual or not (type(value) is str or is_plain(type(value)))
    if data is not None:
        for key, value in data.items():
            size += len(key) + (len(value) + 12 if type(value) is str else 24)
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


class Builder:
    """
    Makes the event of what was logged, by the settings of one client.

    Defaults give way to what the context binds, that to structlog's context, and that
    to the record's own; an empty value gives way to any other.

    Args:
        before_send: The application's; None of it leaves an event out.
    """

    def __init__(
        self,
        default_identifiers: Mapping[str, Any] | None = None,
        default_data: Mapping[str, Any] | None = None,
        redact: frozenset[str] = frozenset(),
        before_send: Callable[[OdpEvent], OdpEvent | None] | None = None,
    ) -> None:
        self._default_identifiers = default_identifiers or {}
        self._default_data = default_data or {}
        self._redact = redact
        self._before_send = before_send

    def __call__(
        self, logged: Capture | OdpEvent, event_id: str | None = None
    ) -> OdpEvent | None:
        """
        Return the event of what was *logged*; None if it is to be left out.

        Args:
            event_id: One of `new_ids`, for an event that names none of its own.

        Raises:
            InvalidEventError: ODP could not store it.
        """
        if isinstance(logged, OdpEvent):
            event = _redacted(logged, self._redact)
        else:
            event = self._made(logged, event_id)
        if self._before_send is None:
            return event
        changed = self._before_send(event)
        if changed is not None and not issubclass(type(changed), OdpEvent):
            raise InvalidEventError(
                f"before_send returned {name_of(changed)};"
                " return the event, a new OdpEvent, or None",
                reason="bad_before_send",
            )
        return changed

    def _made(self, logged: Capture, event_id: str | None) -> OdpEvent:
        action, identifiers, kind, data, stamp, time, own_id, bound, _, _, _ = logged
        if bound or self._default_identifiers or self._default_data:
            identifiers, data = self._merged(identifiers, data, bound)
        if (
            stamp is own_id is None
            and type(identifiers) is dict
            and (data is None or type(data) is dict)
            and type(action) is str
            and (kind is None or type(kind) is str)
            and type(time) is float
            and 0.0 <= time < 1e11
        ):
            event_id = event_id or new_id()
            event = ordinary(action, identifiers, kind, data, time, event_id)
            if event is not None:
                return event
        for refused in (identifiers, data):
            if isinstance(refused, InvalidEventError):
                raise refused
        made = partial(OdpEvent, action, identifiers, kind, data, idempotence_id=own_id)
        if stamp is None:
            return made(timestamp=time)
        event = made(timestamp=stamp)
        if "ts" in event.data:
            return event
        # An unusable odp_timestamp: the time of the log call is better than none.
        return made(timestamp=time).noting("timestamp")

    def _merged(self, identifiers: Any, data: Any, bound: Any) -> tuple[Any, Any]:
        """Return both with what was bound and the defaults, where they can be read."""
        bound_identifiers, bound_data = bound or ((), ())
        layers = (self._default_identifiers, *bound_identifiers)
        if any(layers) and not isinstance(identifiers, InvalidEventError):
            merged: dict[str, Any] = {}
            for layer in (*layers, identifiers):
                merged.update(canonical_identifiers(layer))
            identifiers = merged
        layers = (self._default_data, *bound_data)
        if any(layers) and not isinstance(data, (Unfit, InvalidEventError)):
            whole: dict[str, Any] = {}
            for layer in (*layers, data):
                if layer is not None:
                    whole.update(freeze_mapping(layer, hidden=self._redact))
            data = whole
        return identifiers, data


def _redacted(event: OdpEvent, redact: frozenset[str]) -> OdpEvent:
    if not redact:
        return event
    hidden = freeze_mapping(event.data, hidden=redact, uncounted=OWN_DATA)
    return replace(event, data=hidden)
