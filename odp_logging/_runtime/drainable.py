"""Define what exit, forks and signals need of a flusher.

The registry holds flushers only as `Drainable`, so this package imports no other one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ForkHooks(Protocol):
    """What runs around a fork; `fork` tells in which order."""

    def before_fork(self, deadline: float) -> None:
        """Reach a state in which a fork is safe, or stop waiting at *deadline*."""

    def after_fork_in_parent(self) -> None:
        """Resume work in the parent."""

    def after_fork(self) -> None:
        """Reset all state in a forked child."""


class Drainable(ForkHooks, Protocol):
    """
    A flusher, as the end of the process sees it. All times are monotonic seconds.

    Attributes:
        shutdown_timeout: Seconds the exit may wait for it without progress.
        shutdown_limit: Seconds the exit may wait for it in total.
    """

    shutdown_timeout: float
    shutdown_limit: float

    @property
    def last_settled_at(self) -> float:
        """Time at which events were settled last."""

    def start_drain(self, deadline: float, limit: float = 0.0) -> None:
        """Start to send everything; progress extends *deadline*, up to *limit*."""

    def end_drain(self, deadline: float, limit: float = 0.0) -> bool:
        """Wait until everything is sent; progress extends *deadline*, up to *limit*."""

    def abandon(self, reason: str, deadline: float = 0.0) -> int:
        """Drop the remaining events, between two requests if *deadline* allows."""

    def use_inline_delivery(self, drain: Callable[[Drainable], object]) -> None:
        """Call *drain* after each event instead of waking a thread."""

    def count_spooled(self) -> int:
        """Return the number of events on disk."""

    def get_failure(self) -> str:
        """Return why the last attempt left events; empty if it left none."""

    def has_destination(self) -> bool:
        """Return whether a host and a key are known."""

    def is_in_current_thread(self) -> bool:
        """Return whether the current thread is running code of the flusher."""

    def is_done(self) -> bool:
        """Return whether the flusher is released and has nothing left to send."""
