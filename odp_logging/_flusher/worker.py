"""The thread of a flusher: starts it, wakes it and ends it, and makes its steps.

`Flusher` starts it with the first event. The thread waits until a batch is due, and has
the `Dispatcher` send it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from .._runtime.lock import (
    IN_SUBINTERPRETER,
    OwnedLock,
    register_native_thread,
    unregister_native_thread,
)

if TYPE_CHECKING:
    from .._events.delivery import Delivery
    from .._stores.inbox import Inbox
    from .dispatcher import Dispatcher

# No put wakes the thread for events of ended processes: it looks for them itself.
_IDLE_WAIT_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 1.0
_BURST_SECONDS = 0.02
"""Longest wait for the end of a burst of log calls. If their events are built
meanwhile, the flusher takes the GIL from the log calls: 2,000 calls took twice as
long."""


class WorkerState(Enum):
    """What the thread does next."""

    RUNNING = "running"
    """It waits for further events once the store is empty."""

    FINISHING = "finishing"
    """It ends once the store is empty. A thread that is started later runs again."""

    STOPPED = "stopped"
    """It ends, and sends nothing any more: the process is ending."""


class Worker:
    """
    Runs the steps of *dispatcher* on a thread, one thread at a time.

    `ensure_thread`, `wake`, `finish` and `stop` are thread-safe.

    Args:
        inbox: Gets the information whether a put has to wake the thread.
        interval: Longest time in seconds that an event waits to be batched.
        on_thread_start: Called first on the thread.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        inbox: Inbox,
        interval: float,
        on_thread_start: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._schedule = dispatcher.schedule
        self._inbox = inbox
        self._interval = interval
        self._on_thread_start = on_thread_start
        self._clock = clock
        self._thread: threading.Thread | None = None
        self.reset()

    def reset(self) -> None:
        """Have no thread, in a forked child."""
        # A forked child does not have the native thread.
        unregister_native_thread(self._thread)
        self._thread = None
        self._ident = 0
        self._state = WorkerState.RUNNING
        self._start_lock = OwnedLock()
        self._inbox.is_flusher_idle = True

    # Any thread.

    def is_in_current_thread(self) -> bool:
        """Whether the current thread is the worker's."""
        # threading.get_ident is looked up here: gevent may patch it after our import.
        return self._ident == threading.get_ident()

    def has_thread(self) -> bool:
        """Whether there is a thread that sends events."""
        # Not is_alive(): if a signal handler raises within it, CPython up to 3.12
        # reports a living thread as dead (bpo-45274). `run` resets `_thread` when it
        # ends.
        return self._thread is not None and not self.is_stopped()

    def is_sending(self) -> bool:
        """Whether there is a thread that sends, and the exit has not begun."""
        return self._schedule.exit_drain is None and self.has_thread()

    def has_progress(self) -> bool:
        """Whether the thread settled or took events in the last two seconds."""
        return (
            self.is_sending() and self._clock() < self._dispatcher.width.progress_until
        )

    def is_stopped(self) -> bool:
        """Whether the thread must not send any more."""
        return self._state is WorkerState.STOPPED

    def is_finished(self) -> bool:
        """Whether `finish` was called, and there is no thread any more."""
        return self._state is WorkerState.FINISHING and self._thread is None

    def can_publish(self) -> bool:
        """Whether a thread may be started to publish: not at exit or after `finish`."""
        schedule = self._schedule
        is_exiting = schedule.exit_drain is not None or schedule.drain is not None
        return self._state is WorkerState.RUNNING and not is_exiting

    def has_ended(self) -> bool:
        """Whether a new thread has to send what is put after the last one's end."""
        return (
            self._thread is None
            and self._schedule.drain is None
            and not self.is_stopped()
        )

    def ensure_thread(self, run: Callable[[], object]) -> None:
        """
        Wake the thread; start one that calls *run* if there is none.

        *run* has to call `run` of this object.
        """
        # Cleared before the thread is checked: a thread that ends sets it, and only
        # then checks the store for the last time, so no event is missed.
        done = False
        self._clear_idle()
        try:
            if self.has_thread() or self._start(run):
                self._schedule.wake()
                done = True
        finally:
            # A signal handler may raise in between; then the next put wakes the thread.
            if not done:
                self._inbox.is_flusher_idle = True

    def _clear_idle(self) -> None:
        # At exit every put has to call `wake`, because no thread checks the store.
        self._inbox.is_flusher_idle = self._schedule.exit_drain is not None

    def finish(self) -> None:
        """End the thread once the store is empty."""
        if not self.is_stopped():
            self._state = WorkerState.FINISHING
        if self._thread is not None:
            self._schedule.wake()
        elif self._dispatcher.is_empty():
            self._dispatcher.close()

    def stop(self) -> None:
        """End the thread without sending anything more, for the exit."""
        self._state = WorkerState.STOPPED
        # A thread without an ident yet has not made a step, and ends before the first.
        self._dispatcher.exclude_thread(self._ident)
        if not self._ident:
            # It has ended meanwhile. A later thread may get the same ident.
            self._dispatcher.exclude_thread(0)
        self._schedule.wake()

    def _start(self, run: Callable[[], object]) -> bool:
        # Re-entrant: a signal handler or another thread that comes meanwhile returns.
        return bool(self._start_lock.run(lambda: self._start_thread(run)))

    def _start_thread(self, run: Callable[[], object]) -> bool:
        # Never at exit: CPython 3.12.0 to 3.12.2 raise, and the exit would not join it.
        if self._schedule.drain is not None:
            return False
        if self.has_thread():
            return True
        if not self.is_stopped():
            self._state = WorkerState.RUNNING
        self._schedule.renew_wakeup()
        # From now on, log calls may wait for it where the buffer is nearly full.
        self._dispatcher.width.record_start(self._clock())
        started = False
        try:
            # A sub-interpreter may forbid daemon threads, and must not end before its
            # threads do. This one is joined at exit; `stop` ends it before that.
            self._thread = threading.Thread(
                target=run, name="odp-logging", daemon=not IN_SUBINTERPRETER
            )
            self._thread.start()
            started = True
        except RuntimeError:
            # The interpreter is exiting or allows no threads: the drain at exit sends
            # the events.
            pass
        except KeyError as error:
            # A signal handler raised within start(). CPython's cleanup after it then
            # fails with a KeyError, which hides the original exception.
            raise error.__context__ or error from None
        finally:
            if not started:  # the next put starts another thread
                self._thread = None
        return started

    # On the thread.

    def run(self) -> None:
        """Make steps until the thread has to end."""
        self._ident = threading.get_ident()
        thread = threading.current_thread()
        self._on_thread_start()
        try:
            register_native_thread(thread)
            while (
                self._thread is thread
                and not self.is_stopped()
                and self._try_run_once()
            ):
                pass
        finally:
            unregister_native_thread(thread)
            if self._thread is thread:
                self._ident = 0
                self._dispatcher.exclude_thread(0)
                self._thread = None
                self._inbox.is_flusher_idle = True
                # Without this, flush() notices only after a second.
                self._dispatcher.progress.end_reporting()

    def _try_run_once(self) -> bool:
        try:
            return self._run_once()
        except BaseException as error:  # later events need the thread
            self._dispatcher.reports.diagnostics.warn(
                "failed",
                f"the flusher failed: {type(error).__name__}. It continues with the"
                " remaining events. Please report this",
            )
            self._schedule.wait(_LONGEST_PAUSE_SECONDS)
            return True

    def _run_once(self) -> bool:
        """Wait for a batch and send it; return False when the thread has to end."""
        was_idle, has_events = False, self._has_events()
        if not has_events and not self._has_more():
            if self._state is WorkerState.FINISHING:
                self._dispatcher.status.state = "idle"
                self._dispatcher.close(-1)
                return False
            was_idle, has_events = True, self._wait_for_events()
            if not has_events and not self._has_more():
                return True
        is_backlog = self._schedule.is_batch_full and not was_idle
        if has_events and not (is_backlog or self._schedule.is_retry):
            self._wait_for_batch()
            self._wait_for_end_of_burst()
        self._send_batch()
        return True

    def _has_events(self) -> bool:
        return not self._dispatcher.is_empty()

    def _has_more(self) -> bool:
        """Whether another process left events, which a finishing thread leaves, too."""
        if self._state is WorkerState.FINISHING:
            return False
        return self._dispatcher.store.has_more()

    def _wait_for_events(self) -> bool:
        """Wait for a put, at most 10 s; return whether events are waiting."""
        self._dispatcher.status.state = "idle"
        self._dispatcher.reports.report_notes()
        self._publish()
        self._inbox.is_flusher_idle = True
        # Checked again: a put that came before the flag was set did not wake us.
        if self._dispatcher.is_empty():
            self._schedule.wait(_IDLE_WAIT_SECONDS)
        self._clear_idle()
        # That nothing was sent while there was nothing to send is no lack of progress.
        self._dispatcher.width.record_start(self._clock())
        self._schedule.is_retry = False
        return self._has_events()

    def _wait_for_batch(self) -> None:
        """Wait until the batch is full, `interval` has passed, or a flush is due."""
        schedule = self._schedule
        until = self._clock() + self._interval
        # Before the wait, because the imports take time.
        self._dispatcher.prepare_with_lock()
        while not (schedule.should_send() or self._is_awaited()):
            left = until - self._clock()
            if left <= 0:
                return
            schedule.wait(left)

    def _is_awaited(self) -> bool:
        """Whether a caller waits for events that are not settled."""
        progress = self._dispatcher.progress
        return (
            progress.has_callbacks()
            or self._schedule.flush_sequence > progress.get_settled_sequence()
        )

    def _wait_for_end_of_burst(self) -> None:
        """Wait a moment after a batch became full, unless something else is due."""
        schedule = self._schedule
        until = self._clock() + _BURST_SECONDS
        while schedule.is_batch_full and not (
            schedule.is_urgent
            or schedule.drain is not None
            or self._is_awaited()
            or self._inbox.nearly_full
            or self.is_stopped()
        ):
            left = until - self._clock()
            if left <= 0:
                return
            schedule.wait(left)

    def _send_batch(self) -> None:
        """Make one step, and wait afterwards if events are still to be sent."""
        store = self._dispatcher.store
        flush_requests = self._schedule.flush_requests
        # That of `progress`, which remembers it for the report of this step.
        settled = self._dispatcher.progress.get_settled_sequence()
        delivery = self._dispatcher.step(on_reported=self._publish)
        if delivery is not None and delivery.pending:
            self._schedule.is_retry = True
            self._wait_before_retry(delivery, flush_requests)
        elif not (
            (delivery is not None and delivery.size)
            or self._dispatcher.is_empty()
            or store.get_settled_sequence() > settled
        ):
            # The store cannot be read now.
            self._schedule.wait(_LONGEST_PAUSE_SECONDS)

    def _wait_before_retry(self, delivery: Delivery, flush_requests: int) -> None:
        """Wait before the next attempt, unless the store needs room or is empty."""
        dispatcher, schedule = self._dispatcher, self._schedule
        start = self._clock()
        dispatcher.status.state = (
            "misconfigured" if delivery.is_misconfigured else "retrying"
        )
        while True:
            pause = schedule.compute_pause(
                delivery, flush_requests, is_draining=schedule.drain is not None
            )
            left = start + pause - self._clock()
            has_work = self._has_events() or self._has_more()
            if left <= 0 or not has_work or dispatcher.store.is_nearly_full():
                return
            schedule.wait(min(left, _LONGEST_PAUSE_SECONDS))
            dispatcher.reports.report_drops(dispatcher.store)
            self._publish()

    def _publish(self) -> None:
        if self._dispatcher.reports.feed is not None:
            # A request may import modules, and a fork waits for that only there.
            self._dispatcher.prepare_with_lock()
            self._dispatcher.reports.publish(self._dispatcher.store)
