"""How far events have left a store, and who waits for that."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stores._base import Store

_LONGEST_WAIT = 1.0


class Passage:
    """
    Tells those who wait when events have left *store*, and were reported.

    Every method may be called on any thread.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Start afresh in a forked child, where nobody waits."""
        self._moved = threading.Condition()
        self._waiters: list[tuple[int, Callable[[], object]]] = []
        self._reporting: dict[int, int] = {}

    def passed(self) -> int:
        """Return the number up to which every event has left, and was reported."""
        return min([self._store.passed(), *self._reporting.copy().values()])

    def is_awaited(self) -> bool:
        """Whether somebody asked to be notified."""
        return bool(self._waiters)

    def begin(self) -> None:
        """Hold back, until `end`, what this thread settles and has still to report."""
        self._reporting[threading.get_ident()] = self._store.passed()

    def end(self) -> None:
        """Let go what this thread settled, and tell those who wait."""
        self._reporting.pop(threading.get_ident(), None)
        self._tell()

    def give_up(self) -> None:
        """Let go all: who still reports on another thread has nothing to tell."""
        self._reporting.clear()
        self._tell()

    def notify(self, target: int, callback: Callable[[], object]) -> None:
        """Call *callback* once every event up to *target* has left."""
        with self._moved:
            self._waiters.append((target, callback))
        self._tell_waiters()

    def forget(self, callback: Callable[[], object]) -> None:
        """Undo `notify`, for one who waits no longer."""
        with self._moved:
            self._waiters = [each for each in self._waiters if each[1] is not callback]

    def wait(
        self, target: int, deadline: float, *, going_on: Callable[[], bool]
    ) -> None:
        """
        Wait until *target* has left, or *deadline* has come.

        Args:
            going_on: Asked before each wait, a second long at most; False ends it.
        """
        try:
            with self._moved:
                while self.passed() < target:
                    left = deadline - self._clock()
                    if left <= 0 or not going_on():
                        return
                    self._moved.wait(min(left, _LONGEST_WAIT))
        except RuntimeError as error:
            # Ctrl-C while a Condition takes its lock back: it then has none to give.
            if isinstance(error.__context__, BaseException):
                raise error.__context__ from None
            raise

    def _tell(self) -> None:
        if sys.is_finalizing():
            return  # all other threads are frozen, one perhaps in the lines below
        with self._moved:
            self._moved.notify_all()
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        if not self._waiters:
            return
        passed = self.passed()
        with self._moved:
            ready = [call for target, call in self._waiters if target <= passed]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > passed]
        for call in ready:
            try:
                call()
            except RuntimeError:  # its event loop was closed meanwhile
                pass
