"""Tracks how many events have been settled and wakes callers waiting in flush().

The flusher reports what it settles here. `Flusher.flush` and `OdpClient.aflush` wait
here for a sequence number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._runtime.lock import Waiters, monotonic

if TYPE_CHECKING:
    from .._stores.base import Store


class Progress:
    """
    Wakes waiting callers when events of *store* are settled and reported.

    Thread-safe.

    Args:
        clock: Returns monotonic time in seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Remove all waiters, which exist in the parent process only."""
        self._settled = Waiters()
        self._callbacks: list[tuple[int, Callable[[], object]]] = []
        # By thread: the sequence up to which events were settled before it began.
        self._reporting: dict[int, int] = {}
        self._last_known = 0

    def get_settled_sequence(self) -> int:
        """Return the sequence up to which all events are settled and reported."""
        settled = min(
            [self._store.get_settled_sequence(), *self._reporting.copy().values()]
        )
        self._last_known = settled
        return settled

    def has_callbacks(self) -> bool:
        """Whether a callback waits for events to be settled."""
        return bool(self._callbacks)

    def start_reporting(self) -> None:
        """
        Do not count what this thread settles until `end_reporting`.

        A caller of `flush` then returns only after the callbacks of the application
        have run.
        """
        # The last known value, without a question to the store and its lock. It may be
        # too low; waiting callers then wait for the end of this report, as for the
        # events of its batch.
        self._reporting[threading.get_ident()] = self._last_known

    def end_reporting(self) -> None:
        """Count what this thread settled, and wake the waiting callers."""
        self._reporting.pop(threading.get_ident(), None)
        self._wake_waiters()

    def end_all_reporting(self) -> None:
        """Count what all threads settled, for events that are abandoned."""
        self._reporting.clear()
        self._wake_waiters()

    def notify(self, sequence: int, callback: Callable[[], object]) -> None:
        """Call *callback* once when all events up to *sequence* are settled."""
        self._callbacks.append((sequence, callback))
        self._run_callbacks()

    def cancel(self, callback: Callable[[], object]) -> None:
        """Remove *callback*, which `notify` added."""
        for entry in list(self._callbacks):
            if entry[1] is callback:
                self._remove(entry)

    def _remove(self, entry: tuple[int, Callable[[], object]]) -> bool:
        """Remove *entry*; return False if another thread has removed it."""
        try:
            self._callbacks.remove(entry)
        except ValueError:
            return False
        return True

    def wait(
        self, sequence: int, deadline: float, *, keep_waiting: Callable[[], bool]
    ) -> None:
        """
        Wait until all events up to *sequence* are settled, or until *deadline*.

        Args:
            keep_waiting: Called before each wait of at most a second; False ends the
                wait.
        """
        self._settled.wait(
            lambda: self.get_settled_sequence() >= sequence,
            lambda: deadline - self._clock() if keep_waiting() else 0.0,
        )

    def _wake_waiters(self) -> None:
        self._settled.wake()
        self._run_callbacks()

    def _run_callbacks(self) -> None:
        if not self._callbacks:
            return
        settled = self.get_settled_sequence()
        for entry in list(self._callbacks):
            sequence, callback = entry
            if sequence > settled or not self._remove(entry):
                continue
            try:
                callback()
            except RuntimeError:  # the callback's event loop was closed meanwhile
                pass
