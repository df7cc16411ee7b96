"""The setting ``debug``: one line for each event or batch, and what became of it.

`pipeline` and the router use the class below only if the setting is on. Lines name type
and action of an event and the kinds of its identifiers, whose values are masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._events.masking import MASK, TextMasker, mask_reason, mask_type_and_action
from .._events.rules import DEFAULT_TYPE
from .._runtime.locations import format_location
from .._runtime.text import format_count, format_names
from .reports import BeforeSend, Reports

if TYPE_CHECKING:
    from .._events.batch import Batch, Dropped, Invalid
    from .._events.delivery import Delivery
    from .._events.event import OdpEvent
    from .._stores.base import BaseStore

_MAX_NAME_LENGTH = 60


class DebugReports(Reports):
    """
    `Reports` that also write a debug line for each event or batch.

    `report_start` is called when a client is built; `report_captured`,
    `report_rejected` and `report_no_destination` on the thread of a log call; the
    others on the thread that sends. An event that a warning names has no debug line
    beside it.
    """

    is_debug = True

    def report_start(self, message: str) -> None:
        """Report that the setting is on; *message* says where the events go."""
        self._write(f"debug is on; {message}")

    def report_captured(self, logged: Any, origin: tuple[str, int] | None) -> None:
        """Report an event that a log call made."""
        prefix = _format_prefix(origin or getattr(logged, "origin", None))
        self._write(f"{prefix}captured {_format_event(logged)}")

    def report_rejected(self, message: str, origin: tuple[str, int] | None) -> None:
        """Report a log call from which no event was made."""
        self._write(f"{_format_prefix(origin)}event rejected: {message}")

    def report_no_destination(self, reason: str) -> None:
        """Report that an event was dropped because there is no destination."""
        self._write(f"dropped 1 event without a destination: {reason}")

    def report_outbox(self, event: OdpEvent, outcome: str) -> None:
        """Report what became of an event in an outbox, by the value of its outcome."""
        self._write(f"outbox: 1 event {outcome}: {mask_type_and_action(event)}")

    def run_before_send(self, before_send: BeforeSend, event: OdpEvent) -> Any:
        """Call *before_send* with *event*; report the event if that drops it."""
        changed = super().run_before_send(before_send, event)
        if changed is None:
            self._write(f"dropped 1 event: before_send: {mask_type_and_action(event)}")
        return changed

    def report_sending(self, batch: Batch) -> None:
        """Report that *batch* is about to be sent."""
        if batch.events:
            size = format_count(batch.size, "byte")
            self._write(
                f"sending {format_count(len(batch.events), 'event')} ({size}) to"
                f" {self.destination_url}: {_list_names(batch.events)}"
            )

    def report_batch(self, batch: Batch, delivery: Delivery, store: BaseStore) -> None:
        """Report the outcome of *batch* and the events that *store* dropped."""
        for line in self._format_delivery(batch, delivery):
            self._write(line)
        super().report_batch(batch, delivery, store)

    def _warn_invalid(self, invalid: Invalid, line: str) -> bool:
        """Write *line* at DEBUG where the warning is left out."""
        is_warned = super()._warn_invalid(invalid, line)
        if not is_warned:
            self._write(line)
        return is_warned

    def _warn_rejected(self, batch: Batch, delivery: Delivery) -> bool:
        """Write a debug line for each event that the warning does not name."""
        is_warned = super()._warn_rejected(batch, delivery)
        for index, reason in islice(delivery.rejected.items(), int(is_warned), None):
            event = batch.events[index]
            name, cause = mask_type_and_action(event), mask_reason(reason, event)
            self._write(f"{self.destination_url} rejected 1 event: {name}: {cause}")
        return is_warned

    def _format_delivery(self, batch: Batch, delivery: Delivery) -> Iterator[str]:
        accepted = [batch.events[index] for index in delivery.accepted]
        if accepted:
            count = format_count(len(accepted), "event")
            yield f"{self.destination_url} accepted {count}: {_list_names(accepted)}"
        if delivery.spooled:
            yield f"moved {format_count(len(delivery.spooled), 'event')} to the spool"
        if delivery.pending:
            count = format_count(len(delivery.pending), "event")
            yield f"{count} not accepted, to be sent again: {delivery.message}"

    def should_keep_drops(self) -> bool:
        """Whether events that a store drops are kept: always."""
        return True

    def _report_dropped(self, drop: Dropped) -> None:
        count = format_count(len(drop.events), "event")
        self._write(f"dropped {count}: {drop.reason}: {_list_names(drop.events)}")
        super()._report_dropped(drop)

    def _write(self, message: str) -> None:
        # As in a callback: a handler of the application that logs an event for each
        # line would make the next line, and so on for ever.
        if self.is_in_callback():
            self.diagnostics.debug(message)
        else:
            self.run_callback(self.diagnostics.debug, message)


def _format_prefix(origin: tuple[str, int] | None) -> str:
    return f"{format_location(origin)}: " if origin else ""


def _list_names(events: Iterable[OdpEvent]) -> str:
    return format_names([mask_type_and_action(event) for event in events])


def _format_event(logged: Any) -> str:
    """Return type, action and names of the identifiers of a capture or an event."""
    bound = getattr(logged, "bound", None) or ((), ())
    identifiers: dict[str, Any] = {}
    for layer in (*bound[0], logged.identifiers):
        if isinstance(layer, Mapping):
            identifiers.update(layer)
    masker = TextMasker(map(str, identifiers.values()))
    kind, action = [
        masker.mask(name)[:_MAX_NAME_LENGTH] if isinstance(name, str) else "?"
        for name in (logged.type or DEFAULT_TYPE, logged.action)
    ]
    names = [f"{masker.mask(name)[:_MAX_NAME_LENGTH]}={MASK}" for name in identifiers]
    return f"{kind}/{action} with {format_names(names) or 'no identifiers'}"
