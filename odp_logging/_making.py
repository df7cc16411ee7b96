"""What was captured to event: made on the flusher's thread, when it takes a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ._event import OWN_DATA, OdpEvent, canonical_identifiers, ordinary
from ._ids import new_id
from ._plain import Unfit, freeze_mapping, name_of
from .exceptions import InvalidEventError

if TYPE_CHECKING:
    from ._mapping import Capture


def build(
    logged: Capture | OdpEvent,
    event_id: str | None = None,
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

    Args:
        event_id: An id that was drawn for it, if it names none of its own.

    Raises:
        InvalidEventError: ODP could not store it.
    """
    if isinstance(logged, OdpEvent):
        event = _redacted(logged, redact)
    else:
        event = _made(logged, event_id, default_identifiers, default_data, redact)
    if before_send is None:
        return event
    changed = before_send(event)
    if changed is not None and not issubclass(type(changed), OdpEvent):
        raise InvalidEventError(
            f"before_send returned {name_of(changed)};"
            " return the event, a new OdpEvent, or None",
            reason="bad_before_send",
        )
    return changed


def _made(
    logged: Capture,
    event_id: str | None,
    default_identifiers: Mapping[str, Any],
    default_data: Mapping[str, Any],
    redact: frozenset[str],
) -> OdpEvent:
    action, identifiers, kind, data, stamp, time, own_id, bound, _, _, _ = logged
    if (
        bound is stamp is own_id is None
        and not (default_identifiers or default_data)
        and type(action) is str
        and type(identifiers) is dict
        and (data is None or type(data) is dict)
        and (kind is None or type(kind) is str)
        and type(time) is float
        and 0.0 <= time < 1e11
    ):
        event = ordinary(action, identifiers, kind, data, time, event_id or new_id())
        if event is not None:
            return event
    for refused in (identifiers, data):
        if isinstance(refused, InvalidEventError):
            raise refused
    bound_identifiers, bound_data = bound or ((), ())
    if default_identifiers or bound_identifiers:
        merged: dict[str, Any] = {}
        for layer in (default_identifiers, *bound_identifiers, identifiers):
            merged.update(canonical_identifiers(layer))
        identifiers = merged
    if (default_data or bound_data) and not isinstance(data, Unfit):
        whole: dict[str, Any] = {}
        for layer in (default_data, *bound_data, data):
            if layer is not None:
                whole.update(freeze_mapping(layer, hidden=redact))
        data = whole
    made = partial(
        OdpEvent,
        action,
        identifiers,
        kind,
        data,
        idempotence_id=own_id,
    )
    if stamp is None:
        return made(timestamp=time)
    event = made(timestamp=stamp)
    if "ts" in event.data:
        return event
    # An unusable odp_timestamp: better the time of the log call than that of receipt.
    return made(timestamp=time).noting("timestamp")


def _redacted(event: OdpEvent, redact: frozenset[str]) -> OdpEvent:
    if not redact:
        return event
    hidden = freeze_mapping(event.data, hidden=redact, uncounted=OWN_DATA)
    return replace(event, data=hidden)
