"""Prepare a fork, and repair locks and signals in the parent and the child after it.

The interpreter calls these functions; `hooks` registers them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from . import process
from .celery import connect_exit_signals
from .lock import is_main_thread, monotonic
from .logging_lock import acquire_logging_lock, release_logging_lock
from .shutdown import drain_at_exit, get_registered
from .signals import EXIT_SIGNALS, handle_signal

_FORK_WAIT_SECONDS = 10.0
"""Longest wait before a fork for a running import. Importing `requests` takes 0.1 to
0.5 s, and seconds if many processes do it at once. A child forked during the import
would hang."""

_MAX_FORK_FRAMES = 6
"""Stack depth from the fork hook to the forking function, gevent's wrapper included."""


class Fork:
    """
    A fork in progress on the current thread, and what the thread holds until its end.

    A signal handler may fork during another fork. Each fork releases what it acquired
    itself, so nothing is released too early or kept forever.

    Args:
        blocked: Signals to block until the end of the fork.
    """

    __slots__ = ("blocked", "has_logging_lock", "is_on_main_thread", "is_open")

    def __init__(self, blocked: frozenset[int]) -> None:
        self.blocked = blocked
        self.has_logging_lock = False
        self.is_on_main_thread = is_main_thread()
        self.is_open = True

    def try_logging_lock(self, timeout: float) -> bool:
        """Acquire the lock of `logging` within *timeout* seconds."""
        if acquire_logging_lock(timeout):
            self.has_logging_lock = True
        return self.has_logging_lock

    def return_logging_lock(self) -> None:
        """Release the lock of `logging` if this fork holds it."""
        if self.has_logging_lock:
            self.has_logging_lock = False
            release_logging_lock()

    def reset_in_child(self) -> set[int]:
        """Hold nothing any more, in a child; return the signals to unblock."""
        blocked = set(self.blocked)
        self.blocked = frozenset()
        self.has_logging_lock = False  # logging creates a new lock in the child
        self.is_open = False
        return blocked


def prepare_fork() -> None:
    """
    Wait until no thread is in a section that the child would inherit unfinished.

    logging's own hook acquires ``logging._lock`` after this one. A thread that
    configures logging holds that lock and may wait for a lock of this library, so this
    hook never waits for ``logging._lock`` with the library's locks held. The reverse
    order would deadlock, too: an import that it waits for may create a logger.
    """
    if process.state.flushers:
        connect_exit_signals(drain_at_exit)
    fork = Fork(_find_signals_to_block())
    process.state.forks.setdefault(threading.get_ident(), []).append(fork)
    if fork.blocked:
        signal.pthread_sigmask(signal.SIG_BLOCK, fork.blocked)
    deadline = monotonic() + _FORK_WAIT_SECONDS
    while True:
        for flusher in get_registered():
            flusher.before_fork(deadline)
        if fork.try_logging_lock(0.0) or monotonic() >= deadline:
            return
        for flusher in get_registered():
            flusher.after_fork_in_parent()
        fork.try_logging_lock(max(0.0, deadline - monotonic()))
        fork.return_logging_lock()


def _find_signals_to_block() -> frozenset[int]:
    """
    Return the signals with this library's handler that the thread does not block yet.

    CPython resets the signal state of a new child. A signal that arrives before is
    forgotten if its handler is a Python function (all versions to 3.15). The child
    would survive the SIGTERM with which `multiprocessing.Pool` ends it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return frozenset()
    handled = {
        signum for signum in EXIT_SIGNALS if signal.getsignal(signum) is handle_signal
    }
    if handled:
        handled -= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return frozenset(handled)


def resume_parent() -> None:
    """Release what the fork acquired, then deliver the signals deferred by it."""
    thread = threading.get_ident()
    forks = process.state.forks.get(thread) or [Fork(frozenset())]
    fork = forks[-1]
    fork.is_open = False
    if not process.state.is_forking():  # an outer fork keeps what it holds
        for flusher in get_registered():
            flusher.after_fork_in_parent()
    fork.return_logging_lock()
    if fork.blocked:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, fork.blocked)
    # Last, because a signal handler that forks meanwhile needs to know what is held.
    forks.remove(fork)
    if not forks:
        process.state.forks.pop(thread, None)
    if not process.state.is_forking():
        for signum in list(process.state.deferred_signals):
            process.state.deferred_signals.discard(signum)
            os.kill(os.getpid(), signum)


def reset_child() -> None:
    """Replace the state of the process and reset all flushers in a forked child."""
    thread = threading.get_ident()
    forks = process.state.forks.get(thread, [])
    blocked = set().union(*[fork.reset_in_child() for fork in forks])
    if sys.version_info >= (3, 13) and forks and not forks[-1].is_on_main_thread:
        # A child forked by a thread other than the main one runs signal handlers only
        # after an interrupted system call (measured on 3.13.0 and 3.14.10; 3.12.1 runs
        # them).
        process.state.runs_no_signal_handlers = True
    # This fork ends here. Outer ones interrupted by a signal handler still go on.
    forks[-1:] = []
    process.replace_state_in_child(forks)
    try:
        for flusher in get_registered():
            flusher.after_fork()
    finally:
        _unblock_in_child(blocked)


def _unblock_in_child(blocked: set[int]) -> None:
    """Let a signal received during the fork end the child; handle later ones."""
    if not blocked:
        return
    for signum in blocked:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    # Not at the first event: it may come from a thread, and only the main thread can
    # install handlers. A multiprocessing worker waits for its first event, because it
    # can be terminated at any time: a Python handler does not run for a signal that
    # arrives just before a wait in C, such as the wait for a task. The pool would hang.
    if not process.state.runs_no_signal_handlers and not _is_multiprocessing_fork():
        for signum in blocked:
            signal.signal(signum, handle_signal)


def _is_multiprocessing_fork() -> bool:
    """Return whether `multiprocessing`, or a copy of it, is forking."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MAX_FORK_FRAMES):
        if frame is None:
            return False
        if str(frame.f_globals.get("__name__")).endswith(".popen_fork"):
            return True
        frame = frame.f_back
    return False
