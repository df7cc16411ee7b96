"""What a caller of a flusher does on its own thread: it waits, or sends.

A log call waits while the buffer is nearly full. A caller sends where the flusher has
no thread: with ``background=False``, when no thread can be started, and at the exit of
the process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .._runtime.lock import Wakeup

if TYPE_CHECKING:
    from .._stores.inbox import Inbox
    from .dispatcher import Dispatcher
    from .worker import Worker

_REPORT_WAIT_SECONDS = 1.0
"""Longest wait for another thread to report what it sent, before the next step."""

_BACKPRESSURE_POLL_SECONDS = 0.005
_BACKPRESSURE_POLL_COUNT = 10
"""A log call that finds the buffer nearly full waits for at most 50 ms. It polls, since
a notification needs a lock, and a signal or a fork may come while that is held."""

# Two, because a step that only closes an empty file of an ended process has none.
_MAX_EMPTY_COUNT = 2
"""Steps without an event after which nothing of earlier processes is left."""


class InlineDelivery:
    """
    Makes the steps of *dispatcher* on the calling thread, unless *worker* makes them.

    Args:
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self, dispatcher: Dispatcher, worker: Worker, clock: Callable[[], float]
    ) -> None:
        self._dispatcher = dispatcher
        self._worker = worker
        self._schedule = dispatcher.schedule
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget the backoff, in a forked child."""
        self._retry_at = 0.0

    def wait_for_capacity(self, inbox: Inbox) -> None:
        """
        Wait up to 50 ms while *inbox* is nearly full and the flusher progresses.

        A thread that logs in a tight loop holds the GIL almost all the time. Without
        this wait the flusher would send almost nothing until the loop ends.
        """
        for _ in range(_BACKPRESSURE_POLL_COUNT):
            if not inbox.nearly_full or not self._worker.has_progress():
                return
            self._dispatcher.schedule.wake()  # its thread may wait out a burst
            Wakeup().wait(_BACKPRESSURE_POLL_SECONDS)

    def try_once(self) -> None:
        """Make one attempt, unless the backoff of the last one has not passed."""
        if self._clock() < self._retry_at:
            return
        delivery = self._dispatcher.step()
        if delivery is None:
            return
        pause = max(delivery.backoff, delivery.retry_after)
        self._retry_at = self._clock() + pause

    def wait_until_settled(self, sequence: int, deadline: float) -> bool:
        """
        Wait until *sequence* is settled; send on this thread if no other does.

        Returns:
            Whether it is settled by *deadline*.
        """
        progress = self._dispatcher.progress
        if self._worker.has_thread():
            keep_waiting = partial(self._keep_waiting, sequence)
            progress.wait(sequence, deadline, keep_waiting=keep_waiting)
        if progress.get_settled_sequence() < sequence:
            self._deliver(sequence, deadline)
        return progress.get_settled_sequence() >= sequence

    def _keep_waiting(self, sequence: int) -> bool:
        if self._schedule.flush_sequence < sequence:
            # Another thread set it at the same time.
            self._schedule.include_in_flush(sequence)
            self._schedule.wake()
        # Checked at each wait: the thread may end for an unexpected reason.
        return self._worker.has_thread()

    def drain(self, sequence: int, deadline: float) -> None:
        """
        Wait until *sequence* is settled, then send what earlier processes left.

        Progress extends *deadline*, see `Drain`.
        """
        until = deadline
        while not self.wait_until_settled(sequence, until):
            drain = self._schedule.drain
            if drain is None or drain.deadline <= until:
                break
            until = drain.deadline  # progress extended it
        self._replay(deadline)

    def _deliver(self, sequence: int, deadline: float) -> None:
        """Make steps until *sequence* is settled, or until *deadline*."""
        progress, schedule = self._dispatcher.progress, self._schedule
        while progress.get_settled_sequence() < sequence and self._clock() < deadline:
            if not self._dispatcher.has_destination():
                return
            flush_requests = schedule.flush_requests
            delivery = self._dispatcher.step(deadline)
            if delivery is not None and delivery.pending:
                # The caller waits for the end of this: as hurried as a drain.
                pause = schedule.compute_pause(
                    delivery, flush_requests, is_draining=True
                )
                schedule.wait(min(pause, deadline - self._clock()))
            elif delivery is None or not delivery.size:
                # Another thread is still reporting what it sent.
                until = min(deadline, self._clock() + _REPORT_WAIT_SECONDS)
                progress.wait(sequence, until, keep_waiting=lambda: True)

    def _replay(self, deadline: float) -> None:
        """Send events of earlier processes until *deadline*, while no request fails."""
        dispatcher = self._dispatcher
        has_failure = dispatcher.status.has_failure()
        empty_count = 0
        while (
            not has_failure
            and empty_count < _MAX_EMPTY_COUNT
            and self._clock() < deadline
        ):
            if not (dispatcher.has_destination() and dispatcher.store.has_more()):
                return
            delivery = dispatcher.step(deadline)
            has_failure = delivery is not None and bool(delivery.pending)
            has_sent = delivery is not None and delivery.size
            empty_count = 0 if has_sent else empty_count + 1
