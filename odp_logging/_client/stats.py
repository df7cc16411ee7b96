"""`Stats`: how many events of a client were delivered, rejected, dropped and so on.

`OdpClient.stats` and `totals` make one snapshot over several flushers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .._flusher.durations import Durations
from .._flusher.flusher import Flusher
from .._stores.counts import NONE, Counts


class Stats(NamedTuple):
    """
    Counts of a client's events by their outcome, read at one moment.

    ``accepted == delivered + sum(rejected.values()) + sum(dropped.values()) + pending +
    spooled`` holds at every moment.

    Args:
        accepted: Events logged or sent through this client in this process, and those
            of earlier processes that this one dropped as the spool was full.
        delivered: Events that ODP accepted, or the queue, with ``queue_url``, and those
            written to an outbox, even if the application rolled back after that.
        rejected: Events that ODP rejected or could not store, by reason.
        dropped: Events discarded, by reason; ``in_doubt`` are those that were sent and
            not answered, ``outbox`` those that could not be written to an outbox.
        pending: Events in memory or in a request.
        spooled: Events waiting on disk.
        replayed: Events of earlier processes, found on disk, that ODP accepted; not
            part of the sum above.
        queue_bytes: About how many bytes are waiting, counted as ``max_queue_bytes``.
        retried: Events that were sent again, counted each time.
        adjusted: Values changed to fit ODP's limits, or left out, by kind.
        requests: HTTP requests made.
        batches: Batches of which ODP accepted events; a large one is several requests.
        last_error: A description of the last answer that left events pending.
        last_success: When ODP last accepted an event, epoch seconds.
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

    def __str__(self) -> str:
        """Return the state and the counts that are not 0, in one line."""
        counts = [
            f"{name} {_format_count(getattr(self, name))}"
            for name in _OUTCOMES
            if name in _ALWAYS_SHOWN or getattr(self, name)
        ]
        error = f"; last error: {self.last_error}" if self.last_error else ""
        return f"{self.state}: {', '.join(counts)}{error}"

    def _repr_html_(self) -> str:
        """Return a table of all fields for a notebook."""
        from html import escape

        rows = "".join(
            f"<tr><th>{name}</th><td>{escape(_format_count(value))}</td></tr>"
            for name, value in self._asdict().items()
        )
        return f"<table>{rows}</table>"


_OUTCOMES = ("accepted", "delivered", "rejected", "dropped", "pending", "spooled")
_ALWAYS_SHOWN = frozenset({"accepted", "delivered", "pending"})


def _format_count(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, Mapping):
        return str(value)
    total = sum(value.values())
    if not total:
        return "0"
    reasons = ", ".join(f"{reason} {count}" for reason, count in value.items() if count)
    return f"{total} ({reasons})"


Stats.__module__ = "odp_logging"  # a NamedTuple refuses it in the class body


class Snapshot(NamedTuple):
    """
    What the metrics show of one client, or of all of a process.

    Args:
        oldest_seconds: For how long the oldest event has been waiting.
        durations: How long the HTTP requests took.
    """

    stats: Stats
    oldest_seconds: float
    durations: Durations


def measure_oldest(flushers: Iterable[Flusher]) -> float:
    """Return for how many seconds the oldest event of *flushers* has been waiting."""
    return max(
        [
            part.get_oldest_age()
            for flusher in flushers
            for part in (flusher, flusher.spool_flusher)
            if part is not None
        ],
        default=0.0,
    )


class Total(NamedTuple):
    """The counts of several flushers, added up."""

    counts: Counts = Counts()
    requests: int = 0
    batches: int = 0
    last_error: str | None = None
    last_success: float | None = None
    durations: Durations = Durations()
    """Of the HTTP requests; not in `Stats`."""

    def add_flusher(self, flusher: Flusher) -> Total:
        """Return the sum of this and the counts of *flusher* and its spool flusher."""
        # The spool first: an event moved there meanwhile then still counts as pending.
        before = (
            self
            if flusher.spool_flusher is None
            else self.add_flusher(flusher.spool_flusher)
        )
        status = flusher.status
        return Total(
            _add_counts(before.counts, flusher.store.counts()),
            before.requests + status.requests,
            before.batches + status.batches,
            status.last_error or before.last_error,
            _find_latest(before.last_success, status.last_success),
            before.durations.merge(status.durations),
        )

    def add_total(self, other: Total) -> Total:
        """Return the sum of this and *other*, whose flushers are not in this one."""
        return Total(
            _add_counts(self.counts, other.counts),
            self.requests + other.requests,
            self.batches + other.batches,
            other.last_error or self.last_error,
            _find_latest(self.last_success, other.last_success),
            self.durations.merge(other.durations),
        )

    def to_stats(self, *, state: str) -> Stats:
        """Return a snapshot for the application."""
        fields: dict[str, Any] = self._asdict()
        counts: Counts = fields.pop("counts")
        del fields["durations"]
        fields.update(zip(counts._fields, map(_copy_count, counts)))
        # An event that is being moved from memory to disk is in both for a moment.
        fields["pending"] += fields.pop("moved")
        return Stats(**fields, state=state)


def _find_latest(first: float | None, second: float | None) -> float | None:
    return max(filter(None, (first, second)), default=None)


def _add_counts(first: Counts, second: Counts) -> Counts:
    # Every field of `Counts` is a number, or numbers by reason.
    return Counts(*map(_add_values, first, second))


def _add_values(first: Any, second: Any) -> Any:
    if isinstance(first, int):
        return first + second
    return {
        reason: first.get(reason, 0) + second.get(reason, 0)
        for reason in {**first, **second}
    }


def _copy_count(count: Any) -> Any:
    """Return a copy of *count* that the application may change."""
    return count if isinstance(count, int) else dict(count)
