"""What the clients of this process did not deliver while a test ran."""

from __future__ import annotations

from . import _lifecycle
from ._client import flush
from ._flusher import Flusher
from .stores._counts import Counts


class Undelivered:
    """The events put since it was made that were not delivered, over all clients."""

    def __init__(self) -> None:
        self._before = {each: each.store.counts() for each in _flushers()}

    def told(self, timeout: float) -> str:
        """
        Send what is there; return what was not delivered on one line, empty for none.

        Args:
            timeout: Seconds to wait at most, for all clients together.
        """
        flush(timeout)
        found = [
            line
            for each in _flushers()
            for line in _losses(each, self._before.get(each, Counts()))
        ]
        return "; ".join(dict.fromkeys(found))

    def give_up(self, reason: str, *, known: bool = False) -> None:
        """
        Drop, counted by *reason*, what clients hold that were made since.

        Args:
            known: Whether those that were there before drop theirs as well, if they
                hold more now than they did.
        """
        for each in _flushers():
            before = self._before.get(each)
            grown = before and each.store.counts().waiting > before.waiting
            if before is None or (known and grown and each.has_destination()):
                each.give_up(reason)


def _flushers() -> list[Flusher]:
    return [each for each in _lifecycle.registered() if isinstance(each, Flusher)]


def _losses(flusher: Flusher, before: Counts) -> list[str]:
    counts = flusher.store.counts()
    lines = []
    if counts.waiting > before.waiting:
        why = flusher.progress.last_error or "they were not sent"
        lines.append(f"{counts.waiting - before.waiting} waiting: {why}")
    for fate in ("rejected", "dropped"):
        now, then = getattr(counts, fate), getattr(before, fate)
        for reason, number in now.items():
            if number > then.get(reason, 0):
                lines.append(f"{number - then.get(reason, 0)} {fate}: {reason}")
    return lines
