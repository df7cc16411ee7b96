"""Fork within a signal handler that interrupts a fork; print what is still locked."""

import logging
import os
import signal
import sys
import threading

NAMES = ["parent", "inner", "outer", "later"]
interrupts = [True]


def interrupt() -> None:
    if interrupts and interrupts.pop():
        signal.raise_signal(signal.SIGUSR1)


def fork_inner(signum: int, frame: object) -> None:
    fork("inner")


def fork(name: str) -> None:
    child = os.fork()
    if child == 0:
        shop.sell(NAMES.index(name))
        check(name)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


def check(where: str) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if signal.SIGTERM in blocked:
        print(where, "blocks SIGTERM", flush=True)
    if not can_other_thread_lock():
        print(where, "holds the lock of logging", flush=True)


def can_other_thread_lock() -> bool:
    got: list[bool] = []

    def lock() -> None:
        module_lock = logging._lock
        got.append(module_lock.acquire(timeout=5))
        if got[0]:
            module_lock.release()

    other = threading.Thread(target=lock, daemon=True)
    other.start()
    other.join(10)
    return got == [True]


signal.signal(signal.SIGUSR1, fork_inner)
# `before` hooks run in reverse order: this one runs after those of the library.
os.register_at_fork(before=interrupt)
import shop  # noqa: E402

handler = shop.open_at(sys.argv[1])
shop.sell(0)
fork("outer")
check("parent")
fork("later")
