"""Provide locks, wake-ups and a clock that signals, forks and gevent do not break.

All threads of this library wait with these classes instead of those of `threading`.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def _choose_clock() -> Callable[[], float]:
    if not hasattr(time, "clock_gettime"):  # Windows
        return partial(time.monotonic)
    # On macOS CLOCK_MONOTONIC can be set; time.monotonic() reads CLOCK_UPTIME_RAW.
    clock_id = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
    return partial(time.clock_gettime, clock_id)


monotonic = _choose_clock()
"""
Return seconds on a monotonic clock; the only clock for deadlines in this package.

Locks wait in real time. A deadline on a clock that freezegun has stopped is never
reached, and a deadline read on both clocks is wrong by years. freezegun replaces
``time.monotonic`` in the module `time` and in every module that has it as an attribute,
but not a partial of ``clock_gettime``. On Linux both read the same clock.
"""


def _is_in_subinterpreter() -> bool:
    is_main_interpreter = getattr(_thread, "_is_main_interpreter", None)
    if is_main_interpreter is not None:
        return not is_main_interpreter()
    try:  # CPython 3.12 and before
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return False
    return bool(interpreters.get_current() != interpreters.get_main())


IN_SUBINTERPRETER = _is_in_subinterpreter()
"""Whether a sub-interpreter imported this module."""


def is_main_thread() -> bool:
    """Return whether the current thread is the main thread of the process."""
    return threading.get_ident() == threading.main_thread().ident


_native_threads: set[object] = set()
"""Running threads of this library that started before threading was patched."""

_MAX_WAIT_SECONDS = 1.0
"""Longest time between two checks of a condition by a waiting thread. No thread wakes
it if the flusher's thread has ended unexpectedly, for example by
PyThreadState_SetAsyncExc, which some time limits for threads use."""


def register_native_thread(thread: object) -> None:
    """Keep native locks until *thread* ends, if threading is not patched yet."""
    if getattr(threading.Lock, "__module__", None) == "_thread":
        _native_threads.add(thread)


def unregister_native_thread(thread: object) -> None:
    """Undo `register_native_thread`: *thread* has ended or a fork did not copy it."""
    _native_threads.discard(thread)


def _get_lock_class() -> object:
    # gevent and eventlet replace this attribute. A lock created earlier would block
    # their event loop.
    return threading.Lock


def _is_stale(lock_class: object) -> bool:
    """Return whether gevent or eventlet has replaced *lock_class* since."""
    return lock_class is not threading.Lock and not _native_threads


class OwnedLock:
    """
    A lock that can tell whether the current thread holds it.

    For short sections. A signal handler or a finalizer may run on the thread that holds
    the lock. `is_owned` tells it to leave the work to the interrupted code instead of
    waiting, which would deadlock. If the handler raises, as a time limit or Ctrl-C
    does, the lock is still released.

    There is no ``with`` statement for it. On CPython 3.14 a signal handler may run, and
    raise, between ``__enter__`` and the block (gh-148874), and the lock would stay
    held. The same is true of any lock that is not implemented in C.

    A lock created before gevent or eventlet patched threading is replaced when it is
    acquired next. A native lock would block their event loop, and would not tell
    greenlets apart.
    """

    # No __slots__: eventlet finds and replaces locks only in instance dictionaries.

    def __init__(self) -> None:
        self._create()

    def _create(self) -> None:
        # Looked up at each call, because threading may have been patched.
        self._lock: Any = threading.RLock()
        self._lock_class = _get_lock_class()

    def hold(self, work: Callable[[], T]) -> T:
        """Wait for the lock, call *work* with it held, and return its result."""
        if self._lock._is_owned():
            return work()
        try:
            try:
                # Usually the lock is free, as `acquire` would find out more slowly.
                if self._lock_class is not threading.Lock or not self._lock.acquire(
                    False
                ):
                    # While Python finalizes, all other threads are frozen, perhaps with
                    # the lock held. Then only this thread can use what it guards.
                    self.acquire(-1)
                return work()
            finally:
                # `release` inlined. If *work* reached the recursion limit, calling
                # `release` would fail and the lock would stay held. These calls need no
                # more stack than `acquire` did.
                if self._lock._is_owned():
                    self._lock.release()
        finally:
            # Again, because a signal handler may have raised before the release.
            if self._lock._is_owned():
                self._lock.release()

    def run(self, work: Callable[[], T], timeout: float = 0.0) -> T | None:
        """
        Call *work* with the lock held and return its result.

        Return None if the lock cannot be acquired within *timeout* seconds (-1 waits
        without limit), or if the current thread already holds it.
        """
        if self.is_owned():
            return None
        try:
            try:
                if self.acquire(timeout):
                    return work()
            finally:
                if self._lock._is_owned():  # as in `hold`
                    self._lock.release()
        finally:
            # Again, because a signal handler may have raised before the release.
            if self._lock._is_owned():
                self._lock.release()
        return None

    def acquire(self, timeout: float) -> bool:
        """Acquire the lock within *timeout* seconds; -1 waits without limit."""
        if self._lock_class is not threading.Lock:
            self._replace_native()
        if timeout == 0 or sys.is_finalizing():
            return bool(self._lock.acquire(blocking=False)) or sys.is_finalizing()
        return bool(self._lock.acquire(timeout=timeout))

    def _replace_native(self) -> None:
        """Replace the native lock, unless a native thread may hold it."""
        old = self._lock
        if _is_stale(self._lock_class) and old.acquire(blocking=False):
            self._create()
            old.release()

    def release(self) -> None:
        """Release the lock if the current thread holds it."""
        if self.is_owned():
            self._lock.release()

    def is_owned(self) -> bool:
        """Return whether the current thread holds the lock."""
        return bool(self._lock._is_owned())


def with_lock(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], T]:
    """Decorate *method* to run with ``self._lock`` held, by `OwnedLock.hold`."""

    @wraps(method)
    def hold(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        lock: OwnedLock = self._lock
        return lock.hold(partial(method, self, *args, **kwargs))

    return hold


class Wakeup:
    """
    Wakes one thread that waits now or will wait next.

    A raw lock used as a binary semaphore. Unlike ``Event.set``, `wake` acquires no
    lock, so it may be called in signal handlers and finalizers.
    """

    def __init__(self) -> None:
        self._create()

    def _create(self) -> None:
        lock_class = _get_lock_class()
        lock = threading.Lock()
        lock.acquire()
        self._lock, self._lock_class = lock, lock_class

    def wake(self) -> None:
        """Wake the thread. Further calls before its next `wait` have no effect."""
        try:
            if self._lock.locked():
                self._lock.release()
        except RuntimeError:  # another thread released it in between
            pass

    def wait(self, timeout: float) -> None:
        """Wait for `wake`, at most *timeout* seconds."""
        self.replace_native()
        self._lock.acquire(timeout=max(0.0, timeout))

    def replace_native(self) -> None:
        """Replace a native lock, which would block the loop of gevent or eventlet."""
        if _is_stale(self._lock_class):
            self._create()


class Waiters:
    """
    Threads that wait for a condition, without a shared lock that could stay held.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._wakeups: dict[object, Wakeup] = {}

    def wait(
        self, is_over: Callable[[], bool], get_timeout: Callable[[], float]
    ) -> None:
        """
        Wait until *is_over* returns True, or until no time is left.

        Args:
            is_over: Called after each `wake`, and at least once a second.
            get_timeout: Returns the time left, in seconds.
        """
        # Not by thread: a signal handler may wait on the thread whose wait it
        # interrupted.
        key, wakeup = object(), Wakeup()
        try:
            # Before the first check, so that no change is missed.
            self._wakeups[key] = wakeup
            while not is_over() and (left := get_timeout()) > 0:
                wakeup.wait(min(left, _MAX_WAIT_SECONDS))
        finally:
            self._wakeups.pop(key, None)

    def wake(self) -> None:
        """Let all waiting threads check their condition again."""
        for wakeup in list(self._wakeups.values()):
            wakeup.wake()


class Flag:
    """
    A ``threading.Event`` that a signal handler can set.

    ``Event.set`` acquires a lock. If the handler interrupts ``Event.wait`` on the same
    thread while it holds that lock, the thread deadlocks.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiters = Waiters()

    def set(self) -> None:
        """Set the flag. It cannot be cleared."""
        self._is_set = True
        self._waiters.wake()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Wait until the flag is set, at most *timeout* seconds; return `is_set`."""
        deadline = monotonic() + timeout
        self._waiters.wait(self.is_set, lambda: deadline - monotonic())
        return self._is_set
