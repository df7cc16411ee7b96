"""
Decides, on the thread of the log call, where a captured event goes.

Handler and client call `Router`. An event goes to the store of the current flusher, to
the interceptors of a test, or nowhere, in which case it is counted and reported.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .._capture import interception
from .._capture.capture import complete_capture
from .._events.batch import Invalid, format_origin
from .._runtime.locations import format_location
from .._stores.counts import EarlyOutcome
from .._stores.inbox import DISABLED_INBOX
from .async_flush import is_in_event_loop
from .builders import build_event_now
from .outbox.base import InterruptedInsert, Outcome
from .outboxes import Outboxes
from .pipeline import choose_inbox

if TYPE_CHECKING:
    from .._config.settings import Config
    from .._events.event import OdpEvent
    from .._flusher.flusher import Flusher
    from .._runtime.diagnostics import Diagnostics
    from .._stores.inbox import EventHolder, Inbox
    from .destinations import Destinations, NoDestination
    from .outbox.base import BaseOutbox
    from .stats import Snapshot

EXHAUSTED = (RecursionError, MemoryError)
"""Raised where stack or memory is too short for the call itself."""


class Router:
    """
    Puts the events of one client where they belong.

    Thread-safe. `inbox` and `own_inbox` are attributes and not properties: log calls
    read the first on their fast path, the second where no stack is left for a call.

    Args:
        config: The settings of the client.
        destinations: Those of the client.
        diagnostics: Gets the warnings about rejected events.
    """

    def __init__(
        self, config: Config, destinations: Destinations, diagnostics: Diagnostics
    ) -> None:
        self._config = config
        self._destinations = destinations
        self._diagnostics = diagnostics
        self._is_crash_safe = config.durability == "crash"
        self._outboxes = Outboxes(config, diagnostics.warn)
        self.inbox: Inbox
        """Where a handler leaves events; `DISABLED_INBOX` if each needs `_put`."""
        self.own_inbox: Inbox
        """The inbox of the current flusher, also if log calls must not use it."""
        self._interceptors: tuple[interception.Interceptor, ...]
        interception.register_client(self)
        self.refresh_interceptors()

    def refresh_interceptors(self) -> None:
        """Look up which interceptors get events instead of the store; only in tests."""
        destinations = self._destinations
        while True:
            seen = interception.current
            flusher, current = destinations.flusher, destinations.current
            self._interceptors = interception.find_interceptors(
                current.display_url if current else None
            )
            self.own_inbox = flusher.inbox
            self.inbox = (
                DISABLED_INBOX
                if self._interceptors
                else choose_inbox(flusher, self._config)
            )
            # Otherwise another thread has replaced one of them meanwhile: look again.
            if seen is interception.current and flusher is destinations.flusher:
                return

    # Events in.

    def put(
        self, holder: EventHolder, *, urgent: bool, origin: tuple[str, int] | None
    ) -> None:
        """
        Put the event in *holder* where it belongs; wake the flusher if it must send.

        A failure is counted and reported. An exception of the application's signal
        handlers is raised only if they run at the beginning of the call, or while it
        waits for room or for the database of an outbox.
        """
        is_batch_full = False
        try:
            is_batch_full = self._put(holder, urgent=urgent)
        except InterruptedInsert as interruption:
            raise interruption.error from None
        except Exception as error:  # no stack, no memory, or a signal handler raised
            if holder:
                # First, and without a call: there may be no stack left for a call.
                self.own_inbox.capture_failures += 1
            try:
                if holder:
                    self.report_capture_failure(error, origin)
                else:  # the event is stored, but the flusher may not have been woken
                    self._wake_all()
            except Exception:  # the failure is counted already
                pass
        if is_batch_full and self.own_inbox.nearly_full:
            self.apply_backpressure()

    def put_into_inbox(
        self, inbox: Inbox, captured: tuple[Any, ...], origin: tuple[str, int] | None
    ) -> None:
        """
        Leave what `capture_plain` returned in *inbox*, as `OdpHandler.handle` does.

        Raises nothing. Reports a failure.
        """
        is_kept = False
        try:
            inbox.queue.append(captured)
            is_kept = True
            if inbox.is_flusher_idle or len(inbox.queue) >= inbox.check_after:
                self.check_inbox(inbox)
        except Exception as error:
            # Of a signal handler, if the event is kept: the flusher may not have been
            # notified yet.
            try:
                if is_kept:
                    self.check_inbox(inbox)
                else:
                    self.own_inbox.capture_failures += 1
                    self.report_capture_failure(error, origin)
            except Exception:
                pass
        if inbox.nearly_full:
            try:
                self.apply_backpressure()
            except EXHAUSTED:
                pass

    def put_captured(self, captured: tuple[Any, ...]) -> None:
        """Put a handler's capture that must not wait in the inbox."""
        self.put([complete_capture(captured)], urgent=False, origin=None)

    def _put(self, holder: EventHolder, *, urgent: bool) -> bool:
        """Put the event of *holder* in its place; return whether a batch is full."""
        destinations = self._destinations
        # For each event: a fork in C, as uWSGI's, runs no hook of Python.
        if destinations.pid != os.getpid():
            destinations.reset_after_fork()
        flusher = destinations.flusher
        # Read once: other threads change them.
        interceptors, policy = self._interceptors, destinations.no_destination
        # The callbacks of the spool's flusher count too: both share one set of threads.
        if flusher.reports.is_in_callback():
            self._reject_in_callback(holder)
        elif interceptors:
            self._intercept(holder[0], interceptors)
            holder.clear()
        elif policy.drop_reason:
            self._drop(holder, policy)
        else:
            outbox = self._outboxes.find()
            if outbox is None:
                return self._put_into_store(holder, flusher, urgent=urgent)
            self._put_into_outbox(holder, outbox, urgent=urgent)
        return False

    def _put_into_outbox(
        self, holder: EventHolder, outbox: BaseOutbox, *, urgent: bool
    ) -> None:
        """Build the event of *holder* now, and write it through *outbox*."""
        logged = holder[0]
        built = self._outboxes.build(logged, self._destinations.flusher.reports)
        if isinstance(built, Invalid):
            origin = getattr(logged, "origin", None)
            self.reject(built.reason, built.message, origin, holder)
        elif built is None:
            store = self._destinations.flusher.store
            store.count_unstored(EarlyOutcome("before_send"), holder)
        else:
            settle = partial(self._settle_outbox, holder, built, urgent)
            outbox.put(self._outboxes.make_row(outbox, built, settle))

    def _settle_outbox(
        self, holder: EventHolder, event: OdpEvent, urgent: bool, outcome: Outcome
    ) -> None:
        """Count the event in *holder* that an outbox got, or put it into the store."""
        if not holder:  # done before: an exception interrupted the outbox after that
            return
        flusher = self._destinations.flusher
        if outcome is Outcome.UNSENT:
            from .._events.final_event import make_final  # `Builder` imported it

            holder[0] = make_final(event)
            self._put_into_store(holder, flusher, urgent=urgent)
            return
        reason = "" if outcome is Outcome.WRITTEN else outcome.value
        flusher.store.count_unstored(EarlyOutcome(reason, event.adjusted), holder)
        if reason:
            self._note_rejection(reason)

    def _put_into_store(
        self, holder: EventHolder, flusher: Flusher, *, urgent: bool
    ) -> bool:
        """Put the event in *holder* into memory or on disk, and wake the flusher."""
        logged = holder[0]
        is_batch_full = None
        spool_flusher = flusher.spool_flusher
        if self._is_crash_safe and spool_flusher is not None:
            is_batch_full = spool_flusher.store.try_put(logged, holder)
            if is_batch_full is not None:
                flusher = spool_flusher
        if is_batch_full is None:
            is_batch_full = flusher.store.put(logged, holder)
        if is_batch_full:
            flusher.wake(batch_full=True, urgent=urgent)
        elif flusher.idle or urgent:
            flusher.wake(urgent=urgent)
        if self._destinations.current is None:
            self._destinations.warn_unknown()
        return is_batch_full

    def _wake_all(self) -> None:
        flusher = self._destinations.flusher
        for part in (flusher, flusher.spool_flusher):
            if part is not None and not part.is_empty():
                part.wake()

    def apply_backpressure(self) -> None:
        """Wait for the flusher while the buffer is nearly full; 50 ms at most."""
        if self._config.backpressure and not is_in_event_loop():
            self._destinations.flusher.apply_backpressure()

    def check_inbox(self, inbox: Inbox) -> None:
        """Wake the flusher if what a handler left in *inbox* makes that necessary."""
        flusher = self._destinations.flusher
        if flusher.inbox is not inbox:  # `configure` was called meanwhile
            history = self._destinations.history[0]
            previous = [old for old in history if old.inbox is inbox]
            flusher = previous[0] if previous else flusher
        if flusher.store.check_due():
            flusher.wake(batch_full=True)
        elif flusher.idle:
            flusher.wake()

    def is_sending(self) -> bool:
        """Return whether this thread is sending for this client right now."""
        flusher = self._destinations.flusher
        spool_flusher = flusher.spool_flusher
        return flusher.is_sending_in_current_thread() or bool(
            spool_flusher and spool_flusher.is_sending_in_current_thread()
        )

    def read_snapshot(self) -> Snapshot:
        """Return what the metrics show of this client."""
        return self._destinations.read_snapshot()

    # Events that reach no store.

    def reject(
        self,
        reason: str,
        message: str,
        origin: tuple[str, int] | None,
        holder: EventHolder | None = None,
    ) -> None:
        """
        Count an event as rejected in its log call, and report it.

        Args:
            holder: Holds the event, if it could be captured.
        """
        if not self._is_handled_by_test(reason, message, origin):
            self._destinations.flusher.store.reject_early(reason, holder)
            self._report_rejected(reason, message, origin)

    def _drop(self, holder: EventHolder, policy: NoDestination) -> None:
        self._destinations.drop(holder, policy)
        self._note_rejection(policy.drop_reason)

    def _reject_in_callback(self, holder: EventHolder) -> None:
        # An event logged for each event would be an endless loop.
        self.reject(
            "in_callback",
            "an event was put within a callback of its own client; it was not sent",
            getattr(holder[0], "origin", None),
            holder,
        )

    def report_capture_failure(
        self, error: BaseException, origin: tuple[str, int] | None
    ) -> None:
        """
        Report that capturing an event failed; the log call goes on without it.

        The caller has counted the failure in `own_inbox.capture_failures`.
        """
        reason = "not_capturable"
        message = f"capturing an event raised {type(error).__name__}; it was not sent"
        try:
            if self._is_handled_by_test(reason, message, origin):
                self.own_inbox.capture_failures -= 1
            else:
                self._report_rejected(reason, message, origin)
        except Exception:  # no stack or memory is left to report it
            pass

    def _report_rejected(
        self, reason: str, message: str, origin: tuple[str, int] | None
    ) -> bool:
        """Report a rejected log call; return False if the rate limit left it out."""
        location = format_location(origin)
        text = f"{location}: {message}" if location else message
        is_written = self._diagnostics.warn(
            f"refused:{reason}", text, location=location
        )
        # An on_drop that logs an event would be called for that one, without an end.
        if reason != "in_callback":
            self._note_rejection(f"invalid: {text}")
        return is_written

    def _note_rejection(self, reason: str) -> None:
        flusher = self._destinations.flusher
        # Called by the flusher's thread, which has to notice it.
        if flusher.reports.add_note(reason):
            flusher.wake()

    def _is_handled_by_test(
        self, reason: str, message: str, origin: tuple[str, int] | None
    ) -> bool:
        """Offer a rejected event to the interceptors; return whether one handles it."""
        interceptors = self._interceptors
        if not interceptors:
            return False
        location = format_location(origin)
        return _offer_to_tests(
            Invalid(reason, message, location), location, interceptors
        )

    def _intercept(
        self, logged: Any, interceptors: tuple[interception.Interceptor, ...]
    ) -> None:
        """Build the event of *logged* now, and pass it to a test's interceptors."""
        built = build_event_now(
            self._config, self._destinations.flusher.reports, logged
        )
        if isinstance(built, Invalid):
            origin = getattr(logged, "origin", None)
            self.reject(built.reason, built.message, origin)
        elif built is not None and not _offer_to_tests(
            built, format_origin(logged), interceptors
        ):
            self._destinations.flusher.store.reject_early("network_blocked")


def build_router(
    config: Config, destinations: Destinations, diagnostics: Diagnostics
) -> Router:
    """Return the router of a client, one that reports each event if debug is set."""
    if not config.debug:
        return Router(config, destinations, diagnostics)
    from .debug_router import DebugRouter

    router = DebugRouter(config, destinations, diagnostics)
    router.report_start()
    return router


def _offer_to_tests(
    event: OdpEvent | Invalid,
    origin: str,
    interceptors: tuple[interception.Interceptor, ...],
) -> bool:
    """Pass *event* to all *interceptors*; return whether one of them handles it."""
    # A list, not a generator: observers see the event even if it is handled.
    return any([interceptor.intercept(event, origin) for interceptor in interceptors])
