"""The store in memory: a bounded queue that many threads fill and one flusher empties.

It stands between the inbox, to which log calls append, and the flusher's thread, which
builds the events and takes them in batches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._events.batch import Batch, Dropped
from .._runtime.lock import with_lock
from .base import BaseStore
from .inbox import EventHolder, Inbox, hand_over
from .limits import ACCOUNT_CHUNK, LARGE_EVENT_BYTES, Limits
from .overflow import DroppedEvents, Spill, group_dropped
from .pending import Built, EncodeBatch, PendingEvents, build_events

if TYPE_CHECKING:
    from .._events.delivery import Delivery
    from .._events.event import OdpEvent
    from .base import OverflowStore
    from .counts import Counters, Counts

_SPILL_WAIT_SECONDS = 1.0
"""Longest time that a put waits for another thread that spills to disk."""


class Buffer(BaseStore):
    """
    A `Store` in memory.

    `put`, or a log call by itself, appends to the queue of `inbox` without a lock, and
    `take` builds events directly from it. The inbox is accounted, so that its events
    have a size, where they could reach the bounds, for a large event, and where a
    caller reads the counts. A log call does that only if it gets the lock without
    waiting. So it never waits for another one, and a signal handler or finalizer that
    logs in the middle of one cannot deadlock.

    Args:
        build: Builds the event from what was put, on the flusher's thread, with the id
            that it is given. It returns None to drop the event, and raises
            InvalidEventError.
        encode_batch: Returns the events of those that need no adjusting, and None for
            the others, with the ids that it is given. Called before `build`, since one
            call for a batch takes less time than one for each event.
        complete_capture: Turns the bare tuple that a log call left here into a
            capture, which has a size.
        show: Builds an event for `pop_dropped` from what was dropped before it was
            built.
        batch_size, batch_bytes: Events and bytes of a full batch.
        max_size, max_bytes: Bounds, in events (0 for none) and in bytes as counted by
            the events' sizes.
        overflow: Which event is dropped when a bound is reached.
        keep_dropped: Whether `pop_dropped` will be called; at most 16 MiB of events are
            kept for it. The counts are exact in any case.
        overflow_store: Takes over events that have no room here, and what is left when
            this store is discarded.
    """

    def __init__(
        self,
        build: Callable[..., OdpEvent | None],
        *,
        encode_batch: EncodeBatch = lambda logged, event_ids: [None] * len(logged),
        complete_capture: Callable[[Any], Any] = lambda bare: bare,
        show: Callable[[Any], OdpEvent | None] | None = None,
        batch_size: int,
        batch_bytes: int,
        max_size: int,
        max_bytes: int,
        overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        keep_dropped: bool = False,
        overflow_store: OverflowStore | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.inbox = inbox or Inbox()
        self._build = build
        self._encode_batch = encode_batch
        self._complete_capture = complete_capture
        self._build_dropped = show or build
        self._limits = Limits(
            batch_size=batch_size,
            batch_bytes=batch_bytes,
            max_size=max_size,
            max_bytes=max_bytes,
        )
        self._drop_oldest = overflow == "drop_oldest"
        self._keep_dropped = keep_dropped
        self._overflow_store = overflow_store
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self.inbox.reset()
        self._pending = PendingEvents(self._complete_capture)
        self._spill = (
            None
            if self._overflow_store is None
            else Spill(self._overflow_store, self._build)
        )
        self._dropped = DroppedEvents(
            self._counters, self._limits.max_bytes if self._keep_dropped else 0
        )
        self._counts_dirty = False
        self._has_large_event = False
        self._event_size = 0
        """Bytes of the newest event in the inbox, when it was checked last."""
        self._update_inbox()

    # Any thread: puts.

    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        """Keep *logged*; return whether a full batch is waiting. Thread-safe."""
        inbox = self.inbox
        hand_over(holder or [logged], inbox.queue)
        if logged.size >= LARGE_EVENT_BYTES:
            self._has_large_event = True
        elif len(inbox.queue) < inbox.check_after:
            return False
        return self.check_due()

    def check_due(self) -> bool:
        """Account the inbox if it is time; return whether a full batch is waiting."""
        incoming, due = self.inbox.queue, False
        # Twice: while this thread held the lock, others may have appended without it.
        for _ in range(2):
            if self._has_large_event or len(incoming) >= self.inbox.check_after:
                # The lock holder may be writing to disk for long: the bounds apply to
                # the inbox too.
                is_full = (
                    self._spill is not None
                    and len(incoming) > self._limits.spill_wait_from
                )
                timeout = _SPILL_WAIT_SECONDS if is_full else 0.0
                due = self._lock.run(self._account_if_due, timeout) or due
        return due

    # Accounting. Caller holds self._lock.
    #
    # A signal handler may raise at any call; `_recover_counts` then repairs the counts.
    # It may also fork: in the child `_reset` replaces the parts, and the interrupted
    # method has to go on with the old ones. So each method looks them up once.

    def _account_if_due(self) -> bool:
        """
        Account the inbox if something requires it; return whether a batch is full.

        Caller holds self._lock.
        """
        limits, incoming, pending = self._limits, self.inbox.queue, self._pending
        if self._counts_dirty or self._has_large_event:
            self._account_incoming()
        elif len(incoming) >= self._compute_account_after():
            # A part of many, so that no log call takes longer for it than 0.5 ms.
            self._account_incoming(ACCOUNT_CHUNK)
        count = len(incoming)
        if count:
            # The others are assumed to be as large as the newest one.
            self._event_size = pending.complete(incoming[-1]).size
        size = pending.size + count * self._event_size
        self._update_inbox()
        return limits.is_due(len(pending.waiting) + count, size)

    def _compute_account_after(self) -> int:
        pending = self._pending
        return self._limits.compute_account_after(
            pending.count(), pending.size, self._event_size
        )

    def _is_due(self) -> bool:
        return self._limits.is_due(len(self._pending.waiting), self._pending.size)

    def _account_incoming(self, max_count: int = sys.maxsize) -> None:
        """Move the inbox in, and apply the bounds. Caller holds self._lock."""
        incoming = self.inbox.queue
        if not (incoming or self._counts_dirty or self._has_large_event):
            return
        self._recover_counts()
        self._counts_dirty = True
        self._has_large_event = False
        pending, counters, limits = self._pending, self._counters, self._limits
        # Counted once: log calls of other threads go on appending meanwhile.
        count = min(max_count, len(incoming))
        largest = pending.account(incoming, count, counters)
        if largest > limits.max_bytes:
            self._drop_oversized(pending)
        while pending.waiting and limits.is_exceeded(pending.count(), pending.size):
            self._make_room(pending, counters)
        self._update_inbox()
        self._counts_dirty = False

    def _make_room(self, pending: PendingEvents, counters: Counters) -> None:
        if self._spill is not None and self._spill.move_oldest(
            pending, counters, self._limits.batch_size
        ):
            return
        # Events in a request are never dropped here: ODP may have accepted them.
        logged = pending.pop_oldest() if self._drop_oldest else pending.pop_newest()
        self._dropped.add(logged, "overflow")

    def _drop_oversized(self, pending: PendingEvents) -> None:
        """Drop events that alone exceed the buffer's bytes, and no other event."""
        dropped = self._dropped
        for logged in pending.remove_larger(self._limits.max_bytes):
            dropped.add(logged, "too_large")

    def _recover_counts(self) -> None:
        """Recompute the counts if a signal handler's exception cut off an update."""
        if not self._counts_dirty:
            return
        pending, counters = self._pending, self._counters
        if self._spill is not None:
            self._spill.recover(pending, counters)
        pending.recount(counters)
        self._counts_dirty = False  # last: if cut off too, the next caller repeats this

    def _update_inbox(self) -> None:
        """Tell log calls when to check next, and whether to wait for room."""
        pending = self._pending
        self._limits.update_inbox(
            self.inbox,
            len(pending.waiting),
            pending.count(),
            pending.size,
            self._event_size,
        )

    def _is_above_high_water(self) -> bool:
        return self._limits.is_above_high_water(
            self.count_waiting(), self._pending.size
        )

    # Flusher thread only.

    def take(self, requests: int = 1) -> Batch:
        """Return the oldest events for *requests* requests, built on this thread."""
        fresh, sequence = self._start_take(requests)
        built = build_events(
            self._build, self._encode_batch, self._pending.complete, fresh
        )
        finish = partial(self._finish_take, fresh, built, sequence, requests)
        return self._lock.hold(finish)

    @with_lock
    def _start_take(self, requests: int) -> tuple[list[Any], int]:
        self._recover_counts()
        # Left by a take that an exception of a signal handler cut off.
        if self._pending.building:
            self._pending.return_unbuilt()
        if self._has_large_event:
            self._account_incoming()
        self._counts_dirty = True
        max_unsettled = self._limits.batch_size * requests
        started = self._pending.start_building(
            max_unsettled, self.inbox.queue, self._counters
        )
        self._counts_dirty = False
        return started

    def _finish_take(
        self, fresh: list[Any], built: Built, sequence: int, requests: int
    ) -> Batch:
        pending, limits = self._pending, self._limits
        if pending.building is not fresh:
            return Batch(())  # discarded, or the process forked, meanwhile
        batch = pending.finish_building(
            built,
            sequence,
            limits.batch_size * requests,
            limits.batch_bytes * requests,
            self._counters,
        )
        self._update_inbox()
        return batch

    @with_lock
    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Remove accepted and rejected events; keep pending ones in their order."""
        if batch is not self._pending.current:
            return  # discarded meanwhile, and counted then
        self._pending.settle(batch, delivery, self._counters)
        self._update_inbox()

    # Any thread.

    @with_lock
    def discard(self, reason: str) -> int:
        """Drop all events; those sent without an answer are counted as ``in_doubt``."""
        pending, counters, dropped = self._pending, self._counters, self._dropped
        self._recover_counts()  # first: it may complete a move of the oldest events
        pending.return_unbuilt()
        self._account_incoming()
        # First to the spool, so that the next process can send them.
        if self._spill is not None and pending.count():
            self._spill.move_all(pending, counters)
        for position, event in enumerate(pending.unsettled):
            dropped.add(event, "in_doubt" if pending.is_in_doubt(position) else reason)
        for logged in pending.waiting:
            dropped.add(logged, reason)
        count = pending.count()
        pending.clear()
        self._update_inbox()
        return count

    def close(self) -> None:
        """Do nothing: a buffer has no resources to release."""

    def is_nearly_full(self) -> bool:
        """Whether three quarters are in use and the overflow store can take events."""
        if self._spill is None or not self._spill.is_available():
            return False
        return self._is_above_high_water()

    def count_waiting(self) -> int:
        """Return the number of events, for which nothing needs to be accounted."""
        return self._pending.count() + len(self.inbox.queue)

    def pop_dropped(self) -> Sequence[Dropped]:
        """Return at most 1,000 dropped events, grouped by reason."""
        # Grouped without the lock: building an event may run the application's code.
        return group_dropped(self._lock.hold(self._dropped.pop), self._build_dropped)

    def get_last_sequence(self) -> int:
        """Return the sequence number of the newest event; the first one has 1."""
        if self._lock.is_owned():
            return self._pending.last_sequence + len(self.inbox.queue)
        return self._lock.hold(self._read_last_sequence)

    def _read_last_sequence(self) -> int:
        self._recover_counts()
        if not self._drop_oldest or self._has_large_event:
            # What the bounds drop of these later would have no sequence any more, and
            # a flush would wait for it.
            self._account_incoming()
        return self._pending.last_sequence + len(self.inbox.queue)

    def get_settled_sequence(self) -> int:
        """Return the sequence number up to which every event is settled."""
        return self._lock.hold(self._pending.get_settled_sequence)

    def counts(self) -> Counts:
        """
        Return the counts of all events so far, which always balance.

        Accounts the inbox, for exact counts, and so may drop or spill events.
        """
        if self._lock.is_owned():
            # A signal handler or finalizer interrupted an update. Nothing is recovered
            # here, since the interrupted code goes on writing.
            return self._read_counts().balance()
        return self._lock.hold(self._recover_and_read_counts)

    def _recover_and_read_counts(self) -> Counts:
        self._account_incoming()
        self._count_early_outcomes()
        return self._read_counts()

    def _read_counts(self) -> Counts:
        incoming = len(self.inbox.queue)
        counts = self._counters.read(
            pending=incoming + self._pending.count(),
            spooled=0,
            uncounted=incoming,
            size=self._pending.size,
        )
        failures = self.inbox.capture_failures
        if failures:
            rejected = {**counts.rejected, "not_capturable": failures}
            counts = counts._replace(
                accepted=counts.accepted + failures, rejected=rejected
            )
        return counts
