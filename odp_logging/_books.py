"""What became of the events of every client of this process, also of those gone."""

from __future__ import annotations

import itertools
import os
import weakref
from collections import deque
from functools import partial

from ._flusher import Flusher
from ._lock import OwnedLock
from ._stats import Stats, Total

_MANY = 64
"""Entries of flushers that are gone, from which on they are added up."""


class Books:
    """
    The flushers that are alive, and the counts of those that are not.

    A flusher that goes says so itself, perhaps in a finaliser amid any other code: that
    takes no lock. It is put among the gone first, and taken from the living then; they
    are read the other way round. So nobody is missed, and who is in both is known by
    his number. Entries of other processes, before a fork, do not count.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = OwnedLock()
        self._numbers = itertools.count()
        self._living: dict[int, weakref.ref[Flusher]] = {}
        self._gone: deque[tuple[int, int, Total]] = deque()
        self._past = (self._pid, Total())

    def enter(self, flusher: Flusher) -> None:
        """Count *flusher* from now on."""
        number = next(self._numbers)
        flusher.on_gone = partial(self._leave, number)
        self._living[number] = weakref.ref(flusher)
        if len(self._gone) > _MANY:
            self._own_lock().run(self._add_up)

    def _leave(self, number: int, flusher: Flusher) -> None:
        self._gone.append((os.getpid(), number, Total().plus(flusher)))
        self._living.pop(number, None)

    def stats(self) -> Stats:
        """Return what all of them did in this process; the state is the worst."""
        states = {"idle"}
        with self._own_lock().section():
            living = [(number, ref()) for number, ref in list(self._living.items())]
            gone = list(self._gone)
            total = self._sum(gone)
            counted = {number for _, number, _ in gone}
            for number, flusher in living:
                if flusher is not None and number not in counted:
                    flusher.after_fork_once()
                    total = total.plus(flusher)
                    states |= _states(flusher)
        return total.shown(state=next(each for each in _WORST if each in states))

    def _add_up(self) -> None:
        # Not the latest: they may be among the living for a moment still.
        count = max(0, len(self._gone) - _MANY // 2)
        self._past = os.getpid(), self._sum([*self._gone][:count])
        for _ in range(count):
            self._gone.popleft()

    def _sum(self, gone: list[tuple[int, int, Total]]) -> Total:
        pid, past = self._past
        total = past if pid == os.getpid() else Total()
        for pid, _, each in gone:
            if pid == os.getpid():
                total = total.and_those(each)
        return total

    def _own_lock(self) -> OwnedLock:
        if self._pid != os.getpid():  # the parent's may be held by a thread of its
            self._lock, self._pid = OwnedLock(), os.getpid()
        return self._lock


_WORST = ("misconfigured", "retrying", "unconfigured", "sending", "idle")


def _states(flusher: Flusher) -> set[str]:
    if not flusher.has_destination():
        # Nobody misses a destination for nothing: the client may be disabled.
        return set() if flusher.is_empty() else {"unconfigured"}
    beyond = flusher.beyond
    return {flusher.progress.state, *([beyond.progress.state] if beyond else ())}


_books = Books()
enter = _books.enter
"""Count a flusher."""

stats_of_all = _books.stats
"""Return the stats of every client that this process has had, added up."""
