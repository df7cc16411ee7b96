"""Group commit: one transaction writes the events of all waiting threads.

`Spool.put` enqueues here; the thread that gets the spool's lock writes to the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..._events.event import OdpEvent
from ..counts import Counters
from ..inbox import EventHolder, hand_over
from .file import SpoolFile

MAX_EVENTS_PER_COMMIT = 64
"""One commit usually has one event for each thread that logs."""

_MAX_RECENT_MOVES = 8
"""Several threads may have a `take_over` interrupted before one calls `has_moved`."""


PendingWrite = list[OdpEvent]
"""Holds one event that was put; empty once the event is known to be on disk."""


class GroupCommit:
    """
    Queues events until they are on disk, and numbers them.

    Writers enqueue their event, then acquire the spool's lock. The first one commits
    all enqueued events in one transaction; the others find theirs written. There is no
    fixed leader: if a signal handler's exception interrupts it, the next writer commits
    the rest. Events that a signal handler enqueues are committed by the interrupted
    writer.

    `enqueue` is thread-safe. For all else the caller holds the spool's lock.
    """

    def __init__(self, counters: Counters) -> None:
        self.last_sequence = 0
        """The largest sequence in use. The row of an event has it as its number."""
        self.counts_dirty = False
        """Whether a signal handler's exception may have interrupted the last write."""
        self._counters = counters
        self._queue: deque[PendingWrite] = deque()
        self._last_write: tuple[Sequence[PendingWrite], int] = ((), 0)
        # At most one of `_last_write` and `_last_move` is set: to what is being written
        # or was written last.
        self._last_move: tuple[Sequence[OdpEvent], int] | None = None
        self._moved: tuple[Sequence[OdpEvent], ...] = ()

    def enqueue(
        self, event: OdpEvent, holder: EventHolder | None = None
    ) -> PendingWrite:
        """Queue *event* for the next commit; empties *holder*. Thread-safe."""
        pending = [event]
        holder = holder or [None]
        holder[0] = pending
        hand_over(holder, self._queue)
        return pending

    def count_pending(self) -> int:
        """Return how many events are queued."""
        return len(self._queue)

    def get_queued_sequence(self) -> int:
        """Return the number that the last queued event has or will have."""
        return self.last_sequence + len(self._queue)

    def cancel(self, pending: PendingWrite) -> bool:
        """Remove *pending* from the queue; return whether it was there."""
        try:
            self._queue.remove(pending)
        except ValueError:
            return False
        self.last_sequence += 1  # flush() may wait for the number it would have had
        return True

    def clear(self) -> int:
        """Empty the queue; return how many events were in it."""
        lost = 0
        while self._queue:  # one by one: another thread may enqueue meanwhile
            self._queue.popleft()
            lost += 1
        self.last_sequence += lost
        return lost

    def write(self, file: SpoolFile) -> None:
        """
        Write the queued events to *file*, the oldest first.

        Raises:
            SpoolError: Events that were not written stay in the queue.
        """
        queue = self._queue
        while queue:
            if not queue[0]:  # written before an interruption
                queue.popleft()
                continue
            group = [queue[0]]
            bodies = [group[0][0].json]
            # By index: a finalizer may enqueue during iteration, which would raise.
            for index in range(1, min(len(queue), MAX_EVENTS_PER_COMMIT)):
                group.append(queue[index])
                bodies.append(queue[index][0].json)
            self._last_move = None
            self._last_write = group, self.last_sequence + 1
            self._append(file, bodies)
            self._counters.accepted += len(group)
            self._mark_written(group)
            self.counts_dirty = False

    def move(self, file: SpoolFile, events: Sequence[OdpEvent]) -> None:
        """
        Write *events* of another store to *file* in one transaction.

        Raises:
            SpoolError: None was written.
        """
        self._last_write = (), 0
        self._last_move = events, self.last_sequence + 1
        self._append(file, [event.json for event in events])
        self._account_moved(events)
        self.counts_dirty = False

    def has_moved(self, events: Sequence[OdpEvent]) -> bool:
        """Whether one of the last `move` calls wrote this very sequence of *events*."""
        return any([moved is events for moved in self._moved])

    def _append(self, file: SpoolFile, bodies: Sequence[bytes]) -> None:
        # Before the commit: an exception of a signal handler may follow it at once.
        self.counts_dirty = True
        file.add(bodies, self.last_sequence + 1)
        self.last_sequence += len(bodies)

    def _mark_written(self, group: Sequence[PendingWrite]) -> None:
        for pending in group:
            if pending:  # else it was marked before an interruption
                event = pending.pop()
                if event.adjusted:
                    self._counters.count_adjusted(event)
        # By its first entries, not by count: after an interruption some were removed.
        queue = self._queue
        while queue and not queue[0]:
            queue.popleft()

    def _account_moved(self, events: Sequence[OdpEvent]) -> None:
        moved = self._counters.moved - len(events)
        recent = (events, *self._moved[: _MAX_RECENT_MOVES - 1])
        # No calls below: CPython runs signal handlers only at calls and loop jumps, so
        # these assignments cannot be interrupted.
        self._counters.moved = moved
        self._moved = recent
        self._last_move = None

    def recover_counts(self, file: SpoolFile) -> None:
        """
        Read from *file* which events an interrupted writer has committed.

        Raises:
            SpoolError: The file cannot be read.
        """
        file.read_counts()
        last = file.find_last_number()
        if self._last_move is not None and last >= self._last_move[1]:
            self._account_moved(self._last_move[0])
        group, first = self._last_write
        if group and last >= first:
            self._mark_written(group)
        self.last_sequence = max(self.last_sequence, last)
