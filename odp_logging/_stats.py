"""What became of a client's events: one snapshot over all of its flushers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ._flusher import Flusher
from .stores._counts import Counts


@dataclass(frozen=True, slots=True)
class Stats(Counts):
    """
    What became of every event of a client, read at one moment.

    ``accepted == delivered + sum(rejected.values()) + sum(dropped.values()) + pending +
    spooled`` holds at every moment.

    Args:
        accepted: Events logged or sent through this client in this process.
        delivered: Events that ODP took.
        rejected: Events that ODP refuses or could not take, by reason.
        dropped: Events given up, by reason; ``in_doubt`` are those that were sent and
            never answered.
        pending: Events waiting in memory, or on their way.
        spooled: Events waiting on disk.
        moved: What is in memory and on disk at the moment of reading, counted once: 0.
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

    requests: int = 0
    batches: int = 0
    last_error: str | None = None
    last_success: float | None = None
    state: str = "idle"


def plus(total: Stats | None, flusher: Flusher) -> Stats:
    """Return *total* with what became of the events of *flusher*."""
    total = total or Stats()
    # The spool first: what is moved there meanwhile then still counts as pending.
    if flusher.beyond is not None:
        total = plus(total, flusher.beyond)
    counts, progress = flusher.store.counts(), flusher.progress
    moved = total.moved + counts.moved
    return replace(
        total,
        accepted=total.accepted + counts.accepted,
        delivered=total.delivered + counts.delivered,
        rejected=_summed(total.rejected, counts.rejected),
        dropped=_summed(total.dropped, counts.dropped),
        pending=total.pending + counts.pending,
        spooled=total.spooled + counts.spooled,
        moved=moved,
        replayed=total.replayed + counts.replayed,
        queue_bytes=total.queue_bytes + counts.queue_bytes,
        retried=total.retried + counts.retried,
        adjusted=_summed(total.adjusted, counts.adjusted),
        requests=total.requests + progress.requests,
        batches=total.batches + progress.batches,
        last_error=progress.last_error or total.last_error,
        last_success=progress.last_success or total.last_success,
    )


def shown(total: Stats | None, *, state: str) -> Stats:
    """Return *total* as others may read it."""
    total = total or Stats()
    # What is on its way from memory to disk is in both for a moment.
    return replace(total, pending=total.pending + total.moved, moved=0, state=state)


def _summed(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, int]:
    return {
        reason: one.get(reason, 0) + two.get(reason, 0) for reason in {**one, **two}
    }
