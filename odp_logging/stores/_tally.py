"""What became of a store's events, by count."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ._counts import Counts

if TYPE_CHECKING:
    from .._event import OdpEvent


class Tally:
    """Counts of one store; written under its lock."""

    def __init__(self) -> None:
        self.accepted = 0
        self.delivered = 0
        self.moved = 0
        self.retried = 0
        self.replayed = 0
        self.rejected: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.adjusted: dict[str, int] = {}
        self._refused: deque[str] = deque()

    def refuse(self, reason: str) -> None:
        """Note, without the lock, an event that never came to rest."""
        self._refused.append(reason)

    def count_refused(self) -> int:
        """Count what was noted; return how many events that were."""
        count = 0
        while self._refused:
            self.reject(self._refused.popleft())
            self.accepted += 1
            count += 1
        return count

    def reject(self, reason: str, count: int = 1) -> None:
        """Count events that are rejected."""
        _add(self.rejected, reason, count)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count events that will not be delivered."""
        _add(self.dropped, reason, count)

    def note(self, event: OdpEvent) -> None:
        """Count what had to be adjusted in *event*."""
        for kind, count in event.adjusted.items():
            _add(self.adjusted, kind, count)

    def overflowed(self) -> int:
        """Return how many events were dropped for want of room."""
        return self.dropped.get("overflow", 0) + self.dropped.get("too_large", 0)

    def gone(self) -> int:
        """Return how many events are settled, one way or another."""
        lost = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.delivered + lost

    def counts(self, *, pending: int, spooled: int, unbooked: int, size: int) -> Counts:
        """
        Return all of it, with what the store holds now.

        Args:
            pending, spooled: Events in memory and on disk.
            unbooked: Those of the pending that were not counted as accepted yet.
            size: Bytes of what waits.
        """
        return Counts(
            accepted=self.accepted + unbooked,
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


def _add(counts: dict[str, int], name: str, count: int) -> None:
    if count:
        counts[name] = counts.get(name, 0) + count
