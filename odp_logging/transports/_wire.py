"""How the request under way is getting on: its time, and how far it came."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_LEAST = 0.001
_SLACK = 0.01


class Wire:
    """
    What a connection tells, and a transport asks, about the request under way.

    `requests` says that a request failed, not whether it had left: a time-out may come
    from a TLS handshake, and an SSLError from the answer. Whoever sends the bytes
    knows. One thread uses a wire, for one request after the other.
    """

    def __init__(self) -> None:
        self.begin(0.0)

    def begin(self, seconds: float) -> None:
        """Start the clock of a request that may take *seconds* in all."""
        self._due = time.monotonic() + seconds
        self.connected = False
        """Whether a connection was opened for it, rather than one that was kept."""
        self.began = False
        """Whether a connection was ready to carry it."""
        self.sent = False
        """Whether all of it was handed over: the peer may have it."""
        self.heard = False
        """Whether anything of the answer came."""

    def left(self) -> float:
        """Return the seconds left, for a socket: never 0, which would not wait."""
        return max(_LEAST, self._due - time.monotonic())

    def keep_time(self, sock: socket.socket) -> None:
        """Have *sock* wait no longer than is left, give or take 10 ms."""
        left = self.left()
        ask = getattr(sock, "gettimeout", None)  # pyOpenSSL's stand-in has none
        set_to = None if ask is None else ask()
        # Each setting is a call to the system, which would cost more than it is for.
        if set_to is None or abs(set_to - left) > min(_SLACK, left / 2):
            sock.settimeout(left)

    def is_late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._due

    def is_stale(self) -> bool:
        """Whether a kept connection carried it, and nothing at all came back."""
        return self.began and not self.connected and not self.heard
