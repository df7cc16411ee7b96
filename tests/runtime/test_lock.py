"""Locks, wake-ups and flags under signal handlers and patched threading."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from odp_logging._runtime import lock as _lock
from odp_logging._runtime.lock import (
    Flag,
    OwnedLock,
    Waiters,
    Wakeup,
    monotonic,
    with_lock,
)


class Patched:
    """A lock of another class than the native one, as gevent installs."""

    def __init__(self) -> None:
        self._lock = _NATIVE()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


_NATIVE = threading.Lock


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that patches `threading`, as gevent does."""
    yield lambda: monkeypatch.setattr(threading, "Lock", Patched)


def test_hold_acquires_and_releases_the_lock():
    """`hold` returns the result, may be nested, and releases after an exception."""
    lock = OwnedLock()

    assert lock.hold(lambda: (lock.is_owned(), lock.hold(lock.is_owned))) == (
        True,
        True,
    )
    assert not lock.is_owned()
    with pytest.raises(ZeroDivisionError):
        lock.hold(lambda: 1 // 0)
    assert not lock.is_owned()


def test_a_decorated_method_holds_its_lock():
    """`with_lock` passes arguments and the result through."""

    class Store:
        def __init__(self) -> None:
            self._lock = OwnedLock()

        @with_lock
        def put(self, value: int, *, times: int) -> tuple[int, bool]:
            """Return the arguments."""
            return value * times, self._lock.is_owned()

    store = Store()
    assert store.put(2, times=3) == (6, True)
    assert Store.put.__doc__ == "Return the arguments."
    assert not store._lock.is_owned()


@pytest.mark.parametrize("lock_class", [OwnedLock, Wakeup])
def test_a_lock_from_before_a_patch_is_replaced(lock_class, patch, monkeypatch):
    """After a patch, a lock of the patched class replaces a native one."""
    # Clients of other tests in this process may still have native threads.
    monkeypatch.setattr(_lock, "_native_threads", set())
    lock = lock_class()
    native = lock._lock
    patch()
    use(lock)

    assert lock._lock is not native


@pytest.mark.parametrize("lock_class", [OwnedLock, Wakeup])
def test_a_lock_stays_while_a_native_thread_uses_it(lock_class, patch, monkeypatch):
    """A native thread and greenlets share one lock until the thread ends."""
    monkeypatch.setattr(_lock, "_native_threads", {object()})
    lock = lock_class()
    native = lock._lock
    patch()
    use(lock)

    assert lock._lock is native


def use(lock: OwnedLock | Wakeup) -> None:
    """Acquire the lock, or wait a moment for the wake-up."""
    if isinstance(lock, OwnedLock):
        assert lock.hold(lambda: True)
    else:
        lock.wait(0.001)


def test_a_change_just_before_a_wait_is_seen():
    """A `wake` before the first wait is not lost."""
    waiters = Waiters()
    seen: list[bool] = []

    def is_over() -> bool:
        waiters.wake()  # as another thread may at any time
        seen.append(True)
        return len(seen) > 2

    start = monotonic()
    waiters.wait(is_over, lambda: 60.0)
    assert monotonic() - start < 30
    assert len(seen) == 3


def test_a_signal_handler_can_set_a_flag_that_its_thread_waits_for():
    """Setting the flag in a handler that interrupts `wait` does not deadlock."""
    flag = Flag()
    looks: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        flag.set()

    is_set = flag.is_set

    def interrupted() -> bool:
        looks.append(len(looks))
        if len(looks) == 2:
            signal.raise_signal(signal.SIGUSR1)
        return is_set()

    flag.is_set = interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        assert flag.wait(30)
        assert flag.wait(0)
    finally:
        signal.signal(signal.SIGUSR1, before)
