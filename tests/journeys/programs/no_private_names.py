"""Deliver without private names of the standard library that some versions lack."""

import logging
import sys
import threading

if hasattr(threading, "_register_atexit"):
    del threading._register_atexit


class PlainLock:
    """A lock that cannot tell which thread holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


logging._lock = PlainLock()

import shop  # noqa: E402

shop.open_at(sys.argv[1])
shop.sell(0)
