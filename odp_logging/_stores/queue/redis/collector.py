"""How many entries to read at once: their sizes are not known before.

XREADGROUP and XAUTOCLAIM take a number of entries, and a response is in memory as a
whole. So entries are read in steps, whose number follows from the sizes seen so far.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..messages import LeasedMessage


class SizeEstimate:
    """Estimates the size of an entry from those that one worker has read lately."""

    def __init__(self) -> None:
        self.mean = 1.0
        """Bytes of an entry; follows larger entries at once, smaller ones slowly."""
        self._count = 1

    def choose_count(self, limit: int, max_bytes: int) -> int:
        """Return a number of entries from 1 to *limit*, for about *max_bytes*."""
        return max(1, min(limit, self._count, int(max_bytes / self.mean)))

    def reset(self) -> None:
        """Begin again with one entry: a response was too large to be read."""
        self._count = 1

    def add(self, sizes: Sequence[int]) -> None:
        """Learn from the sizes of one response, the bytes of each entry."""
        if not sizes:
            return
        mean = sum(sizes) / len(sizes)
        # An exponential moving average, and at least the last mean: memory is the
        # limit.
        self.mean = max(mean, (3 * self.mean + mean) / 4, 1.0)
        # Doubled from one entry on: nothing is known of the first ones.
        self._count = max(self._count, 2 * len(sizes))


class LeaseCollector:
    """
    Collects the messages of one lease: *limit* entries, about *max_bytes* of bodies.

    Args:
        estimate: Size of an entry, from those read so far.
    """

    def __init__(self, limit: int, max_bytes: int, estimate: SizeEstimate) -> None:
        self.limit = limit
        """Number of entries that are still to be read."""
        self._max_bytes = max_bytes
        self._estimate = estimate
        self.found: list[LeasedMessage] = []
        """The messages that were leased."""
        self.is_empty = True
        """Whether nothing was read."""
        self.is_closed = False
        """Whether nothing more is to be read, although there may be entries."""

    @property
    def is_full(self) -> bool:
        """Whether no further entry is to be read."""
        if self.is_empty:
            return False
        return self.limit <= 0 or self._max_bytes < self._estimate.mean

    @property
    def next_count(self) -> int:
        """The number of entries to read next."""
        return self._estimate.choose_count(self.limit, self._max_bytes)

    def add(self, leased: Sequence[LeasedMessage]) -> None:
        """Add the messages of one response."""
        self.found += leased
        self.skip(leased)

    def skip(self, leased: Sequence[LeasedMessage]) -> None:
        """Count messages that were read and are not for this worker."""
        sizes = [len(message.message.body) for message in leased]
        self._estimate.add(sizes)
        self.limit -= len(leased)
        self._max_bytes -= sum(sizes)
        self.is_empty = self.is_empty and not leased

    def close(self) -> None:
        """Let nothing more be read."""
        self.limit, self.is_empty, self.is_closed = 0, False, True
