"""The flusher: has the events of a store sent, and tells callers when that is done.

The client calls it, and so do exit, forks and signals. It decides which thread sends. A
daemon thread does so, see `worker`; it starts with the first event. In a
sub-interpreter that thread is not a daemon and is joined at exit. Without a thread
(``background=False``, or at the interpreter's exit) the calling thread sends, see
`inline`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._runtime.diagnostics import Diagnostics
from .._runtime.lock import is_main_thread, monotonic
from .._stores.inbox import Inbox
from .dispatcher import Dispatcher, FlusherStatus
from .inline import InlineDelivery
from .loading import ModuleLoader
from .reports import Reports
from .schedule import Drain, Schedule
from .worker import Worker

if TYPE_CHECKING:
    from .._events.delivery import Delivery
    from .._stores.base import BaseStore
    from .._transports.base import BaseTransport

# `on_drop` may be slow, and the exit must not take much longer than its limit.
_REPORT_SECONDS = 0.2
_LINE_WAIT_SECONDS = 0.2
"""Longest wait at exit for a log line that another thread is writing."""


class Flusher:
    """
    Sends the events of *store*.

    `wake`, `flush`, `start_drain`, `end_drain` and `abandon` are thread-safe.

    Args:
        build_transport: Builds it before the first step; None without a destination.
        batch_size: Events that make a full batch, which is sent at once.
        interval: Longest time in seconds that an event waits to be batched.
        max_requests: Requests that one batch may fill, if they are sent in parallel.
        background: Whether to use a thread.
        shutdown_timeout: Seconds the exit may wait for this flusher without progress.
        shutdown_limit: Seconds the exit may wait for this flusher in total.
        on_start: Called at the first `wake` in this process, and at the first one after
            each `finish`.
        on_wake: Called by a `wake` of which the thread does not know yet, on its
            caller's thread.
        reports: Reports the outcome of each batch; no lock is held meanwhile.
        on_thread_start: Called first on the flusher's thread.
        load_modules: Imports what building and sending events needs. Called before the
            first step, while no fork can happen.
        inbox: Where log calls leave events; `idle` says whether they have to call
            `wake`.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        store: BaseStore,
        build_transport: Callable[[], BaseTransport] | None,
        *,
        batch_size: int,
        interval: float,
        max_requests: int = 1,
        background: bool = True,
        shutdown_timeout: float = 5.0,
        shutdown_limit: float = 60.0,
        on_start: Callable[[Flusher], object] = lambda flusher: None,
        on_wake: Callable[[], object] = lambda: None,
        reports: Reports | None = None,
        on_thread_start: Callable[[], object] = lambda: None,
        load_modules: Callable[[], object] = lambda: None,
        inbox: Inbox | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.store = store
        self.shutdown_timeout = shutdown_timeout
        self.shutdown_limit = shutdown_limit
        self.spool_flusher: Flusher | None = None
        """Sends the events that the transport of this one wrote to a spool."""
        self.inbox = inbox or Inbox()
        self.reports = reports or Reports(Diagnostics())
        self._background = background
        self._on_start = on_start
        self._on_wake = on_wake
        self._clock = clock
        self._schedule = Schedule()
        self._loader = ModuleLoader(load_modules)
        self._dispatcher = Dispatcher(
            store,
            build_transport,
            schedule=self._schedule,
            loader=self._loader,
            reports=self.reports,
            batch_size=batch_size,
            max_requests=max_requests,
            clock=clock,
        )
        self.progress = self._dispatcher.progress
        self._worker = Worker(
            self._dispatcher,
            inbox=self.inbox,
            interval=interval,
            on_thread_start=on_thread_start,
            clock=clock,
        )
        self._inline = InlineDelivery(self._dispatcher, self._worker, clock)
        self._is_started = False
        self._pid = os.getpid()
        self.on_finalized: Callable[[Flusher], object] | None = None

    def __del__(
        self,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        # Last chance to add this flusher's counts to the process total. The functions
        # are default arguments, because module globals may be gone at interpreter exit.
        on_finalized = getattr(self, "on_finalized", None)  # __init__ may have failed
        if on_finalized and not is_finalizing() and self._pid == getpid():
            on_finalized(self)

    @property
    def idle(self) -> bool:
        """Whether a put has to call `wake`."""
        return self.inbox.is_flusher_idle

    @property
    def status(self) -> FlusherStatus:
        """Counts and state, for the stats."""
        return self._dispatcher.status

    @property
    def last_settled_at(self) -> float:
        """Monotonic time at which events were settled last."""
        return self._dispatcher.last_settled_at

    # Called by the client.

    def apply_backpressure(self) -> None:
        """Wait up to 50 ms while the buffer is nearly full and events are sent."""
        if self.inbox.nearly_full and not self.is_in_current_thread():
            self._inline.wait_for_capacity(self.inbox)

    def wake(self, *, batch_full: bool = False, urgent: bool = False) -> None:
        """
        Have the flusher's thread check the store; start the thread if there is none.

        Thread-safe.

        Args:
            batch_full: Whether a batch is full.
            urgent: Whether to send the events at once, even if no batch is full.
        """
        is_known = batch_full and self._schedule.is_batch_full and not urgent
        if is_known and self._is_started and not (self.idle or self.inbox.nearly_full):
            # During an outage a batch is full at each check, and waking the thread
            # would take longer than the put itself.
            return
        self._schedule.request(batch_full=batch_full, urgent=urgent)
        if not self._is_started:
            self._is_started = True
            self._on_start(self)
        self._on_wake()
        exit_drain = self._schedule.exit_drain
        if not self.has_destination():
            return
        if exit_drain is None and self._background:
            self._worker.ensure_thread(self._run_worker)
        elif self.is_in_current_thread():
            return  # the interrupted code of this thread checks the store next
        elif exit_drain is None:
            self._inline.try_once()
        elif is_main_thread() or not self.store.is_durable():
            # A daemon thread may be frozen during the request. Events on disk, which
            # are safe already, would then be sent twice.
            exit_drain(self)

    def wake_to_publish(self) -> None:
        """Have the thread post a line; unlike `wake`, send nothing on this thread."""
        if self._background and self.has_destination() and self._worker.can_publish():
            self._worker.ensure_thread(self._run_worker)

    def _run_worker(self) -> None:
        self._worker.run()
        # Events may have been put since the last check, by threads that still saw this
        # thread and did not start another one.
        if self._worker.has_ended() and not self.is_empty():
            self.wake()

    def connect(self, build_transport: Callable[[], BaseTransport]) -> None:
        """Set the transport of a flusher that had none, and send what is waiting."""
        self._dispatcher.connect(build_transport)
        if not self.is_empty():
            self.wake()

    def flush(self, timeout: float) -> bool:
        """
        Send the events that were put before this call and wait until they are settled.

        Args:
            timeout: Longest time to wait, in seconds.

        Returns:
            Whether all of them were delivered, rejected or dropped in time. False at
            once if this thread runs the flusher or one of its callbacks, where waiting
            would deadlock.
        """
        if self.is_in_current_thread():
            return False
        deadline = self._clock() + timeout
        return self._inline.wait_until_settled(self.request_flush(), deadline)

    def request_flush(self) -> int:
        """Request to send the waiting events; return the sequence of the newest one."""
        sequence = self.store.get_last_sequence()
        self._schedule.request_flush(sequence)
        if sequence > self.progress.get_settled_sequence():
            if self._worker.has_thread():
                self._schedule.wake()
            elif self._background and self._schedule.exit_drain is None:
                self.wake()
        return sequence

    def finish(self) -> None:
        """End the thread once the store is empty; a later `wake` starts another one."""
        self._is_started = False
        # After this, the next `wake` calls `on_start`, which registers the flusher
        # again.
        self._schedule.include_in_flush(self.store.get_last_sequence())
        self._worker.finish()

    def release(self) -> None:
        """Finish a flusher whose client was collected, so that no more events come."""
        self.finish()
        if not self.has_destination() and self.abandon("unconfigured"):
            self.reports.diagnostics.warn(
                "unconfigured",
                "a client was deleted that never had a key. Its events are lost. Set"
                " ODP_API_KEY",
            )

    def is_in_current_thread(self) -> bool:
        """Whether the current thread runs code of this flusher or its store."""
        return (
            self.is_sending_in_current_thread()
            or self.store.is_held_by_current_thread()
        )

    def is_sending_in_current_thread(self) -> bool:
        """Whether the current thread sends for this flusher or runs its callbacks."""
        return (
            self._worker.is_in_current_thread()
            or self._dispatcher.is_in_current_thread()
        )

    def has_worker(self) -> bool:
        """Whether the flusher has a thread that sends the waiting events."""
        return self._worker.is_sending()

    def has_destination(self) -> bool:
        """Whether the destination is known."""
        return self._dispatcher.has_destination()

    def is_empty(self) -> bool:
        """Whether no event is waiting."""
        return self._dispatcher.is_empty()

    def get_oldest_age(self) -> float:
        """Return for about how many seconds the oldest event has been waiting."""
        return self._dispatcher.get_oldest_age()

    def count_waiting(self) -> int:
        """Return the number of waiting events."""
        return self._dispatcher.count_waiting()

    def is_done(self) -> bool:
        """Whether it was finished, has no thread, and has no events left."""
        done = self._worker.is_finished() and self.is_empty()
        return done and (self.spool_flusher is None or self.spool_flusher.is_done())

    # Called by a thread that sends for itself: the relay's.

    def step(self, deadline: float | None = None) -> Delivery | None:
        """Take one batch, send it and settle it, see `Dispatcher.step`."""
        return self._dispatcher.step(deadline)

    # Called at exit and around a fork, see _runtime/drainable.py.

    def start_drain(self, deadline: float, limit: float = 0.0) -> None:
        """
        Request a flush, and end each request and pause by *deadline*.

        Args:
            deadline: Monotonic time.
            limit: Latest time to which progress extends *deadline*. Each settled batch
                sets *deadline* to `shutdown_timeout` seconds from then.
        """
        self._schedule.drain = Drain(deadline, limit, self.shutdown_timeout)
        self.request_flush()

    def end_drain(self, deadline: float, limit: float = 0.0) -> bool:
        """Wait until all events are settled; arguments as in `start_drain`."""
        self._schedule.drain = Drain(deadline, limit, self.shutdown_timeout)
        in_current_thread = self.is_in_current_thread()
        if not in_current_thread:
            self._inline.drain(self.store.get_last_sequence(), deadline)
        self._schedule.drain = None
        if self._schedule.exit_drain is not None:
            self.inbox.is_flusher_idle = True
            # Finalizers may report drops or read the stats, and can import nothing.
            is_needed = self.reports.should_keep_drops() or not self.is_empty()
            if is_needed and not sys.is_finalizing():
                self.load(0.0)
        elif self._background and not (
            in_current_thread or self._worker.has_thread() or self.is_empty()
        ):
            # Events were put while no thread could be started.
            self._worker.ensure_thread(self._run_worker)
        return self.is_empty()

    def abandon(self, reason: str, deadline: float = 0.0) -> int:
        """
        Drop the remaining events, report them, and return their number.

        At exit the thread sends nothing after this. Otherwise a batch under way would
        also be written to disk, and the next process would send it again.

        Args:
            reason: The reason in the stats; "exit" at exit of the process.
            deadline: Monotonic time until which to wait for a request under way.
        """
        if reason == "exit":
            self._worker.stop()
        count = self._dispatcher.discard(reason, deadline)
        self.reports.report_drops(self.store, seconds=_REPORT_SECONDS)
        self.progress.end_all_reporting()
        if reason == "exit":
            # After the reports, and on the clock that locks wait on.
            line_deadline = monotonic() + _LINE_WAIT_SECONDS
            self.reports.diagnostics.silence_other_threads(line_deadline)
        return count

    def count_spooled(self) -> int:
        """Return the number of events on disk, for this process or the next one."""
        return self.store.counts().spooled

    def get_failure(self) -> str:
        """Return why the last attempt left events, with advice; empty if it did not."""
        return self._dispatcher.status.failure

    def use_inline_delivery(self, drain: Callable[[Flusher], object]) -> None:
        """Call *drain* on the calling thread instead of waking the flusher's thread."""
        self._schedule.exit_drain = drain
        self.inbox.is_flusher_idle = True

    def load(self, wait: float = -1.0) -> bool:
        """Import what building and sending needs, see `ModuleLoader.load`."""
        return self._loader.load(wait)

    def before_fork(self, deadline: float) -> None:
        """
        Reach a state in which this thread can fork: no other thread imports modules.

        Args:
            deadline: Monotonic time until which to wait for other threads.
        """
        self.reports.diagnostics.before_fork(deadline)
        self.store.before_fork(deadline)
        self._loader.before_fork(deadline)

    def after_fork_in_parent(self) -> None:
        """Let other threads continue."""
        self._loader.after_fork_in_parent()
        self.store.after_fork_in_parent()
        self.reports.diagnostics.after_fork_in_parent()

    def after_fork_once(self) -> None:
        """Reset the state in a forked child, unless the fork hook has done it."""
        if self._pid != os.getpid():
            self.after_fork()

    def after_fork(self) -> None:
        """Reset the state in a forked child; the events belong to the parent."""
        self._dispatcher.after_fork()
        self._loader.after_fork()
        self._schedule.reset()
        self._inline.reset()
        self._worker.reset()
        self._is_started = False
        self._pid = os.getpid()
