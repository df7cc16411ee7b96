"""
Builds the event from captured fields, on the flusher's thread, when it takes a batch.

It stands between the store, which keeps a `Capture` from the log call, and `OdpEvent`.
"""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._events.adjustments import Adjustments
from .._events.batch import format_origin
from .._events.event import OdpEvent, make_event
from .._events.fast_encode import encode_plain
from .._events.final_event import FinalEvent
from .._events.identifiers import (
    format_placeholder_warning,
    is_placeholder,
    normalize_identifiers,
)
from .._events.ids import generate_id
from .._events.lint import check_event
from .._events.normalize import Unsupported, freeze_mapping, get_type_name
from .._events.timestamps import read_time
from ..exceptions import InvalidEventError
from .capture import Capture

if TYPE_CHECKING:
    from .._events.privacy import Privacy

_CAPTURE_TYPES = (tuple, Capture)
"""Of the fast path, without a size, and of the general path."""

_BOUND = Capture._fields.index("bound")

_MAX_LINTED_EVENTS = 1000
"""A mistake shows in a client's first events; checking all of them takes CPU time."""


class Builder:
    """
    Builds events from captured fields, with the settings of one client.

    Layers override each other in this order: defaults, bound context, structlog's
    context, the record's own values. An empty value never overrides another.

    Args:
        redact: Keys of default and bound data; their values are replaced.
        before_send: Callback of the application; if it returns None, the event is not
            sent.
        privacy: Hashes identifiers, and checks what before_send returns.
        reject_placeholders: Leave out identifiers such as ``None`` and ``null``.
        report: Gets the kind and a message about each adjustment, with file and line
            of the log call, and these alone as the keyword ``location``.
    """

    def __init__(
        self,
        default_identifiers: Mapping[str, Any] | None = None,
        default_data: Mapping[str, Any] | None = None,
        redact: frozenset[str] = frozenset(),
        before_send: Callable[[OdpEvent], OdpEvent | None] | None = None,
        privacy: Privacy | None = None,
        reject_placeholders: bool = False,
        report: Callable[..., object] | None = None,
    ) -> None:
        self._default_identifiers = default_identifiers or {}
        self._default_data = default_data or {}
        self._redact = redact
        self._before_send = before_send
        self._privacy = privacy
        self._reject_placeholders = reject_placeholders
        self._report = report
        self._changes_events = bool(
            default_identifiers or default_data or before_send or privacy
        )
        self._left_to_lint = _MAX_LINTED_EVENTS if report is not None else 0
        self._reported_problems: set[str] = set()

    def __call__(
        self, logged: Capture | OdpEvent, event_id: str | None = None
    ) -> OdpEvent | None:
        """
        Return the event of *logged*; None if before_send returned None.

        Args:
            event_id: An id from `generate_ids`, for an event without an id of its own.
                Given if `encode_batch` returned None for *logged*.

        Raises:
            InvalidEventError: ODP would not accept the event.
        """
        if isinstance(logged, FinalEvent):
            return logged
        if event_id is None:  # else `encode_batch` was tried with it
            event_id = generate_id()
            [encoded] = self.encode_batch((logged,), (event_id,))
            if encoded is not None:
                return encoded
        adjustments = Adjustments()
        if isinstance(logged, OdpEvent):
            # OdpClient.send has applied the privacy settings.
            event = self._check_event(logged, adjustments)
        else:
            event = self._build(logged, event_id, adjustments)
        if adjustments.messages and self._report is not None:
            origin = format_origin(logged)
            prefix = f"{origin}: " if origin else ""
            for kind, text in adjustments.messages.items():
                self._report(
                    f"adjusted:{kind}",
                    f"{prefix}{_format_message(kind, text)}",
                    location=origin,
                )
        changed = self._run_before_send(event)
        if self._left_to_lint and changed is not None:
            self._left_to_lint -= 1
            self._lint(changed, format_origin(logged))
        return changed

    def encode_batch(
        self, logged: Sequence[Any], event_ids: Sequence[str]
    ) -> list[OdpEvent | None]:
        """
        Return the events of the captures that are sent as they were logged.

        The others, to which something is added or about which something may be
        reported, are None in the list: a call of this builder builds their events.

        Args:
            logged: Captures, also bare ones of the fast path, and events.
            event_ids: An id for each, from `generate_ids`.
        """
        if self._changes_events or self._left_to_lint:
            return [None] * len(logged)
        return [
            encode_plain(fields, event_id)
            if type(fields) in _CAPTURE_TYPES and not fields[_BOUND]
            else None
            for fields, event_id in zip(logged, event_ids)
        ]

    def _lint(self, event: OdpEvent, origin: str) -> None:
        """Report likely mistakes in *event*, each kind once for all events."""
        for kind, text in check_event(event, _time.time()):
            if kind not in self._reported_problems and self._report is not None:
                self._reported_problems.add(kind)
                prefix = f"{origin}: " if origin else ""
                self._report(f"lint:{kind}", f"{prefix}{text}")

    def _check_event(self, event: OdpEvent, adjustments: Adjustments) -> OdpEvent:
        """Return the application's *event* after the checks that `_build` makes."""
        if "timestamp" in event.adjusted:
            adjustments.messages["timestamp"] = (
                "the timestamp of an OdpEvent cannot be read"
            )
        found = [text for text in event.identifiers.values() if is_placeholder(text)]
        if not found:
            return event
        if not self._reject_placeholders:
            adjustments.messages["placeholder"] = format_placeholder_warning(found[0])
            return event
        # Without time and id: the event has both in its data.
        rebuilt = make_event(
            event.action,
            event.identifiers,
            event.type,
            event.data,
            None,
            None,
            adjustments=adjustments,
            reject_placeholders=True,
        )
        # The counts of the given event are kept.
        for kind, count in event.adjusted.items():
            rebuilt = rebuilt._with_adjustment(kind, count)
        return rebuilt

    def _run_before_send(self, event: OdpEvent) -> OdpEvent | None:
        if self._before_send is None:
            return event
        changed = self._before_send(event)
        if changed is not None and not issubclass(type(changed), OdpEvent):
            raise InvalidEventError(
                f"before_send returned {get_type_name(changed)};"
                " return the event, a new OdpEvent, or None",
                reason="bad_before_send",
            )
        if changed is None or self._privacy is None:
            return changed
        return self._privacy.recheck(changed, event)

    def _build(
        self, logged: Capture, event_id: str, adjustments: Adjustments
    ) -> OdpEvent:
        action, identifiers, kind, data, stamp, time, own_id, bound, _, _, _ = logged
        if bound or self._default_identifiers or self._default_data:
            identifiers, data = self._merge_layers(
                identifiers, data, bound, adjustments
            )
        if self._privacy is not None:
            identifiers = self._privacy.hash_identifiers(
                identifiers, adjustments, reject_placeholders=self._reject_placeholders
            )
        if bound or self._changes_events or self._left_to_lint:
            # Otherwise `encode_batch` has tried it with the same values.
            fields = (action, identifiers, kind, data, stamp, time, own_id)
            event = encode_plain(fields, event_id)
            if event is not None:
                return _add_adjustments(event, adjustments) if adjustments else event
        # Found in the log call; raised here, where the event is counted and reported.
        for part in (identifiers, data):
            if isinstance(part, InvalidEventError):
                raise part
        seconds = read_time(stamp, adjustments, label="odp_timestamp")
        if seconds is None:
            # Fall back to the time of the log call.
            seconds = read_time(time, adjustments, label="the record's time")
        return make_event(
            action,
            identifiers,
            kind,
            data,
            seconds,
            own_id,
            adjustments=adjustments,
            reject_placeholders=self._reject_placeholders,
        )

    def _merge_layers(
        self, identifiers: Any, data: Any, bound: Any, adjustments: Adjustments
    ) -> tuple[Any, Any]:
        """Return both with defaults and bound values merged in, as far as readable."""
        bound_identifiers, bound_data = bound or ((), ())
        layers = (self._default_identifiers, *bound_identifiers)
        if any(layers) and not isinstance(identifiers, InvalidEventError):
            # Each layer by itself: its empty values override nothing, and any spelling
            # of fs_user_id overrides that of the layers before.
            merged: dict[str, Any] = {}
            for layer in (*layers, identifiers):
                merged.update(
                    normalize_identifiers(
                        layer,
                        adjustments,
                        reject_placeholders=self._reject_placeholders,
                    )
                )
            identifiers = merged
        layers = (self._default_data, *bound_data)
        if any(layers) and not isinstance(data, (Unsupported, InvalidEventError)):
            merged_data: dict[str, Any] = {}
            for layer in (*layers, data):
                if layer is not None:
                    merged_data.update(freeze_mapping(layer, hidden=self._redact))
            data = merged_data
        return identifiers, data


def _add_adjustments(event: OdpEvent, adjustments: Adjustments) -> OdpEvent:
    for kind, count in adjustments.items():
        event = event._with_adjustment(kind, count)
    return event


def _format_message(kind: str, text: str) -> str:
    """Return the warning about an adjustment of an event that is still sent."""
    if kind == "identifier":
        return f"an identifier was left out: {text}; the event is sent with the others"
    if kind == "timestamp":
        return f"{text}; the event is sent with the time of its log call"
    return text
