"""The inbox of a buffer: a log call appends what it captured here, without a lock.

The handler appends, and `Buffer` moves the entries to its own queue under its lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet
from typing import Any

EventHolder = list[Any]
"""
Holds one event until a store keeps it, or counts why not; empty from then on.

A signal handler of the application, a time limit for example, may raise between any
two steps of a log call. The holder then tells whether the event is still to be counted.
"""

_LAST = (-1,)


def hand_over(holder: EventHolder, queue: deque[Any]) -> None:
    """Move the content of *holder* to the end of *queue*."""
    # One step in C: an exception of a signal handler cannot come in between.
    queue.extend(map(holder.pop, _LAST))


class Inbox:
    """
    Holds what log calls captured, and says when the buffer has to check it.

    The caller appends to `queue`, and then calls the client's `check_inbox` if
    `is_flusher_idle` is true or `queue` has at least `check_after` entries.

    Args:
        callback_threads: Identifiers of the threads that run a callback of this client.
        is_bypassed: Whether log calls put each event into the store instead.
    """

    __slots__ = (
        "callback_threads",
        "capture_failures",
        "check_after",
        "is_bypassed",
        "is_flusher_idle",
        "nearly_full",
        "queue",
    )

    def __init__(
        self,
        callback_threads: AbstractSet[int] = frozenset(),
        *,
        is_bypassed: bool = False,
    ) -> None:
        self.callback_threads = callback_threads
        self.is_bypassed = is_bypassed
        self.is_flusher_idle = True
        """Whether each event has to wake the flusher."""
        self.check_after = 1
        """Number of entries in `queue` from which a caller calls `check_inbox`."""
        self.nearly_full = False
        """Whether three quarters of the buffer are in use; callers then wait a bit."""
        self.capture_failures = 0
        """Events that could not be captured. Counted by a bare addition: a call may
        fail for lack of stack, and no other thread or signal handler runs within it."""
        self.reset()

    def reset(self) -> None:
        """Start empty, in a forked child."""
        self.queue: deque[Any] = deque()
        self.capture_failures = 0


# Thread 0 does not exist. Its entry makes callback_threads true, so the handler takes
# the general path without a check of its own in the fast path.
DISABLED_INBOX = Inbox(callback_threads=frozenset({0}))
"""Inbox of a client that needs `OdpClient._put` for each event."""
