"""Limits of one response of Redis: its time and its size.

A socket's timeout is that of one `recv`. A server that sends a byte now and then would
hold a call for ever, and a response of any size would be in memory as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..base import MAX_BODY_BYTES

MAX_ENTRY_BYTES = MAX_BODY_BYTES
"""Largest response with one entry, in bytes."""

MAX_ENTRIES_BYTES = 16 * 1024**2
"""Largest response with several entries; they are read one by one if it is larger.

A response is in memory about three times: as it is received, and parsed."""


class ResponseTooLarge(Exception):
    """Redis sends more than `ResponseLimits` permit; the connection is closed."""


class ResponseLimits:
    """
    What all connections of one thread allow a response.

    Args:
        seconds: Longest time from a request to the end of its response.
        clock: Monotonic time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._request_deadline = math.inf
        self._max_bytes = math.inf
        self._received = 0
        self.deadline = math.inf
        """Time of *clock* at which the whole call ends, with all of its requests."""

    @contextmanager
    def limit_bytes(self, entries: int) -> Iterator[None]:
        """Raise `ResponseTooLarge` if one with so many *entries* is too large."""
        self._max_bytes = MAX_ENTRY_BYTES if entries == 1 else MAX_ENTRIES_BYTES
        try:
            yield
        finally:
            self._max_bytes = math.inf

    def start_request(self) -> None:
        """Begin to measure the next response."""
        self._request_deadline = self._clock() + self._seconds
        self._received = 0

    def count(self, size: int) -> None:
        """Count *size* bytes of the response."""
        self._received += size
        if self._received > self._max_bytes:
            raise ResponseTooLarge

    @property
    def seconds_left(self) -> float:
        """Seconds until the response has to be complete."""
        return min(self.deadline, self._request_deadline) - self._clock()


class LimitedSocket:
    """A connected *sock* whose responses are within *limits*; otherwise as it is."""

    def __init__(self, sock: Any, limits: ResponseLimits) -> None:
        self._sock = sock
        self._limits = limits
        self._timeout: float | None = sock.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        """Set the timeout of one call; 0 to return at once."""
        self._timeout = seconds
        self._sock.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        """Send a request, or a part of it."""
        self._limits.start_request()
        self._apply_timeout()
        self._sock.sendall(data)

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive a part of a response."""
        self._apply_timeout()
        data: bytes = self._sock.recv(size, *flags)
        self._limits.count(len(data))
        return data

    def recv_into(self, buffer: Any, *arguments: int) -> int:
        """Receive a part of a response into *buffer*."""
        self._apply_timeout()
        size: int = self._sock.recv_into(buffer, *arguments)
        self._limits.count(size)
        return size

    def _apply_timeout(self) -> None:
        if self._timeout == 0:  # asks only whether there is something
            return
        left = self._limits.seconds_left
        if left <= 0:
            raise TimeoutError("the answer is not complete")
        if left == math.inf:
            return
        self._sock.settimeout(
            left if self._timeout is None else min(left, self._timeout)
        )


def limit_connection(connection: Any, limits: ResponseLimits) -> None:
    """Apply *limits* to a new *connection* of `redis`."""
    # Private attributes: `redis` has no option for a socket of its own.
    connection._sock = LimitedSocket(connection._sock, limits)
    connection._parser.on_connect(connection)
