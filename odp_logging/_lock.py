"""A lock that knows which thread holds it, so that nobody waits for himself."""

from __future__ import annotations

import sys
import threading
from types import TracebackType


class OwnedLock:
    """
    A plain lock, not re-entrant, that can be asked whether this thread holds it.

    A signal handler or a finaliser may run in the middle of the code that holds the
    lock, on the same thread: `mine` tells it to leave the work to whom it interrupted.
    """

    __slots__ = ("_lock", "_owner")

    def __init__(self) -> None:
        # Looked up now, so that gevent's patched lock is used where there is one.
        self._lock = threading.Lock()
        self._owner = 0

    def acquire(self, timeout: float = -1) -> bool:
        """Take the lock, waiting *timeout* seconds at most; -1 waits for it."""
        if sys.is_finalizing():
            # All other threads are frozen for good, one of them perhaps with the lock:
            # it is ours either way, and waiting for it would never end.
            timeout = 0
        if self._lock.acquire(timeout=timeout) or sys.is_finalizing():
            self._owner = threading.get_ident()
            return True
        return False

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        if self._lock.acquire(False):
            self._owner = threading.get_ident()
            return True
        return False

    def release(self) -> None:
        """Give the lock back."""
        self._owner = 0
        self._lock.release()

    def mine(self) -> bool:
        """Whether the current thread holds the lock."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
