"""How long requests took and how long events wait, for the metrics.

`FlusherStatus` keeps the durations of its requests. The dispatcher notes when events
arrived. Both are read by other threads without a lock: a change replaces one value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram's buckets in seconds; one more bucket has the rest."""

_MAX_TIMES = 64


class Durations(NamedTuple):
    """
    A histogram of durations.

    Args:
        buckets: Number of durations by `BOUNDS`, each without those of the others.
        seconds: The sum of all durations.
    """

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """The number of durations."""
        return sum(self.buckets)

    def add(self, seconds: Iterable[float]) -> Durations:
        """Return this histogram with the durations *seconds* as well."""
        buckets, total = list(self.buckets), self.seconds
        for duration in seconds:
            buckets[bisect_left(BOUNDS, duration)] += 1
            total += duration
        return Durations(tuple(buckets), total)

    def merge(self, other: Durations) -> Durations:
        """Return the histogram of the durations of both."""
        buckets = map(sum, zip(self.buckets, other.buckets, strict=True))
        return Durations(tuple(buckets), self.seconds + other.seconds)


class PutTimes:
    """
    When events arrived in a store, by their sequence numbers.

    Thread-safe. The time of a log call is not kept: an event counts from the next step
    of the flusher on, which is within a flush interval, or from the next `read`.
    """

    def __init__(self) -> None:
        self._times: tuple[tuple[int, float], ...] = ()

    def record(self, last_sequence: int, now: float) -> None:
        """Note that the events up to *last_sequence* are there at the time *now*."""
        times = self._times
        if not times or times[-1][0] < last_sequence:
            # Thinned if there are many. The oldest mark stays, and the others lose
            # precision with their age.
            times = times[::2] if len(times) >= _MAX_TIMES else times
            self._times = (*times, (last_sequence, now))

    def read(self, last_sequence: int, settled_sequence: int, now: float) -> float:
        """
        Return for how many seconds the oldest unsettled event has been waiting.

        Args:
            settled_sequence: Sequence up to which all events are settled.
        """
        # Assigned before `record`, which may keep what another thread noted meanwhile.
        self._times = tuple(
            entry for entry in self._times if entry[0] > settled_sequence
        )
        if last_sequence <= settled_sequence:
            return 0.0
        self.record(last_sequence, now)
        times = self._times
        return max(0.0, now - times[0][1]) if times else 0.0
