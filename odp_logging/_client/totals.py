"""Stats over all clients of this process, including those that are gone.

`pipeline` registers each flusher; `metrics` reads the sum.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections import deque
from functools import partial

from .._flusher.flusher import Flusher
from .._runtime.lock import OwnedLock
from .stats import Snapshot, Stats, Total, measure_oldest

_MERGE_AFTER = 64
"""Number of flushers gone from which on their counts are merged into one entry."""


class ProcessTotals:
    """
    The flushers that are alive, and the counts of those that are gone.

    Thread-safe. A flusher reports its end itself, possibly in a finalizer that
    interrupts any other code, so this takes no lock. The flusher is first added to the
    gone and then removed from those alive; reading goes in the opposite order. So no
    flusher is missed, and one that is in both is recognized by its number. Entries of
    other processes, from before a fork, do not count.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = OwnedLock()
        self._serial_counter = itertools.count()
        self._alive: dict[int, weakref.ref[Flusher]] = {}
        self._gone: deque[tuple[int, int, Total]] = deque()
        self._merged = (self._pid, Total())

    def register_flusher(self, flusher: Flusher) -> None:
        """Include *flusher* in the totals from now on."""
        number = next(self._serial_counter)
        # Not weakref.finalize: its callback no longer has the flusher, whose counts it
        # needs.
        flusher.on_finalized = partial(self._record_gone, number)
        self._alive[number] = weakref.ref(flusher)
        if len(self._gone) > _MERGE_AFTER:
            self._get_lock().run(self._merge_gone)

    def _record_gone(self, number: int, flusher: Flusher) -> None:
        self._gone.append((os.getpid(), number, Total().add_flusher(flusher)))
        self._alive.pop(number, None)

    def read_stats(self) -> Stats:
        """Return the sum over all flushers of this process, with the worst state."""
        _, total, state = self._get_lock().hold(self._sum_up)
        return total.to_stats(state=state)

    def read_snapshot(self) -> Snapshot:
        """Return what the metrics show, over all flushers of this process."""
        flushers, total, state = self._get_lock().hold(self._sum_up)
        stats = total.to_stats(state=state)
        return Snapshot(stats, measure_oldest(flushers), total.durations)

    def _sum_up(self) -> tuple[list[Flusher], Total, str]:
        """Return the flushers alive, the sum with those gone, and the worst state."""
        states = {"idle"}
        alive = [(number, ref()) for number, ref in list(self._alive.items())]
        gone = list(self._gone)
        total = self._sum(gone)
        seen = {number for _, number, _ in gone}
        flushers = []
        for number, flusher in alive:
            if flusher is not None and number not in seen:
                flusher.after_fork_once()
                total = total.add_flusher(flusher)
                states |= _read_states(flusher)
                flushers.append(flusher)
        state = next(state for state in _STATES_BY_SEVERITY if state in states)
        return flushers, total, state

    def _merge_gone(self) -> None:
        # Not the latest entries: for a moment, they may still be among those alive too.
        count = max(0, len(self._gone) - _MERGE_AFTER // 2)
        self._merged = os.getpid(), self._sum([*self._gone][:count])
        for _ in range(count):
            self._gone.popleft()

    def _sum(self, gone: list[tuple[int, int, Total]]) -> Total:
        pid, merged = self._merged
        total = merged if pid == os.getpid() else Total()
        for pid, _, counts in gone:
            if pid == os.getpid():
                total = total.add_total(counts)
        return total

    def _get_lock(self) -> OwnedLock:
        if self._pid != os.getpid():  # the parent's may be held by another thread
            self._lock, self._pid = OwnedLock(), os.getpid()
        return self._lock


_STATES_BY_SEVERITY = ("misconfigured", "retrying", "unconfigured", "sending", "idle")


def _read_states(flusher: Flusher) -> set[str]:
    if not flusher.has_destination():
        # Without events, a destination is not missed: the client may be disabled.
        return set() if flusher.is_empty() else {"unconfigured"}
    spool_flusher = flusher.spool_flusher
    return {
        flusher.status.state,
        *([spool_flusher.status.state] if spool_flusher else ()),
    }


_totals = ProcessTotals()
register_flusher = _totals.register_flusher
"""Include a flusher in the totals of this process."""
read_snapshot = _totals.read_snapshot
"""Return what the metrics show of this process."""


def stats() -> Stats:
    """
    Return the sum of the stats of every client that this process has had.

    The state is the worst of those of the present clients. Thread-safe.
    """
    return _totals.read_stats()


stats.__module__ = "odp_logging"
