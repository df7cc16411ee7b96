"""Waiting for conditions, and holding a lock while something is tried."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from odp_logging._runtime.lock import OwnedLock

PATIENCE = 20.0


def until(
    condition: Callable[[], object],
    what: str = "a condition",
    seconds: float = PATIENCE,
) -> None:
    """Wait until *condition* returns a true value; fail after *seconds*."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        pause.wait(0.01)


@contextmanager
def held(lock: OwnedLock) -> Iterator[None]:
    """Hold *lock* in the block, as a thread that a signal handler interrupted does."""
    assert lock.acquire(10)
    try:
        yield
    finally:
        lock.release()
