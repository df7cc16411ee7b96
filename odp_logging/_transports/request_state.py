"""The clock and the progress of the HTTP request that is being sent.

`Http` starts the clock, `HttpSession` and its connection record the progress, and
`Http` reads it to tell whether a failed request may have reached the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._runtime.lock import monotonic

if TYPE_CHECKING:
    import socket

_MIN_TIMEOUT_SECONDS = 0.001
_TIMEOUT_TOLERANCE_SECONDS = 0.01

# Part of a request's time, and at most so many seconds, that connecting leaves for the
# response. An event that is sent with no time left is sent again by each attempt.
_RESPONSE_RATIO = 1 / 4
_MAX_RESPONSE_SECONDS = 1.0


class RequestState:
    """
    Tracks deadline and progress of one HTTP request after another.

    A library reports that a request failed, not whether it had left: a timeout may come
    from a TLS handshake, and an SSLError from the response. The connection that sends
    the bytes knows. Used by one thread.
    """

    def __init__(self) -> None:
        self.address: Any = None
        """The address of the last connection."""
        self._good_address: Any = None
        self._bad_address: Any = None
        self.start(0.0)

    def start(self, seconds: float) -> None:
        """Start a request that may take *seconds* in all."""
        self.seconds = seconds
        self._deadline = monotonic() + seconds
        self._connect_deadline = self._deadline - min(
            seconds * _RESPONSE_RATIO, _MAX_RESPONSE_SECONDS
        )
        self.connection_opened = False
        """Whether a connection was opened for it, rather than a kept one used."""
        self.connection_ready = False
        """Whether a connection was ready to carry it."""
        self.request_sent = False
        """Whether all of it was sent: the server may have it."""
        self.response_started = False
        """Whether any byte of the response came."""

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, for a socket: never 0, which would mean not to wait."""
        return max(_MIN_TIMEOUT_SECONDS, self._deadline - monotonic())

    @property
    def remaining_connect_seconds(self) -> float:
        """Seconds left to connect; never 0."""
        return max(_MIN_TIMEOUT_SECONDS, self._connect_deadline - monotonic())

    def apply_timeout(self, sock: socket.socket) -> None:
        """Set the timeout of *sock* to the seconds left, give or take 10 ms."""
        left = self.remaining_seconds
        get_timeout = getattr(sock, "gettimeout", None)  # pyOpenSSL's socket has none
        timeout = None if get_timeout is None else get_timeout()
        # settimeout is a system call, which costs more than a difference of 10 ms.
        if timeout is None or abs(timeout - left) > min(
            _TIMEOUT_TOLERANCE_SECONDS, left / 2
        ):
            sock.settimeout(left)

    def has_timed_out(self) -> bool:
        """Whether the request's time is up."""
        return monotonic() >= self._deadline

    def has_connect_timed_out(self) -> bool:
        """Whether the time to connect is up."""
        return monotonic() >= self._connect_deadline

    def has_time_for_response(self) -> bool:
        """Whether there is time for the response to a request that is sent now."""
        return monotonic() < self._connect_deadline + _TIMEOUT_TOLERANCE_SECONDS

    def is_connection_stale(self) -> bool:
        """Whether a kept connection carried the request, and no byte came back."""
        return (
            self.connection_ready
            and not self.connection_opened
            and not self.response_started
        )

    def record_success(self) -> None:
        """Remember that the address answered."""
        self._good_address = self.address
        if self._bad_address == self._good_address:
            self._bad_address = None

    def record_failure(self) -> None:
        """Remember that the address did not answer; others are tried before it."""
        if self.address is not None:
            self._bad_address = self.address
        if self._good_address == self._bad_address:
            self._good_address = None

    def get_priority(self, address: Any) -> int:
        """Return the rank of *address*: the lowest is tried first."""
        if address == self._good_address:
            return 0
        return 2 if address == self._bad_address else 1
