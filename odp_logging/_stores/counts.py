"""The counters of a store, and the snapshot of them that callers read."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .inbox import EventHolder, hand_over

if TYPE_CHECKING:
    from .._events.batch import Invalid
    from .._events.event import OdpEvent

NONE: Mapping[str, int] = MappingProxyType({})


class EarlyOutcome(NamedTuple):
    """
    What became of an event that no store held.

    Args:
        drop_reason: Why it was dropped; empty if it was delivered.
        adjusted: The adjustments that were made to it.
    """

    drop_reason: str = ""
    adjusted: Mapping[str, int] = NONE


class Counts(NamedTuple):
    """
    A snapshot of what a store did with its events; the fields are those of `Stats`.

    Always: ``accepted == delivered + sum(rejected) + sum(dropped) + pending + spooled +
    moved``. Events that one store moved to another count in ``moved``, as positive in
    the first store and as negative in the second.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = NONE
    dropped: Mapping[str, int] = NONE
    pending: int = 0
    spooled: int = 0
    moved: int = 0
    replayed: int = 0
    queue_bytes: int = 0
    retried: int = 0
    adjusted: Mapping[str, int] = NONE

    @property
    def waiting(self) -> int:
        """Number of events still to be sent, in memory and on disk."""
        return self.pending + self.spooled

    @property
    def overflowed(self) -> int:
        """Number of events that were dropped because there was no room in memory."""
        return self.dropped.get("overflow", 0) + self.dropped.get("too_large", 0)

    def balance(self) -> Counts:
        """
        Return these counts with ``accepted`` derived from the others.

        For code that interrupted an update of the counts on its thread, such as a
        signal handler or a finalizer. An event may then count twice or not at all.
        """
        lost = sum(self.rejected.values()) + sum(self.dropped.values())
        return self._replace(accepted=self.delivered + lost + self.waiting + self.moved)


class Counters:
    """The counters of one store. Caller holds the store's lock."""

    def __init__(self) -> None:
        self.accepted = 0
        self.delivered = 0
        self.moved = 0
        self.retried = 0
        self.replayed = 0
        self.rejected: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.adjusted: dict[str, int] = {}
        # Appended to without the lock, by code that may have interrupted an update.
        self._early_outcomes: deque[str | EarlyOutcome] = deque()

    def record_early_outcome(
        self, outcome: str | EarlyOutcome, holder: EventHolder | None = None
    ) -> None:
        """
        Record an event that was not stored, and empty *holder*. Needs no lock.

        Args:
            outcome: The reason if the event was rejected.
        """
        # In the holder, so that emptying it and recording the outcome are one step.
        holder = holder or [None]
        holder[0] = outcome
        hand_over(holder, self._early_outcomes)

    def count_early_outcomes(self) -> int:
        """Count the recorded early outcomes; return how many they were."""
        count = 0
        while self._early_outcomes:
            self._count_early(self._early_outcomes.popleft())
            self.accepted += 1
            count += 1
        return count

    def _count_early(self, outcome: str | EarlyOutcome) -> None:
        if isinstance(outcome, str):
            self.reject(outcome)
            return
        add_counts(self.adjusted, outcome.adjusted)
        if outcome.drop_reason:
            self.drop(outcome.drop_reason)
        else:
            self.delivered += 1

    def reject(self, reason: str, count: int = 1) -> None:
        """Count rejected events."""
        add_count(self.rejected, reason, count)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count dropped events."""
        add_count(self.dropped, reason, count)

    def count_unbuilt(self, result: Invalid | None) -> None:
        """Count an event that is invalid, or that before_send left out."""
        add_unbuilt(result, self.rejected, self.dropped)

    def count_adjusted(self, event: OdpEvent) -> None:
        """Add the adjustments that were made to *event*."""
        add_counts(self.adjusted, event.adjusted)

    def count_settled(self) -> int:
        """Return how many events were delivered, rejected or dropped."""
        lost = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.delivered + lost

    def read(self, *, pending: int, spooled: int, uncounted: int, size: int) -> Counts:
        """
        Return a snapshot, together with what the store holds now.

        Args:
            pending, spooled: Events in memory and on disk.
            uncounted: Pending events that are not counted as accepted yet.
            size: Bytes of the waiting events.
        """
        # The dictionaries are copied: the caller reads them without the lock.
        return Counts(
            accepted=self.accepted + uncounted,
            delivered=self.delivered,
            rejected=dict(self.rejected),
            dropped=dict(self.dropped),
            pending=pending,
            spooled=spooled,
            moved=self.moved,
            queue_bytes=size,
            retried=self.retried,
            replayed=self.replayed,
            adjusted=dict(self.adjusted),
        )


def add_count(counts: dict[str, int], name: str, count: int) -> None:
    """Add *count* to that of *name*, if it is not 0."""
    if count:
        counts[name] = counts.get(name, 0) + count


def add_counts(counts: dict[str, int], added: Mapping[str, int]) -> None:
    """Add each count of *added* to that of the same name."""
    for name, count in added.items():
        add_count(counts, name, count)


def add_unbuilt(
    result: Invalid | None, rejected: dict[str, int], dropped: dict[str, int]
) -> None:
    """Count an event that is invalid, or None: one that before_send left out."""
    if result is None:
        add_count(dropped, "before_send", 1)
    else:
        add_count(rejected, result.reason, 1)
