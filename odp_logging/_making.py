"""What was captured to event: made on the flusher's thread, when it takes a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ._event import OdpEvent
from ._identifiers import canonical_identifiers
from ._ids import new_id
from ._ordinary import ordinary
from ._plain import Unfit, freeze_mapping, name_of
from .exceptions import InvalidEventError

if TYPE_CHECKING:
    from ._mapping import Capture
    from ._privacy import Privacy


class Builder:
    """
    Makes the event of what was logged, by the settings of one client.

    Defaults give way to what the context binds, that to structlog's context, and that
    to the record's own; an empty value gives way to any other.

    Args:
        redact: Keys whose values in default and bound data are replaced.
        before_send: The application's; None of it leaves an event out.
        privacy: Hashes identifiers, and looks at what before_send returns.
    """

    def __init__(
        self,
        default_identifiers: Mapping[str, Any] | None = None,
        default_data: Mapping[str, Any] | None = None,
        redact: frozenset[str] = frozenset(),
        before_send: Callable[[OdpEvent], OdpEvent | None] | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        self._default_identifiers = default_identifiers or {}
        self._default_data = default_data or {}
        self._redact = redact
        self._before_send = before_send
        self._privacy = privacy

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
        if not isinstance(logged, OdpEvent):
            notes: dict[str, int] = {}
            logged = self._made(logged, event_id, notes)
            for kind, count in notes.items():
                logged = logged.noting(kind, count)
        # Else it was made private when it was put, see OdpClient.send.
        return self._left_by_before_send(logged)

    def _left_by_before_send(self, event: OdpEvent) -> OdpEvent | None:
        if self._before_send is None:
            return event
        changed = self._before_send(event)
        if changed is not None and not issubclass(type(changed), OdpEvent):
            raise InvalidEventError(
                f"before_send returned {name_of(changed)};"
                " return the event, a new OdpEvent, or None",
                reason="bad_before_send",
            )
        if changed is None or self._privacy is None:
            return changed
        return self._privacy.again(changed, event)

    def _made(
        self, logged: Capture, event_id: str | None, notes: dict[str, int]
    ) -> OdpEvent:
        action, identifiers, kind, data, stamp, time, own_id, bound, _, _, _ = logged
        if bound or self._default_identifiers or self._default_data:
            identifiers, data = self._merged(identifiers, data, bound)
        if self._privacy is not None:
            identifiers = self._privacy.hashed(identifiers, notes)
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
