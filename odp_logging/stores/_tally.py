"""What became of a store's events, by count."""

from __future__ import annotations

from .._event import OdpEvent
from ._base import Counts


class Tally:
    """
    Counts of one store; written under its lock.

    Args of `counts` are what the store holds at the moment.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.delivered = 0
        self.moved = 0
        self.retried = 0
        self.replayed = 0
        self.rejected: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.adjusted: dict[str, int] = {}

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

    def gone(self) -> int:
        """Return how many events are settled, one way or another."""
        lost = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.delivered + lost

    def counts(self, *, pending: int, spooled: int, size: int) -> Counts:
        """Return all of it, with what waits in memory and on disk."""
        return Counts(
            accepted=self.accepted + pending,
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
