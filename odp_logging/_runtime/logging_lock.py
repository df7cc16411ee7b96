"""Tell whether the lock of the `logging` module is held, acquire it, and wait for it.

``logging._lock`` guards the registry of loggers and handlers. It is private, as is the
method that tells its owner. Where either is missing, the lock counts as free.
"""

from __future__ import annotations

import logging
from typing import Any

_CONFIGURATION_WAIT_SECONDS = 60.0
"""Longest wait of the sending thread for dictConfig; most calls take milliseconds."""


def owns_logging_lock() -> bool:
    """
    Return whether the current thread holds the lock.

    dictConfig holds it while it flushes and closes the old handlers. Waiting here for a
    thread that logs, as urllib3 does, would deadlock.
    """
    return is_lock_owned(_find_lock())


def wait_for_configuration() -> None:
    """
    Wait, before an import, until no other thread configures logging.

    An imported module creates loggers, which needs the lock. If the thread that
    configures logging needs the same module, the two threads would deadlock.
    """
    if acquire_logging_lock(_CONFIGURATION_WAIT_SECONDS):
        release_logging_lock()


def acquire_logging_lock(timeout: float) -> bool:
    """Acquire the lock within *timeout* seconds; True if there is none."""
    lock = _find_lock()
    return lock is None or bool(lock.acquire(timeout=timeout))


def release_logging_lock() -> None:
    """Release the lock, if there is one."""
    lock = _find_lock()
    if lock is not None:
        lock.release()


def is_lock_owned(lock: object) -> bool:
    """Return whether the current thread holds *lock*; False if it cannot tell."""
    is_owned = getattr(lock, "_is_owned", None)
    return bool(is_owned is not None and is_owned())


def _find_lock() -> Any:
    return getattr(logging, "_lock", None)
