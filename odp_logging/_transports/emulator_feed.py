"""Posts the library's own log lines to an emulator on this machine.

The emulator's page shows them beside the events: a rejected log call, a near miss or an
outage is seen there, although no event of it arrives.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._capture import interception
from .._runtime.diagnostics import RECENT_LINES
from .._runtime.lock import monotonic

if TYPE_CHECKING:
    from .._config.destination import Destination

_TIMEOUT_SECONDS = 0.5
"""For each step of a request. An emulator on this machine takes milliseconds."""

_PAUSE_SECONDS = 60.0
"""After a failed request. The flusher's thread has events to send."""

_COUNTS_INTERVAL_SECONDS = 1.0
_MAX_RESPONSE_BYTES = 1000
_SERVER = "odp-emulator"
_PATH = "/_emulator/library"
_HEALTH_PATH = "/healthz"


class _Peer(Enum):
    """What answers at the host."""

    UNKNOWN = "unknown"
    EMULATOR = "emulator"
    OTHER = "other"


class EmulatorFeed:
    """
    Posts new lines and changed counts to the emulator at *destination*.

    Flusher thread only. A server that is no emulator gets one request for
    ``/healthz``, and nothing else. Lines are lost if the emulator does not answer.

    Args:
        destination: A loopback host with ``http``.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self, destination: Destination, clock: Callable[[], float] = monotonic
    ) -> None:
        self._destination = destination
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Ask and report anew in a forked child."""
        self._peer = _Peer.UNKNOWN
        self._counts: Mapping[str, int] = {}
        self._retry_at = self._next_counts = 0.0

    def publish(self, read_counts: Callable[[], Mapping[str, int]]) -> None:
        """Post what is new, if there is anything. Never raises."""
        now = self._clock()
        is_off = self._peer is _Peer.OTHER or now < self._retry_at
        if is_off or self._is_in_test():
            return
        has_lines = RECENT_LINES.has_lines()
        if not has_lines and (self._peer is _Peer.UNKNOWN or now < self._next_counts):
            return
        counts = read_counts()
        if not has_lines and counts == self._counts:
            return
        try:
            self._post(counts)
            self._next_counts = now + _COUNTS_INTERVAL_SECONDS
        except (OSError, HTTPException, ValueError):
            self._retry_at = now + _PAUSE_SECONDS

    def _is_in_test(self) -> bool:
        # A test that blocks the network, or takes the events, expects no request.
        return interception.current != interception.NOTHING

    def _post(self, counts: Mapping[str, int]) -> None:
        if self._peer is _Peer.UNKNOWN:
            self._peer = self._identify()
        if self._peer is not _Peer.EMULATOR:
            return
        lines = RECENT_LINES.take()
        self._counts = counts
        report = {
            "process": f"{os.path.basename(sys.argv[0] or 'python')} ({os.getpid()})",
            "lines": [line._asdict() for line in lines],
            "counts": counts,
        }
        self._request("POST", _PATH, json.dumps(report).encode())

    def _identify(self) -> _Peer:
        is_emulator = self._request("GET", _HEALTH_PATH) == _SERVER
        return _Peer.EMULATOR if is_emulator else _Peer.OTHER

    def _request(self, method: str, path: str, body: bytes | None = None) -> str | None:
        """Make one request; return the name of the server."""
        address = urlsplit(self._destination.api_host)
        # Not `Http`, whose requests are counted in the stats.
        connection = HTTPConnection(
            address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS
        )
        headers = {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            headers["X-Api-Key"] = self._destination.api_key.get_secret_value()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read(_MAX_RESPONSE_BYTES)
            return response.getheader("Server")
        finally:
            connection.close()
