"""The events that this process did not deliver while a test ran, for reports."""

from __future__ import annotations

from collections.abc import Collection
from weakref import WeakKeyDictionary

from .._client.flushing import flush
from .._flusher.flusher import Flusher
from .._runtime.shutdown import get_registered
from .._stores.counts import Counts


class UndeliveredEvents:
    """The undelivered events of all clients, counted since this object was created."""

    def __init__(self) -> None:
        self._before = {flusher: flusher.store.counts() for flusher in _list_flushers()}

    def format_report(self, timeout: float) -> str:
        """
        Flush all clients; return a line with the undelivered events, "" for none.

        Args:
            timeout: Seconds to wait at most, for all clients together.
        """
        flush(timeout)
        losses = [
            loss
            for flusher in _list_flushers()
            for loss in _format_losses(flusher, self._before.get(flusher, Counts()))
        ]
        # Each line once: several clients of a test fail for the same reason.
        return "; ".join(dict.fromkeys(losses))

    def drop(self, reason: str, *, include_known: bool = False) -> None:
        """
        Drop the events of clients that were created since, counted by *reason*.

        Args:
            include_known: Also drop those of earlier clients that hold more events now
                than before.
        """
        for flusher in _list_flushers():
            before = self._before.get(flusher)
            has_more = before and flusher.store.counts().waiting > before.waiting
            is_included = include_known and has_more and flusher.has_destination()
            if before is None or is_included:
                flusher.abandon(reason)


def count_without_destination() -> WeakKeyDictionary[Flusher, int]:
    """Return how many events wait because no key is known, by flusher."""
    return WeakKeyDictionary(
        {
            flusher: flusher.store.counts().waiting
            for flusher in _list_flushers()
            if not flusher.has_destination()
        }
    )


def drop_without_destination(reason: str, *, kept: Collection[Flusher]) -> None:
    """
    Drop the events that wait in memory because no key is known, counted by *reason*.

    Args:
        kept: Flushers whose events are not dropped.
    """
    for flusher, count in count_without_destination().items():
        if count and flusher not in kept and not flusher.count_spooled():
            flusher.abandon(reason)


def _list_flushers() -> list[Flusher]:
    registered = get_registered()
    return [flusher for flusher in registered if isinstance(flusher, Flusher)]


def _format_losses(flusher: Flusher, before: Counts) -> list[str]:
    counts = flusher.store.counts()
    losses = []
    if counts.waiting > before.waiting:
        cause = flusher.status.last_error or "they were not sent"
        losses.append(f"{counts.waiting - before.waiting} waiting: {cause}")
    for outcome in ("rejected", "dropped"):
        previous = getattr(before, outcome)
        for reason, count in getattr(counts, outcome).items():
            if count > previous.get(reason, 0):
                losses.append(f"{count - previous.get(reason, 0)} {outcome}: {reason}")
    return losses
