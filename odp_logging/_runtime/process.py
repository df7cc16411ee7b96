"""Hold the state of this process that its exit, its forks and its signals share.

`shutdown`, `hooks`, `signals` and `fork` read and write ``process.state``. A forked
child replaces it as a whole, so no field keeps a value of the parent by mistake.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from .lock import monotonic

if TYPE_CHECKING:
    from .drainable import Drainable
    from .fork import Fork


class DrainTime:
    """
    Seconds that the end of the process has waited for events to be sent.

    Attributes:
        total: All seconds waited.
        idle: Seconds waited since an event was last sent.
    """

    def __init__(self) -> None:
        self.total = self.idle = 0.0
        self._counted_to = 0.0

    def add(self, start: float, last_settled_at: float) -> None:
        """Add the time since *start*; an event was last sent at *last_settled_at*."""
        now = monotonic()
        start = max(start, self._counted_to)
        seconds = max(0.0, now - start)
        self.total += seconds
        self.idle = (
            now - last_settled_at if last_settled_at >= start else self.idle + seconds
        )
        self._counted_to = now


class ProcessState:
    """
    What the library knows about the process, its end and its forks.

    Signal handlers and other threads read and write it without a lock: each field is
    set by one assignment.

    Attributes:
        flushers: The registered flushers by id.
        exit_thread: Ident of the thread that ends the process, once there is one.
        is_in_final_drain: Whether the exit is draining. A signal then waits for it.
        fatal_signal: Signal that ends the process after the final drain.
        drain_time: Time used by drains of the thread that ends the process.
        other_threads_drain_time: Time used by drains of other threads.
        exit_reports: Reports of undelivered events written so far.
        reported_kept: Events on disk that these reports have counted.
        real_exit: ``os._exit`` before this library replaced it.
        pid_with_events: Pid of the process that logged an event. A child forked in C
            inherits this value.
        hooked_pid: Pid of the process in which the exit callbacks of `multiprocessing`
            are registered.
        forks: Forks in progress by thread ident, innermost fork last.
        deferred_signals: Signals received during a fork, handled after it.
        is_forked: Whether a fork with hooks created this process.
        use_signal_handlers: Whether a client asked for the signal handlers.
        runs_no_signal_handlers: Whether CPython does not run signal handlers in this
            process.
    """

    def __init__(self) -> None:
        self.flushers: dict[int, Drainable] = {}
        self.exit_thread: int | None = None
        self.is_in_final_drain = False
        self.fatal_signal: int | None = None
        self.drain_time = DrainTime()
        self.other_threads_drain_time = DrainTime()
        self.exit_reports = 0
        self.reported_kept = 0
        self.real_exit: Callable[[int], NoReturn] = os._exit
        self.pid_with_events = 0
        self.hooked_pid = 0
        self.forks: dict[int, list[Fork]] = {}
        self.deferred_signals: set[int] = set()
        self.is_forked = False
        self.use_signal_handlers = False
        self.runs_no_signal_handlers = False

    def is_shutting_down(self) -> bool:
        """Return whether the last drain of this process has begun."""
        return self.exit_thread is not None

    def is_exit_thread(self) -> bool:
        """Return whether the current thread ends the process, or no thread does yet."""
        return self.exit_thread in (None, threading.get_ident())

    def has_events(self) -> bool:
        """Return whether an event was logged in this process."""
        return self.pid_with_events == os.getpid()

    def is_forking(self) -> bool:
        """Return whether the current thread is between the hooks of a fork."""
        return any(fork.is_open for fork in self.forks.get(threading.get_ident(), ()))

    def build_for_child(self) -> ProcessState:
        """Return the state of a child that is forked now."""
        child = ProcessState()
        child.is_forked = True
        # The child sends with the same flushers, and keeps what was installed.
        child.flushers = self.flushers
        child.real_exit = self.real_exit
        child.use_signal_handlers = self.use_signal_handlers
        child.runs_no_signal_handlers = self.runs_no_signal_handlers
        return child


# Read as `process.state` each time, never kept in a local variable: a signal handler
# may fork in the middle of a function, and the child continues it with another state.
state = ProcessState()


def replace_state_in_child(forks: list[Fork]) -> None:
    """
    Give a forked child its own state.

    Args:
        forks: Outer forks of the current thread, into whose hooks the child may return
            from a signal handler.
    """
    global state
    child = state.build_for_child()
    if forks:
        child.forks[threading.get_ident()] = forks
    state = child
