"""
Interrupt log calls in one of several ways; print their outcomes.

    cut_calls.py URL signal|thread|stack|memory [filter]
"""

from __future__ import annotations

import ctypes
import json
import logging
import random
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType

import odp_logging

LOG = logging.getLogger("shop")
LOG.setLevel(logging.INFO)
LOG.propagate = False
CALLS = 4000
MIN_INTERRUPTED = 20
"""More than CALLS calls are made until so many were interrupted."""


class TimeLimit(Exception):
    """Raised by a time limit of the application."""


class Calls:
    """Counts of the log calls that were made, that returned, and were interrupted.

    The library catches some exceptions of interrupted calls, which then return.
    """

    made = returned = interrupted = 0
    raised_in: dict[str, int] = {}

    def log(self, number: int) -> None:
        """Make one log call."""
        self.made += 1
        LOG.info(
            "e",
            extra={
                "odp_action": "a",
                "odp_identifiers": {"fs_user_id": "u"},
                "odp_data": {"n": number},
            },
        )
        self.returned += 1

    def record_frame(self, trace: TracebackType | None) -> None:
        """Count the innermost frame of the library in the traceback *trace*."""
        name = ""
        while trace is not None:
            code = trace.tb_frame.f_code
            if "odp_logging" in code.co_filename and "tests" not in code.co_filename:
                name = code.co_name
            trace = trace.tb_next
        if name:
            self.raised_in[name] = self.raised_in.get(name, 0) + 1


calls = Calls()
armed = False
handler = odp_logging.OdpHandler(api_host=sys.argv[1], flush_interval=0.05)
if "filter" in sys.argv:
    handler.addFilter(lambda record: True)
LOG.addHandler(handler)
calls.log(-1)
assert handler.client.flush(20)  # then the thread runs and all modules are imported


def number_calls() -> Iterator[int]:
    """Yield the numbers of CALLS log calls, and more while few were interrupted."""
    for number in range(10 * CALLS):
        if number >= CALLS and calls.made - calls.returned > MIN_INTERRUPTED:
            return
        yield number


def interrupt_by_signals() -> None:
    """Raise in the handler of a timer's signal, at most once in a log call."""
    global armed
    delays = random.Random(7)

    def raise_time_limit(*_: object) -> None:
        global armed
        if armed:
            armed = False
            calls.interrupted += 1
            raise TimeLimit

    signal.signal(signal.SIGALRM, raise_time_limit)
    for number in number_calls():
        signal.setitimer(signal.ITIMER_REAL, delays.uniform(0.00001, 0.0002))
        try:
            armed = True
            calls.log(number)
        except TimeLimit:
            pass
        armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)


def interrupt_by_a_thread() -> None:
    """Raise in this thread from another one, as some time limits for threads do."""
    global armed
    ident = ctypes.c_ulong(threading.get_ident())
    ended = threading.Event()
    sys.setswitchinterval(0.00005)

    def interrupt() -> None:
        global armed
        while not ended.wait(0.0002):
            if armed:
                armed = False
                calls.interrupted += 1
                exception = ctypes.py_object(TimeLimit)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, exception)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    for number in number_calls():
        try:
            armed = True
            calls.log(number)
            if armed:
                armed = False
            else:
                for _ in range(1000):  # the exception is still to come
                    pass
        except TimeLimit:
            pass
    ended.set()
    interrupter.join()
    sys.setswitchinterval(0.005)


def interrupt_by_recursion_limit() -> None:
    """Reach the recursion limit at every possible depth."""

    def call() -> None:
        try:
            calls.log(calls.made)
        except RecursionError as error:
            calls.record_frame(error.__traceback__)

    def descend(depth: int) -> None:
        call()
        if depth:
            descend(depth - 1)

    for limit in range(300, 320):
        sys.setrecursionlimit(limit)
        try:
            descend(1000)
        except RecursionError:
            pass
        sys.setrecursionlimit(1000)


def interrupt_by_memory_errors() -> None:
    """Fail one allocation of a call, from its first to its two hundredth."""
    import _testcapi  # a module of CPython's test suite

    for number in range(200):
        try:
            _testcapi.set_nomemory(number, number + 1)
            calls.log(number)
        except (
            MemoryError,
            SystemError,
        ) as error:  # CPython up to 3.13 may lose the error
            _testcapi.remove_mem_hooks()
            calls.record_frame(error.__traceback__)
        finally:
            _testcapi.remove_mem_hooks()


{
    "signal": interrupt_by_signals,
    "thread": interrupt_by_a_thread,
    "stack": interrupt_by_recursion_limit,
    "memory": interrupt_by_memory_errors,
}[sys.argv[2]]()
flushed = handler.client.flush(30)
stats = handler.client.stats
print(
    json.dumps(
        {
            "made": calls.made,
            "returned": calls.returned,
            "interrupted": calls.interrupted or calls.made - calls.returned,
            "raised_in": calls.raised_in,
            "flushed": flushed,
            "accepted": stats.accepted,
            "delivered": stats.delivered,
            "rejected": sum(stats.rejected.values()),
            "dropped": dict(stats.dropped),
        }
    )
)
