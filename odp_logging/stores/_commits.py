"""Events on their way to disk: one commit takes along all that wait for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .._event import OdpEvent
from ._spoolfile import SpoolFile
from ._tally import Tally

MOST = 64
"""Events in one commit: as many as a process has threads that log, mostly."""

_REMEMBERED = 8
"""Several threads may have a `keep` cut off before one of them asks."""


class Waiting:
    """An event that was put, until it is on disk."""

    __slots__ = ("event", "written")

    def __init__(self, event: OdpEvent) -> None:
        self.event = event
        self.written = False


class Commits:
    """
    What was put and is not on disk yet, and the numbers of what is.

    Whoever puts an event lines it up, and then waits for the spool's lock. The first to
    get it writes, in one transaction, what all of them lined up; the others find theirs
    written. Nobody depends on a leader: if a signal handler raises and takes him away,
    the next one to get the lock writes the line, his event included. So does he whom a
    signal handler interrupted in the middle of this, for what the handler lined up.

    `line_up` may be called on any thread, all else under the spool's lock.
    """

    def __init__(self, tally: Tally) -> None:
        self.entered = 0
        """The largest number in use."""
        self.unfinished = False
        """Whether an exception of a signal handler cut off who wrote last."""
        self._tally = tally
        self._line: deque[Waiting] = deque()
        self._writing: tuple[Sequence[Waiting], int] = ((), 0)
        # Of both at most one is set, to what is being added or was added last.
        self._moving: tuple[Sequence[OdpEvent], int] | None = None
        self._moved: tuple[Sequence[OdpEvent], ...] = ()

    def line_up(self, event: OdpEvent) -> Waiting:
        """Have *event* written by the next one who commits."""
        waiting = Waiting(event)
        self._line.append(waiting)
        return waiting

    def waiting(self) -> int:
        """Return how many events are lined up."""
        return len(self._line)

    def newest(self) -> int:
        """Return the number that the last one in the line has, or will have."""
        return self.entered + len(self._line)

    def withdraw(self, waiting: Waiting) -> bool:
        """Take *waiting* out of the line; return whether it was there."""
        try:
            self._line.remove(waiting)
        except ValueError:
            return False
        self.entered += 1  # the number that it was to have is waited for, perhaps
        return True

    def clear(self) -> int:
        """Give up all that is lined up; return how many events that were."""
        lost = 0
        while self._line:  # one by one: another thread may line up more meanwhile
            self._line.popleft()
            lost += 1
        self.entered += lost
        return lost

    def write(self, file: SpoolFile) -> None:
        """
        Write what is lined up to *file*, oldest first.

        Raises:
            SpoolError: What was not written stays in its place.
        """
        line = self._line
        while line:
            # By position: a finaliser may line up more in the middle of this.
            taken = [line[place] for place in range(min(len(line), MOST))]
            self._moving = None
            self._writing = taken, self.entered + 1
            self._add(file, [waiting.event for waiting in taken])
            self._tally.accepted += len(taken)
            self._strike(taken)
            self.unfinished = False

    def move(self, file: SpoolFile, events: Sequence[OdpEvent]) -> None:
        """
        Write *events* of another store to *file*: all, or none of them.

        Raises:
            SpoolError: None was written.
        """
        self._writing = (), 0
        self._moving = events, self.entered + 1
        self._add(file, events)
        self._note_moved(events)
        self.unfinished = False

    def has_moved(self, events: Sequence[OdpEvent]) -> bool:
        """Whether one of the last `move` was of these very *events*."""
        return any([each is events for each in self._moved])

    def _add(self, file: SpoolFile, events: Sequence[OdpEvent]) -> None:
        self.unfinished = True
        file.add([event.json for event in events], self.entered + 1)
        self.entered += len(events)

    def _strike(self, taken: Sequence[Waiting]) -> None:
        for waiting in taken:
            waiting.written = True
            if waiting.event.adjusted:
                self._tally.note(waiting.event)
        while self._line and self._line[0].written:
            self._line.popleft()

    def _note_moved(self, events: Sequence[OdpEvent]) -> None:
        moved = self._tally.moved - len(events)
        known = (events, *self._moved[: _REMEMBERED - 1])
        # Not a call from here on: no signal handler can raise in between.
        self._tally.moved = moved
        self._moved = known
        self._moving = None

    def mend(self, file: SpoolFile) -> None:
        """
        Find out from *file* how far who was cut off had come.

        Raises:
            SpoolError: The file cannot be read.
        """
        file.recount()
        last = file.last()
        if self._moving is not None and last >= self._moving[1]:
            self._note_moved(self._moving[0])
        taken, first = self._writing
        if taken and last >= first:
            self._strike(taken)
        self.entered = max(self.entered, last)
