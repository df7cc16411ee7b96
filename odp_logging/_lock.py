"""A lock that knows which thread holds it, so that nobody waits for himself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


class OwnedLock:
    """
    A lock for short sections that can be asked whether this thread holds it.

    A signal handler or a finaliser may run in the middle of a section, on the same
    thread: `mine` tells it to leave the work to whom it interrupted. And it may raise
    there, as a time limit or Ctrl-C does: the lock is given back all the same.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Looked up now, so that gevent's patched lock is used where there is one. One
        # made in C: between its __enter__ and the block no signal handler can run.
        self._lock: Any = threading.RLock()

    def section(self) -> AbstractContextManager[Any]:
        """Return what holds the lock for a ``with`` block; waits for it."""
        if sys.is_finalizing() and not self._lock.acquire(blocking=False):
            # All other threads are frozen for good, one of them with the lock: what it
            # guards is ours alone, and waiting for it would never end.
            return nullcontext()
        if sys.is_finalizing():
            self._lock.release()
        lock: AbstractContextManager[Any] = self._lock
        return lock

    def run(self, work: Callable[[], T], timeout: float = 0.0) -> T | None:
        """
        Return what *work* returns, called with the lock held.

        None if it cannot be had within *timeout* seconds (-1 waits for it), or if this
        thread holds it already.
        """
        if self.mine():
            return None
        try:
            try:
                if self.acquire(timeout):
                    return work()
            finally:
                self.release()
        finally:
            # Once more, for an exception that a signal handler raised in between.
            self.release()
        return None

    def acquire(self, timeout: float) -> bool:
        """Take the lock within *timeout* seconds; -1 waits for it."""
        if timeout == 0 or sys.is_finalizing():
            return bool(self._lock.acquire(blocking=False)) or sys.is_finalizing()
        return bool(self._lock.acquire(timeout=timeout))

    def release(self) -> None:
        """Give the lock back, if this thread holds it."""
        if self.mine():
            self._lock.release()

    def mine(self) -> bool:
        """Whether the current thread holds the lock."""
        return bool(self._lock._is_owned())
