"""Forks: locks while they are prepared, and the state of the child."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import Any

from odp_logging._runtime import process, shutdown
from odp_logging._runtime.logging_lock import owns_logging_lock

from .fakes import FakeFlusher


def test_a_fork_while_another_thread_configures_logging(fresh_state: None) -> None:
    """A fork waits for logging's lock without holding a lock of this library."""
    ours, taken, got = threading.Lock(), threading.Event(), []
    module_lock: Any = logging._lock  # type: ignore[attr-defined]

    class ForkingFlusher(FakeFlusher):
        def before_fork(self, deadline: float) -> None:
            ours.acquire()
            taken.set()

        def after_fork_in_parent(self) -> None:
            ours.release()

        def after_fork(self) -> None:
            pass

    def configure() -> None:
        with module_lock:
            holds.set()
            taken.wait(20)
            got.append(ours.acquire(timeout=20))
            ours.release()

    holds = threading.Event()
    thread = threading.Thread(target=configure)
    thread.start()
    holds.wait(20)
    flusher = ForkingFlusher(0)
    shutdown.register(flusher)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest has threads
        pid = os.fork()
    if pid == 0:
        logging.getLogger("a new one")  # needs the lock
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    thread.join()
    flusher.done = True

    assert status == 0
    assert got == [True]
    assert not ours.locked() and not owns_logging_lock()


def test_a_child_starts_with_a_fresh_state() -> None:
    """A child keeps the flushers and what is installed; all else is as at the start."""
    parent, fresh = process.ProcessState(), process.ProcessState()
    for name in vars(parent):
        setattr(parent, name, object())
    child = parent.build_for_child()
    kept = {name for name in vars(child) if getattr(child, name) is vars(parent)[name]}

    assert kept == {
        "flushers",
        "real_exit",
        "use_signal_handlers",
        "runs_no_signal_handlers",
    }
    assert child.is_forked
    for name in vars(child).keys() - kept - {"is_forked"}:
        assert type(vars(child)[name]) is type(vars(fresh)[name])
        assert not isinstance(vars(child)[name], int) or not vars(child)[name]
