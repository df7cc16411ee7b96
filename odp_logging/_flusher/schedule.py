"""When a flusher has to send: what callers requested, and until when.

Callers of `Flusher` write here on any thread; the thread that sends reads it and waits
here for the next request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._runtime.lock import Wakeup

if TYPE_CHECKING:
    from .._events.delivery import Delivery

_LONGEST_WAIT_SECONDS = 10.0
# Short, because a caller waits; not 0, because the server has trouble.
_DRAIN_BACKOFF_SECONDS = 1.0
_FLUSH_BACKOFF_SECONDS = 0.25


class Drain:
    """
    The time limit of a drain, in monotonic time.

    Args:
        deadline: When the drain ends, unless events are settled before.
        limit: Latest time to which `extend` moves the deadline.
        seconds: Time for which one settled batch extends the drain.
    """

    __slots__ = ("_limit", "_seconds", "deadline")

    def __init__(self, deadline: float, limit: float, seconds: float) -> None:
        self.deadline = deadline
        self._limit = limit
        self._seconds = seconds

    def extend(self, now: float) -> None:
        """Move the deadline, because a batch was settled *now*."""
        extended = min(self._limit, now + self._seconds)
        self.deadline = max(self.deadline, extended)


class Schedule:
    """
    The requests of callers that the sending thread has not handled yet.

    Thread-safe without a lock. A signal handler may interrupt any of these methods and
    call them, too. Each attribute is assigned in one step, and a lost update only means
    that the sending thread looks once more.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all requests, in a forked child."""
        self._wakeup = Wakeup()
        self.is_batch_full = False
        """Whether the store has events for a full batch."""
        self.is_urgent = False
        """Whether a caller asked to send at once, without a flush."""
        self.is_retry = False
        """Whether the last attempt left events: they wait for no further ones."""
        self.flush_requests = 0
        self.flush_sequence = 0
        """Sequence of the newest event that a flush waits for."""
        self.drain: Drain | None = None
        """The drain under way. No thread is started meanwhile."""
        self.exit_drain: Callable[[Any], object] | None = None
        """At exit, the function that drains a flusher on the thread of a put."""

    def request(self, *, batch_full: bool, urgent: bool) -> None:
        """Request to send before the interval has passed."""
        # Never cleared here: another thread may have set it a moment ago.
        if batch_full:
            self.is_batch_full = True
        if urgent:
            self.is_urgent = True

    def request_flush(self, sequence: int) -> None:
        """Request to send the events up to *sequence* at once."""
        self.include_in_flush(sequence)
        self.flush_requests += 1

    def include_in_flush(self, sequence: int) -> None:
        """Let no event up to *sequence* wait for a full batch."""
        # Two threads may lose the larger value; `InlineDelivery` sets it again.
        self.flush_sequence = max(self.flush_sequence, sequence)

    def should_send(self) -> bool:
        """Whether the events have to be sent before the interval has passed."""
        return self.is_batch_full or self.is_urgent or self.drain is not None

    def compute_pause(
        self, delivery: Delivery, flush_requests: int, *, is_draining: bool
    ) -> float:
        """
        Return the seconds between *delivery* and the next attempt.

        A flush or a drain shortens the backoff, but not the Retry-After time.

        Args:
            flush_requests: Value of `flush_requests` before the attempt.
        """
        backoff = delivery.backoff
        if is_draining:
            backoff = min(backoff, _DRAIN_BACKOFF_SECONDS)
        if self.flush_requests != flush_requests:
            backoff = min(backoff, _FLUSH_BACKOFF_SECONDS)
        return max(backoff, delivery.retry_after)

    def wake(self) -> None:
        """Wake the thread in `wait`. Async-signal context: must not block."""
        self._wakeup.wake()

    def wait(self, seconds: float) -> None:
        """Wait for the next request, at most *seconds* (and at most 10 s)."""
        self._wakeup.wait(min(seconds, _LONGEST_WAIT_SECONDS))

    def renew_wakeup(self) -> None:
        """Replace the lock in which `wait` waits, if gevent has patched it since."""
        self._wakeup.replace_native()
