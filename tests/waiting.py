"""Waiting for what is about to be true, and no longer than that."""

from __future__ import annotations

import threading
import time
from typing import Any

PATIENCE = 20.0


def until(true: Any, what: str, seconds: float = PATIENCE) -> None:
    """Wait until *true* returns something that is; fail after *seconds*."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        pause.wait(0.02)
