"""Makes the steps of a flusher: takes a batch, sends it, settles it and reports it.

It stands between a store of `_stores` and a transport of `_transports`. `Worker` calls
it on the flusher's thread, and `InlineDelivery` on the thread of a caller.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .._runtime.lock import OwnedLock
from .durations import Durations, PutTimes
from .loading import ModuleLoader, build_empty_delivery
from .progress import Progress
from .reports import Reports
from .schedule import Schedule

if TYPE_CHECKING:
    from .._events.batch import Batch
    from .._events.delivery import Delivery
    from .._stores.base import BaseStore
    from .._transports.base import BaseTransport

_FAST_BATCH_SECONDS = 1.0
"""If a batch takes less time, the next batch may use twice as many requests."""

_SHORT_BATCH_SECONDS = 0.02
"""If it takes less time than this, the next batch uses half as many. A server so near
is not worth waiting for in parallel: the threads would only compete for the GIL."""

_ADVICE = "check api_key and api_host"

_PROGRESS_SECONDS = 2.0
"""The flusher counts as progressing for this time after it settled or took events."""


class FlusherStatus:
    """Counts and state of a flusher, read by the stats.

    Written by one thread at a time, the holder of the delivery lock.
    """

    __slots__ = (
        "batches",
        "durations",
        "failure",
        "last_error",
        "last_success",
        "requests",
        "state",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.durations = Durations()
        self.batches = 0
        self.last_error: str | None = None
        self.failure = ""
        """Why the last attempt left events, and what to check; empty if it did not."""
        self.last_success: float | None = None
        self.state = "idle"

    def has_failure(self) -> bool:
        """Whether the last attempt left events."""
        return self.state in ("retrying", "misconfigured")

    def record(self, delivery: Delivery) -> None:
        """Add the outcome of one batch."""
        self.requests += delivery.requests
        self.durations = self.durations.add(delivery.durations)
        if delivery.accepted:
            self.batches += 1
            self.last_success = time.time()
        self.failure = ""
        if delivery.pending:
            self.last_error = delivery.message
            advice = delivery.advice or _ADVICE * delivery.is_misconfigured
            self.failure = f"{delivery.message}; {advice}".rstrip("; ")


class BatchWidth:
    """
    How many requests the next batch fills, and whether the flusher progresses.

    Both follow from how long the last batch took.

    Args:
        max_requests: Requests that one batch may fill.
    """

    __slots__ = ("_max_requests", "progress_until", "requests")

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self.requests = 1
        self.progress_until = 0.0

    def record_start(self, now: float) -> None:
        """Count as progressing from *now* on, since the sending thread has begun."""
        self.progress_until = now + _PROGRESS_SECONDS

    def record(self, delivery: Delivery, sent_at: float, now: float) -> None:
        """Widen the next batch after a fast one, narrow it after any other one."""
        if delivery.pending:
            self.progress_until = 0.0
            self.requests = 1
            return
        seconds = now - sent_at
        is_fast = _SHORT_BATCH_SECONDS <= seconds < _FAST_BATCH_SECONDS
        target = 2 * self.requests if is_fast else self.requests // 2
        self.requests = max(1, min(target, self._max_requests))
        # With a slow server, batches are settled at longer intervals.
        self.progress_until = now + max(_PROGRESS_SECONDS, 2 * seconds)


class Dispatcher:
    """
    Sends the batches of *store*, one at a time.

    `step`, `prepare`, `close` and `discard` are for the thread that gets the delivery
    lock. Only that thread takes from the store and uses the transport.

    Args:
        build_transport: Builds the transport, before the first step; None if the
            destination is not known yet.
        schedule: What callers requested.
        loader: Imports what building and sending events needs, before the first step.
        reports: Reports the outcome of each batch; no lock is held meanwhile.
        batch_size: Events that make a full batch.
        max_requests: Requests that one batch may fill.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        store: BaseStore,
        build_transport: Callable[[], BaseTransport] | None,
        *,
        schedule: Schedule,
        loader: ModuleLoader,
        reports: Reports,
        batch_size: int,
        max_requests: int,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.schedule = schedule
        self.reports = reports
        self.progress = Progress(store, clock)
        self._loader = loader
        self._build_transport = build_transport
        self._transport: BaseTransport | None = None
        self._batch_size = batch_size
        self._max_requests = max_requests
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self.status = FlusherStatus()
        self.width = BatchWidth(self._max_requests)
        self._put_times = PutTimes()
        self.last_settled_at = 0.0
        """Monotonic time at which events were settled last."""
        self._excluded_thread = 0
        self._pid = os.getpid()
        self._lock = OwnedLock()

    # Any thread.

    def connect(self, build_transport: Callable[[], BaseTransport]) -> None:
        """Set the transport of a dispatcher that had none."""
        self._build_transport = build_transport

    def exclude_thread(self, ident: int) -> None:
        """Make no step on the thread *ident* any more; 0 excludes none."""
        self._excluded_thread = ident

    def has_destination(self) -> bool:
        """Whether the destination is known."""
        return self._build_transport is not None

    def is_in_current_thread(self) -> bool:
        """Whether the current thread sends, or runs a callback of the application."""
        return self._lock.is_owned() or self.reports.is_in_callback()

    def is_empty(self) -> bool:
        """Whether no event is waiting."""
        return not self.count_waiting()

    def count_waiting(self) -> int:
        """Return the number of waiting events."""
        # Before the last one: an event that is put in between counts as waiting.
        settled = self.store.get_settled_sequence()
        last = self.store.get_last_sequence()
        self._put_times.record(last, self._clock())
        return max(0, last - settled)

    def get_oldest_age(self) -> float:
        """Return for about how many seconds the oldest event has been waiting."""
        settled = self.store.get_settled_sequence()
        last = self.store.get_last_sequence()
        return self._put_times.read(last, settled, self._clock())

    # On the thread that gets the delivery lock.

    def step(
        self,
        deadline: float | None = None,
        *,
        on_reported: Callable[[], object] | None = None,
    ) -> Delivery | None:
        """
        Take one batch, send it, settle it and report it.

        Args:
            deadline: Monotonic time until which to wait for the delivery lock, and for
                the response.
            on_reported: Called after the report of a batch, unless events of it are
                pending: then the server may not answer, and an exit must not wait.

        Returns:
            The outcome; None if no attempt could be made in time.
        """
        wait = -1.0 if deadline is None else max(0.0, deadline - self._clock())
        try:
            outcome = self._lock.run(partial(self._deliver, deadline), wait)
            if outcome is None:
                return None
            self.reports.report_batch(*outcome, self.store)
            if on_reported is not None and not outcome[1].pending:
                on_reported()
            return outcome[1]
        finally:
            self.progress.end_reporting()

    def _deliver(self, deadline: float | None) -> tuple[Batch, Delivery] | None:
        if not self._is_ready(deadline):
            return None
        schedule = self.schedule
        send_by = self._limit_deadline(deadline)
        if send_by is not None and self._clock() >= send_by:
            return None  # the response would come too late, and the batch be sent again
        # A waiting flush() returns only after the batch is reported.
        self.progress.start_reporting()
        schedule.is_retry = False
        schedule.is_urgent = False  # before take(): a later put sets it again
        pid = self._pid
        transport = self._get_transport()
        batch = self.store.take(self.width.requests)
        if self.reports.is_debug:  # before the check: this may take a while
            self.reports.report_sending(batch)
        if self._pid != pid:
            return None  # a signal handler forked: the batch belongs to the parent
        delivery = build_empty_delivery()
        if batch.events:
            self.status.state = "sending"
            sent_at = self._clock()
            delivery = transport.send(batch, deadline=send_by)
            if self._pid != pid:
                return None
            self.status.record(delivery)
            self._record_progress(delivery, sent_at)
        self.store.settle(batch, delivery)
        schedule.is_batch_full = False  # before the count: a later put sets it again
        if batch.truncated or self.store.count_waiting() >= self._batch_size:
            schedule.is_batch_full = True
        self.status.state = "idle"
        return batch, delivery

    def _is_ready(self, deadline: float | None) -> bool:
        """Whether this thread may send, with all modules imported by *deadline*."""
        if threading.get_ident() == self._excluded_thread or not self.has_destination():
            return False
        if self._transport is not None:
            return True  # the modules were imported before it was built
        wait = -1.0 if deadline is None else max(0.0, deadline - self._clock())
        return self._loader.load(wait)

    def _limit_deadline(self, deadline: float | None) -> float | None:
        """Return the earlier one of *deadline* and the end of the drain."""
        drain = self.schedule.drain
        if drain is None:
            return deadline
        return drain.deadline if deadline is None else min(deadline, drain.deadline)

    def _record_progress(self, delivery: Delivery, sent_at: float) -> None:
        now = self._clock()
        self.width.record(delivery, sent_at, now)
        if delivery.size > len(delivery.pending):
            self.last_settled_at = now
            drain = self.schedule.drain
            if drain is not None:
                drain.extend(now)

    def prepare(self) -> None:
        """Import and create what the first request needs, unless it is done."""
        self._loader.load()
        self._get_transport()

    def prepare_with_lock(self) -> None:
        """Do the same as `prepare`, when no other thread sends."""
        if self._transport is None and self.has_destination():
            self._lock.run(self.prepare, -1)

    def _get_transport(self) -> BaseTransport:
        if self._transport is not None:
            return self._transport
        # This may import modules: a fork waits for that, see ModuleLoader.
        return self._loader.hold(self._create_transport)

    def _create_transport(self) -> BaseTransport:
        assert self._build_transport is not None
        transport = self._build_transport()
        transport.prepare()
        # Last: a signal handler may have raised meanwhile, and the next step repeats
        # what it cut off.
        self._transport = transport
        return transport

    def close(self, wait: float = 0.0) -> None:
        """Close transport and store, whose next use opens them again.

        Args:
            wait: Seconds to wait for the delivery lock; -1 waits without limit.
        """
        self._lock.run(self._close, wait)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.store.close()

    def discard(self, reason: str, deadline: float) -> int:
        """
        Drop all events of the store and return their number.

        Args:
            reason: The reason in the stats.
            deadline: Monotonic time until which to wait for a request under way.
        """
        drop = partial(self.store.discard, reason)
        count = self._lock.run(drop, max(0.0, deadline - self._clock()))
        # Without the lock: a request may outlast the exit, and the store has its own
        # lock.
        return drop() if count is None else count

    def after_fork(self) -> None:
        """Reset the state in a forked child; the events belong to the parent."""
        self.store.after_fork()
        if self._transport is not None:
            self._transport.after_fork()
        self.reports.after_fork()
        self.progress.after_fork()
        self._reset()
