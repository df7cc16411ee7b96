"""What every store does: the protocol `Store`, and `BaseStore` to derive one from.

The client puts events into a store, and a flusher takes them out. `Buffer` holds them
in memory, `Spool` on disk, and `QueueStore` in a queue that several processes share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .._runtime.lock import OwnedLock
from .counts import Counters

if TYPE_CHECKING:
    from .._events.batch import Batch, Dropped
    from .._events.delivery import Delivery
    from .._events.event import OdpEvent
    from .counts import Counts, EarlyOutcome
    from .inbox import EventHolder


class OverflowStore(Protocol):
    """
    What a buffer and a transport call on a spool: it takes over their events.

    Thread-safe. No method raises: a spool that cannot be written takes over nothing.
    """

    def take_over(self, events: Sequence[OdpEvent]) -> bool:
        """Take over *events*: all or none; return whether it did."""

    def has_taken_over(self, events: Sequence[OdpEvent]) -> bool:
        """Whether an interrupted `take_over` of *events* was completed."""

    def is_available(self) -> bool:
        """Whether `take_over` is likely to succeed."""

    def has_unsent_events(self) -> bool:
        """Whether events of this process wait here."""

    def add_dead_letters(
        self, events: Sequence[OdpEvent], reasons: Mapping[int, str]
    ) -> None:
        """Keep the rejected ones of *events* as dead letters; *reasons* by position."""


class Store(Protocol):
    """
    Holds events between a log call and their delivery.

    Events have sequence numbers in the order of `put`; the first one has 1. `flush`
    waits until the settled sequence reaches the last one.

    `put`, `counts` and the sequences are called on any thread. A signal handler or a
    finalizer may call them in the middle of another call of the same thread, so they
    must not wait for a lock that this thread holds. `take` and `settle` are called in
    pairs, by one thread at a time.
    """

    @abstractmethod
    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        """
        Keep what was logged; return whether a full batch is waiting. Thread-safe.

        Args:
            logged: An `OdpEvent`, or a capture from which the store builds one.
            holder: Holds *logged*; emptied in the step that keeps it.
        """

    @abstractmethod
    def take(self, requests: int = 1) -> Batch:
        """
        Return the oldest events; they stay in the store until `settle`.

        Args:
            requests: Number of requests to fill; a store may return fewer events.
        """

    @abstractmethod
    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """
        Apply the outcome of *batch*.

        Remove accepted and rejected events; keep pending ones in their order. Do
        nothing if *batch* was discarded meanwhile.
        """

    @abstractmethod
    def discard(self, reason: str) -> int:
        """Drop all events, counted as *reason* or ``in_doubt``; return how many."""

    @abstractmethod
    def close(self) -> None:
        """Release resources that an empty store does not need; `put` reopens it."""

    @abstractmethod
    def counts(self) -> Counts:
        """Return the counts of all events so far, which always balance."""

    @abstractmethod
    def get_last_sequence(self) -> int:
        """Return the sequence number of the newest event."""

    @abstractmethod
    def get_settled_sequence(self) -> int:
        """Return the sequence number up to which every event is settled or dropped."""


class BaseStore(Store):
    """
    A `Store` with defaults for what not every store can do.

    A subclass implements the methods of `Store`. It creates its state in `_reset`, and
    calls ``super().__init__()`` once its settings are stored. It counts every event in
    ``self._counters``, and changes them with ``self._lock`` held. Its `counts` first
    runs `_count_early_outcomes`, and then returns ``self._counters.read(...)``.

    The flusher and the client call the methods below in addition to those of `Store`.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Start empty, with a new lock: in a child the old one may be held forever."""
        self._lock = OwnedLock()
        self._counters = Counters()

    # Called by the client.

    def try_put(self, logged: Any, holder: EventHolder | None = None) -> bool | None:
        """Put *logged*; return None, without counting it, if it cannot be kept."""
        return self.put(logged, holder)

    def check_due(self) -> bool:
        """
        Account what log calls left in the inbox; return as `put` does.

        By default there is no inbox.
        """
        return False

    def reject_early(self, reason: str, holder: EventHolder | None = None) -> None:
        """Count an event that is rejected before it is stored. Thread-safe."""
        self._count_early(reason, holder)

    def count_unstored(self, outcome: EarlyOutcome, holder: EventHolder) -> None:
        """Count an event that was delivered or dropped before it was stored."""
        self._count_early(outcome, holder)

    def _count_early(
        self, outcome: str | EarlyOutcome, holder: EventHolder | None
    ) -> None:
        # Recorded first: if this interrupted the lock holder, that one counts it.
        self._counters.record_early_outcome(outcome, holder)
        self._lock.run(self._count_early_outcomes, -1)

    def _count_early_outcomes(self) -> None:
        """
        Count what was recorded while the lock was not available.

        Caller holds self._lock.
        """
        self._counters.count_early_outcomes()

    # Called by the flusher.

    def has_more(self) -> bool:
        """Whether there may be events of other processes, for which no flush waits."""
        return False

    def count_waiting(self) -> int:
        """Return the number of events still to be sent."""
        return self.counts().waiting

    def is_nearly_full(self) -> bool:
        """Whether events should move to the overflow store instead of waiting here."""
        return False

    def is_durable(self) -> bool:
        """Whether an event outlives this process once `put` has returned."""
        return False

    def pop_dropped(self) -> Sequence[Dropped]:
        """Return the events dropped since the last call, for ``on_drop``."""
        return ()

    def is_held_by_current_thread(self) -> bool:
        """Whether this thread holds the store's lock: it was interrupted there."""
        return self._lock.is_owned()

    # Called around a fork.

    def before_fork(self, deadline: float) -> None:
        """Reach a state that is safe to fork, until *deadline* at the latest."""

    def after_fork_in_parent(self) -> None:
        """Resume in the parent after a fork."""

    def after_fork(self) -> None:
        """Start empty in a forked child: the events belong to the parent."""
        self._reset()
