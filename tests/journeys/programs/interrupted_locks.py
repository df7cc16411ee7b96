"""Interrupt a thread with exceptions while it takes locks, and check what stays held.

Argument: ``signal`` for a handler that raises, ``async`` for PyThreadState_SetAsyncExc.
Prints the number of interruptions, and how often a lock was still held after one.
"""

import ctypes
import random
import signal
import sys
import threading
import time

import audited_shop

import odp_logging
from odp_logging._flusher.reports import Reports
from odp_logging._runtime.diagnostics import Diagnostics
from odp_logging._runtime.lock import OwnedLock, Waiters


class Interruption(BaseException):
    """Raised in the interrupted thread."""


def interrupt(*ignored: object) -> None:
    raise Interruption


def interrupt_main_thread() -> None:
    """Interrupt the main thread from another one, repeatedly."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    target = ctypes.c_ulong(threading.main_thread().ident)
    while not done.wait(pauses.uniform(0.0002, 0.001)):
        if armed.is_set():
            armed.clear()
            raise_in(target, ctypes.py_object(Interruption))


how = sys.argv[1]
chance, pauses = random.Random(7), random.Random(8)
done, armed = threading.Event(), threading.Event()
lock, waiters = OwnedLock(), Waiters()
reports = Reports(Diagnostics())
client = audited_shop.open_handler().client
audited_shop.sell("r", 0, 0)
assert client.flush(30)  # the flusher thread runs now: its start is not interrupted


def work() -> None:
    """Take the locks of log calls, flushes and stats, until an interruption."""
    number = 0
    while True:
        number += 1
        lock.hold(lambda: None)
        lock.run(lambda: None)
        waiters.wait(lambda: False, iter([0.0001, 0.0]).__next__)
        reports.run_callback(int)
        if number % 20 == 0:
            audited_shop.sell("r", 1, number)
            _ = client.stats
            client.flush(0.001)
            odp_logging.flush(0.001)


def is_free(held: OwnedLock) -> bool:
    """Return whether another thread can acquire *held*."""
    found = []

    def take() -> None:
        found.append(held.acquire(10))
        held.release()

    other = threading.Thread(target=take)
    other.start()
    other.join(30)
    return found == [True]


def run_until_interrupted() -> None:
    # Separate functions: 3.13 does not catch an exception raised at `while` itself.
    if how == "signal":
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.001))
    else:
        armed.set()
    work()


def list_locks() -> list[OwnedLock]:
    """Return every lock that a log call, a flush or the stats take."""
    flusher = client._destinations.flusher
    stores = [
        flusher.store,
        *([flusher.spool_flusher.store] if flusher.spool_flusher else []),
    ]
    return [
        lock,
        flusher._dispatcher._lock,
        flusher._worker._start_lock,
        *(store._lock for store in stores),
    ]


signal.signal(signal.SIGALRM, interrupt)
if how == "async":
    threading.Thread(target=interrupt_main_thread, daemon=True).start()
interrupted = left_held = 0
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        run_until_interrupted()
    except Interruption:
        interrupted += 1
    left_held += (
        any([lock.is_owned() for lock in list_locks()]) or reports.is_in_callback()
    )
done.set()
left_held += not all([is_free(lock) for lock in list_locks()])
assert client.flush(30)
assert audited_shop.is_balanced(client.stats)
print(interrupted, left_held)
