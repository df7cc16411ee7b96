"""The events that a spool has dropped, kept for ``on_drop``.

A module of its own, because the limit, the own file and the scan all drop events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..._events.batch import Dropped, group_by_reason
from ..._events.event import OdpEvent, parse_event
from ..counts import Counters
from .schema import Row

MAX_DROPPED_KEPT = 10_000
"""Limits memory: dropped events are kept in memory until `on_drop` is called."""


class DroppedEvents:
    """
    Counts dropped events, and keeps the last ones. Caller holds the spool's lock.

    Args:
        is_kept: Whether `pop_groups` will be called.
    """

    def __init__(self, counters: Counters, *, is_kept: bool) -> None:
        self.is_kept = is_kept
        self._counters = counters
        self._events: deque[tuple[OdpEvent, str]] = deque(maxlen=MAX_DROPPED_KEPT)

    def drop(self, rows: Sequence[Row], reason: str, *, is_own: bool) -> None:
        """Count *rows* as dropped, and keep them; *is_own* if this process put them."""
        if not is_own:
            self._counters.accepted += len(rows)  # taken over from another process
        self._counters.drop(reason, len(rows))
        self.keep(rows, reason)

    def keep(self, rows: Sequence[Row], reason: str) -> None:
        """Keep the last of *rows*, which are counted elsewhere."""
        if not self.is_kept:
            return
        # Parsed here, because the rows are deleted from the file.
        for row in rows[-MAX_DROPPED_KEPT:]:
            try:
                self._events.append((parse_event(row.body), reason))
            except ValueError:
                pass  # damaged: no event to show

    def pop_groups(self) -> list[Dropped]:
        """Return the events kept since the last call, grouped by reason."""
        dropped = [self._events.popleft() for _ in range(len(self._events))]
        return group_by_reason(dropped)
