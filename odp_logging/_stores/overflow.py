"""What becomes of events that a `Buffer` cannot hold: moved to a spool, or dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._events.batch import Invalid, group_by_reason
from .._events.ids import Identified
from .._runtime.lock import monotonic
from .counts import add_unbuilt
from .pending import PendingEvents, build_event

if TYPE_CHECKING:
    from .._events.batch import Dropped
    from .._events.event import OdpEvent
    from .base import OverflowStore
    from .counts import Counters

_MOVE_SECONDS = 5.0
"""Time limit for building events that are moved to disk: before_send may be slow."""
_MAX_DROPPED_BYTES = 16 * 1024 * 1024
# One call of `on_drop` gets at most as many; the others follow in the next one.
_MAX_RETURNED = 1000


class Spill:
    """
    Moves events of a buffer to *store*, counted as moved. Caller holds the lock.

    Args:
        build: Builds the event from what was put; see `Buffer`.
    """

    def __init__(
        self, store: OverflowStore, build: Callable[..., OdpEvent | None]
    ) -> None:
        self._store = store
        self._build = build
        self._in_progress: _Move | None = None

    def is_available(self) -> bool:
        """Whether the store is likely to take over events."""
        return self._store.is_available()

    def move_oldest(
        self, pending: PendingEvents, counters: Counters, count: int
    ) -> bool:
        """Move the oldest *count* events, since sending is too slow."""
        if not self._store.is_available():
            return False
        oldest = list(islice(pending.waiting, count))
        built = [build_event(self._build, logged) for logged in oldest]
        events = [result for result in built if isinstance(result, Identified)]
        # Before the write: `recover` asks the store whether it was completed.
        self._in_progress = built, events
        if events and not self._store.take_over(events):
            self._in_progress = None
            return False
        self._count_moved(pending, counters, built, len(events))
        return True

    def recover(self, pending: PendingEvents, counters: Counters) -> None:
        """Complete a move that an exception of a signal handler cut off."""
        if self._in_progress is None:
            return
        built, events = self._in_progress
        if events and self._store.has_taken_over(events):
            self._count_moved(pending, counters, built, len(events))
        self._in_progress = None

    def _count_moved(
        self,
        pending: PendingEvents,
        counters: Counters,
        built: Sequence[OdpEvent | Invalid | None],
        moved: int,
    ) -> None:
        waiting = deque(islice(pending.waiting, len(built), None))
        size = sum([logged.size for logged in islice(pending.waiting, len(built))])
        rejected, dropped = dict(counters.rejected), dict(counters.dropped)
        for result in built:
            if not isinstance(result, Identified):
                add_unbuilt(result, rejected, dropped)
        # No calls below: CPython runs signal handlers only at calls and loop jumps, so
        # these assignments cannot be interrupted.
        self._in_progress = None
        pending.waiting = waiting
        pending.size -= size
        counters.moved += moved
        counters.rejected = rejected
        counters.dropped = dropped

    def move_all(self, pending: PendingEvents, counters: Counters) -> None:
        """Move all events, if the store is available."""
        if not self._store.is_available():
            return
        until = monotonic() + _MOVE_SECONDS
        waiting = deque(pending.waiting)
        built: list[OdpEvent] = []
        while waiting and monotonic() < until:
            result = build_event(self._build, waiting.popleft())
            if isinstance(result, Identified):
                built.append(result)
            else:
                counters.count_unbuilt(result)
        events = [*pending.unsettled, *built]
        if not events or self._store.take_over(events):
            counters.moved += len(events)
            pending.clear_unsettled()
        else:
            waiting.extendleft(reversed(built))
        pending.waiting = waiting


_Move = tuple[Sequence["OdpEvent | Invalid | None"], Sequence["OdpEvent"]]
"""What was built from the oldest entries, and the events among that."""


class DroppedEvents:
    """
    Counts dropped events, and keeps them for ``on_drop``. Caller holds the lock.

    Args:
        max_bytes: Bound of what is kept, 16 MiB at most; 0 keeps none.
    """

    def __init__(self, counters: Counters, max_bytes: int) -> None:
        self._counters = counters
        self._max_bytes = min(max_bytes, _MAX_DROPPED_BYTES)
        self._bytes = 0
        self._dropped: deque[tuple[Any, str]] = deque()

    def add(self, logged: Any, reason: str) -> None:
        """Count *logged* and keep it; remove the oldest ones beyond the bound."""
        self._counters.drop(reason)
        if not self._max_bytes:
            return
        self._dropped.append((logged, reason))
        self._bytes += logged.size
        while self._dropped and self._bytes > self._max_bytes:
            self._bytes -= self._dropped.popleft()[0].size

    def pop(self) -> list[tuple[Any, str]]:
        """Remove and return the oldest ones, 1,000 at most, with their reasons."""
        dropped = [
            self._dropped.popleft()
            for _ in range(min(_MAX_RETURNED, len(self._dropped)))
        ]
        self._bytes -= sum([logged.size for logged, _ in dropped])
        return dropped


def group_dropped(
    dropped: Sequence[tuple[Any, str]], show: Callable[[Any], OdpEvent | None]
) -> list[Dropped]:
    """Return the *dropped* events by reason; *show* builds those not built yet."""
    built: list[tuple[OdpEvent, str]] = []
    for logged, reason in dropped:
        try:
            # An event has its JSON; a capture was dropped before it was built.
            event = logged if hasattr(logged, "json") else show(logged)
        except Exception:  # it would have been rejected: no event to show
            continue
        if event is not None:
            built.append((event, reason))
    return group_by_reason(built)
