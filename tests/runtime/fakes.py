"""A stand-in for flushers in the tests of exit and forks."""

from __future__ import annotations

import threading
import time


class FakeFlusher:
    """A flusher that drains until its deadline."""

    shutdown_limit = 60.0
    last_settled_at = 0.0

    def __init__(self, shutdown_timeout: float, *, done: bool = False) -> None:
        self.shutdown_timeout = shutdown_timeout
        self.deadlines: list[float] = []
        self.done = done

    def start_drain(self, deadline: float, limit: float = 0.0) -> None:
        self.deadlines.append(deadline)

    def end_drain(self, deadline: float, limit: float = 0.0) -> bool:
        self.deadlines.append(deadline)
        # Never set: used only to wait.
        threading.Event().wait(max(0.0, deadline - time.monotonic()))
        return False

    def is_done(self) -> bool:
        return self.done
