"""What became of a client's events: one snapshot over all of its flushers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ._flusher import Flusher
from .stores._counts import NONE, Counts


class Stats(NamedTuple):
    """
    What became of every event of a client, read at one moment.

    ``accepted == delivered + sum(rejected.values()) + sum(dropped.values()) + pending +
    spooled`` holds at every moment.

    Args:
        accepted: Events logged or sent through this client in this process.
        delivered: Events that ODP took; with ``queue_url``, those that the queue took.
        rejected: Events that ODP refuses or could not take, by reason.
        dropped: Events given up, by reason; ``in_doubt`` are those that were sent and
            never answered.
        pending: Events waiting in memory, or on their way.
        spooled: Events waiting on disk.
        replayed: Events that ODP took and that earlier processes had left on disk; not
            part of the sum above.
        queue_bytes: About how many bytes of JSON are waiting.
        retried: Events that were sent again, counted each time.
        adjusted: Values changed to fit ODP's limits, by kind.
        requests: HTTP requests made.
        batches: Requests that delivered something.
        last_error: The last answer that left events pending, for people.
        last_success: When ODP last took an event, epoch seconds.
        state: ``idle``, ``sending``, ``retrying``, ``misconfigured``,
            ``unconfigured`` (no key yet) or ``disabled``.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = NONE
    dropped: Mapping[str, int] = NONE
    pending: int = 0
    spooled: int = 0
    replayed: int = 0
    queue_bytes: int = 0
    retried: int = 0
    adjusted: Mapping[str, int] = NONE
    requests: int = 0
    batches: int = 0
    last_error: str | None = None
    last_success: float | None = None
    state: str = "idle"


class Total(NamedTuple):
    """What several flushers did, added up."""

    counts: Counts = Counts()
    requests: int = 0
    batches: int = 0
    last_error: str | None = None
    last_success: float | None = None

    def plus(self, flusher: Flusher) -> Total:
        """Return this with what became of the events of *flusher*."""
        # The spool first: what is moved there meanwhile then still counts as pending.
        before = self if flusher.beyond is None else self.plus(flusher.beyond)
        progress = flusher.progress
        return Total(
            _added(before.counts, flusher.store.counts()),
            before.requests + progress.requests,
            before.batches + progress.batches,
            progress.last_error or before.last_error,
            _later(before.last_success, progress.last_success),
        )

    def and_those(self, other: Total) -> Total:
        """Return this with *other*, of flushers that are not in it."""
        return Total(
            _added(self.counts, other.counts),
            self.requests + other.requests,
            self.batches + other.batches,
            other.last_error or self.last_error,
            _later(self.last_success, other.last_success),
        )

    def shown(self, *, state: str) -> Stats:
        """Return this as others may read it."""
        shown: dict[str, Any] = self._asdict()
        counts: Counts = shown.pop("counts")
        shown.update(zip(counts._fields, map(_own, counts)))
        # What is on its way from memory to disk is in both for a moment.
        shown["pending"] += shown.pop("moved")
        return Stats(**shown, state=state)


def _later(one: float | None, two: float | None) -> float | None:
    return max(filter(None, (one, two)), default=None)


def _added(one: Counts, two: Counts) -> Counts:
    return Counts(*map(_sum, one, two))


def _sum(one: Any, two: Any) -> Any:
    if isinstance(one, int):
        return one + two
    return {
        reason: one.get(reason, 0) + two.get(reason, 0) for reason in {**one, **two}
    }


def _own(count: Any) -> Any:
    """Return a copy of *count* that whoever reads it may change."""
    return count if isinstance(count, int) else dict(count)
