"""Reports what became of events: in log lines and in the application's callbacks.

`Flusher.step` calls this after it has settled a batch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from .._runtime.diagnostics import RECENT_LINES, Diagnostics
from .._runtime.locations import format_error
from .._runtime.lock import monotonic
from .._runtime.text import format_count

if TYPE_CHECKING:
    from types import ModuleType

    from .._events.batch import Batch, Dropped, Invalid
    from .._events.delivery import Delivery
    from .._events.event import OdpEvent
    from .._stores.base import BaseStore
    from .._transports.emulator_feed import EmulatorFeed

T = TypeVar("T")

_MAX_NOTES = 1000
"""Rejected log calls that wait for ``on_drop``; the oldest are forgotten beyond it."""

OnDelivery = Callable[[Sequence["OdpEvent"]], object]
BeforeSend = Callable[["OdpEvent"], "OdpEvent | None"]
OnDrop = Callable[[Sequence["OdpEvent"], str], object]


class Reports:
    """
    Writes log lines and runs callbacks for deliveries and losses.

    Both happen on the thread that sent the batch, and no lock is held meanwhile.

    Args:
        on_delivery, on_drop: Callbacks of the application.
        diagnostics: Writes the log lines.
        callback_threads: Identifiers of the threads that run a callback. A flusher and
            its spool flusher share one set.
        bounds: Bounds of the buffer, in brackets, for the "buffer is full" line.
    """

    is_debug = False
    """Whether each batch is reported before it is sent, as `DebugReports` does."""

    def __init__(
        self,
        diagnostics: Diagnostics,
        on_delivery: OnDelivery | None = None,
        on_drop: OnDrop | None = None,
        callback_threads: set[int] | None = None,
        *,
        bounds: str = "",
    ) -> None:
        self.diagnostics = diagnostics
        self._on_delivery = on_delivery
        self._on_drop = on_drop
        self._bounds = bounds
        self.destination_url = ""
        """Where the events go, for messages; empty while that is not known."""
        self.feed: EmulatorFeed | None = None
        """Posts the library's own lines, if the events go to an emulator."""
        self._callback_threads: set[int] = (
            set() if callback_threads is None else callback_threads
        )
        self.after_fork()

    def after_fork(self) -> None:
        """Reset counts and threads in a forked child."""
        self._reported_overflow = 0
        self._is_outage_reported = False
        self._callback_threads.clear()
        if self.feed is not None:
            self.feed.after_fork()
            RECENT_LINES.clear()
        # Appended to by log calls, without a lock.
        self._notes: deque[str] = deque(maxlen=_MAX_NOTES)
        self.diagnostics.after_fork()

    def is_in_callback(self) -> bool:
        """Whether the current thread runs one of the application's callbacks."""
        threads = self._callback_threads
        return bool(threads) and threading.get_ident() in threads

    def run_callback(self, callback: Callable[..., T], *arguments: object) -> T:
        """Run *callback*; events that it logs to its own client are rejected."""
        # threading.get_ident is looked up here: gevent may patch it after our import.
        thread = threading.get_ident()
        try:
            try:
                # Inside `try`: a signal handler may raise right after the addition.
                self._callback_threads.add(thread)
                return callback(*arguments)
            finally:
                self._callback_threads.discard(thread)
        finally:
            # Twice, as in OwnedLock.hold: a signal may interrupt the first discard.
            self._callback_threads.discard(thread)

    def run_before_send(self, before_send: BeforeSend, event: OdpEvent) -> Any:
        """Do the same as `run_callback`; `DebugReports` reports what is left out."""
        return self.run_callback(before_send, event)

    def report_batch(self, batch: Batch, delivery: Delivery, store: BaseStore) -> None:
        """Report the outcome of *batch* and the events that *store* dropped."""
        for invalid in batch.invalid:
            prefix = f"{invalid.origin}: " if invalid.origin else ""
            self._warn_invalid(invalid, f"{prefix}event rejected: {invalid.message}")
            self.add_note(f"invalid: {prefix}{invalid.message}")
        if delivery.rejected:
            self._report_rejected(batch, delivery)
        if delivery.pending:
            self._warn_pending(delivery, store)
        # Events that moved to the spool do not show that the server answers.
        elif self._is_outage_reported and delivery.size > len(delivery.spooled):
            self._report_recovery(delivery, store)
        if self._on_delivery is not None and delivery.size:
            accepted = [batch.events[index] for index in delivery.accepted]
            if accepted:
                self._call("on_delivery", self._on_delivery, accepted)
        self.report_drops(store)

    def _warn_invalid(self, invalid: Invalid, line: str) -> bool:
        """Write *line*; return False if the rate limit left it out."""
        return self.diagnostics.warn(
            f"invalid:{invalid.reason}", line, location=invalid.origin
        )

    def _report_rejected(self, batch: Batch, delivery: Delivery) -> None:
        self._warn_rejected(batch, delivery)
        if self._on_drop is not None:
            for index, cause in delivery.rejected.items():
                rejected = [batch.events[index]]
                self._call("on_drop", self._on_drop, rejected, f"rejected: {cause}")

    def _warn_rejected(self, batch: Batch, delivery: Delivery) -> bool:
        """Write a line that names the first event; return False if it was left out."""
        index, reason = next(iter(delivery.rejected.items()))
        event = batch.events[index]
        masking = load_masking()
        kind, cause = (
            masking.mask_type_and_action(event),
            masking.mask_reason(reason, event),
        )
        return self.diagnostics.warn(
            "rejected",
            f"ODP rejected {len(delivery.rejected)} of"
            f" {format_count(delivery.size, 'event')}, the"
            f' first a {kind}: "{cause}". They are not sent again; the other events'
            " are not affected. Fix the log call",
        )

    def add_note(self, reason: str) -> bool:
        """
        Keep *reason* for `on_drop`; return whether it is set. Thread-safe.

        The callback runs with the next report, since a log call must not run it.
        """
        if self._on_drop is None:
            return False
        self._notes.append(reason)
        return True

    def report_notes(self) -> None:
        """Call `on_drop` for the rejected log calls, for which there is no event."""
        while self._notes and self._on_drop is not None:
            try:
                reason = self._notes.popleft()
            except IndexError:  # another thread reports it
                return
            self._call("on_drop", self._on_drop, [], reason)

    def publish(self, store: BaseStore) -> None:
        """Post new lines, and the counts of *store*, to an emulator on this machine."""
        if self.feed is not None:
            self.feed.publish(partial(_read_counts, store))

    def should_keep_drops(self) -> bool:
        """Whether events that a store drops are kept, to be reported one by one."""
        return self._on_drop is not None

    def report_sending(self, batch: Batch) -> None:
        """Report that *batch* is about to be sent. Called if `is_debug` is true."""

    def _warn_pending(self, delivery: Delivery, store: BaseStore) -> None:
        counts = store.counts()
        kept, origin = counts.waiting, ""
        place = "in the spool" if counts.spooled else "in memory"
        if not kept:
            if not store.has_more():
                return  # they were abandoned meanwhile, which has a line of its own
            kept, origin = len(delivery.pending), " of earlier processes"
            place = "in the spool"
        self._is_outage_reported = True
        verb = "is" if kept == 1 else "are"
        events = f"{format_count(kept, 'event')}{origin} {verb} kept {place}"
        if delivery.is_misconfigured:
            self.diagnostics.warn(
                "configuration",
                f"{delivery.message}; {events} and one probe is sent every"
                f" {delivery.backoff:.0f} s;"
                f" {delivery.advice or 'check api_key and api_host'}",
            )
        elif delivery.is_transient:
            pause = max(delivery.backoff, delivery.retry_after)
            advice = f"; {delivery.advice}" if delivery.advice else ""
            self.diagnostics.warn(
                "passing",
                f"{delivery.message}; {events}, next attempt in {pause:.1f} s{advice}",
            )

    def _report_recovery(self, delivery: Delivery, store: BaseStore) -> None:
        """Report the end of an outage, once, where its lines were written."""
        self._is_outage_reported = False
        # Settled before this report: those of this batch do not wait any more.
        waited = delivery.size - len(delivery.spooled) + store.counts().waiting
        verb = "was waiting and is" if waited == 1 else "were waiting and are"
        self.diagnostics.warn(
            "recovered",
            f"{self.destination_url or 'ODP'} answers again;"
            f" {format_count(waited, 'event')} {verb} sent now",
        )

    def report_drops(self, store: BaseStore, *, seconds: float = 60.0) -> None:
        """
        Report the events that *store* has dropped since the last call.

        Args:
            seconds: Longest time to run `on_drop` callbacks.
        """
        lost = store.counts().overflowed
        if lost > self._reported_overflow:
            self.diagnostics.warn(
                "overflow",
                f"the buffer is full{self._bounds}; {format_count(lost, 'event')}"
                f" {'was' if lost == 1 else 'were'} dropped so far. Raise the bound, or"
                " check why ODP does not accept events",
            )
            self._reported_overflow = lost
        self.report_notes()
        if self.should_keep_drops():
            end = monotonic() + seconds
            while (drops := store.pop_dropped()) and monotonic() < end:
                for drop in drops:
                    self._report_dropped(drop)

    def _report_dropped(self, drop: Dropped) -> None:
        if self._on_drop is not None:
            self._call("on_drop", self._on_drop, drop.events, drop.reason)

    def _call(
        self, setting: str, callback: Callable[..., object], *arguments: object
    ) -> None:
        """Run the *callback* of a setting; report what it raises."""
        try:
            self.run_callback(callback, *arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the application's code must not end our thread
            self.diagnostics.warn(
                f"callback:{setting}",
                f"{format_error(setting, callback, error)}; delivery continues. Fix"
                " the function",
            )


def _read_counts(store: BaseStore) -> dict[str, int]:
    counts = store.counts()
    return {
        "waiting": counts.waiting,
        "delivered": counts.delivered,
        "rejected": sum(counts.rejected.values()),
        "dropped": sum(counts.dropped.values()),
        "sent again": counts.retried,
    }


@cache
def load_masking() -> ModuleType:
    """Import the masking of event values once, and return the module."""
    from .._events import masking as _masking

    return _masking
