"""Deliver without what only some versions of Python have."""

import logging
import sys
import threading

if hasattr(threading, "_register_atexit"):
    del threading._register_atexit


class Plain:
    """A lock that does not tell who owns it."""

    def __init__(self) -> None:
        self._it = threading.RLock()
        self.acquire, self.release = self._it.acquire, self._it.release

    def __enter__(self) -> None:
        self._it.acquire()

    def __exit__(self, *error: object) -> None:
        self._it.release()


logging._lock = Plain()

import shop  # noqa: E402

shop.open_at(sys.argv[1])
shop.sell(0)
