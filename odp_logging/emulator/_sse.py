"""The live stream of one page: server-sent events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from ._api import EventsApi, add_warnings
from ._history import Raw, decode_entry
from ._ledger import EVENTS_PATH, is_refused

# A round sends at most this many entries and then pauses, so that many events and open
# pages take a bounded share of the emulator's time.
_MAX_ENTRIES_PER_ITERATION = 1_000
_PAUSE_SECONDS = 0.05

_STATS_INTERVAL_SECONDS = 0.25
_MAX_WAIT_SECONDS = 1.0
_CHUNK_BYTES = 65_536


class Stream:
    """The messages for one page: ledger entries, counts, and pings.

    It runs on the thread of the page's connection.

    Args:
        write: sends bytes to the page at once; raises OSError when it is closed.
        since: the serial of the last entry that the page knows.
        since_request: that of the last request.
    """

    def __init__(
        self,
        api: EventsApi,
        write: Callable[[bytes], None],
        *,
        since: int,
        since_request: int = 0,
        ping_interval: float,
    ) -> None:
        self._api = api
        self._write = write
        # A serial of an emulator that used this port before is ignored.
        self._since = since if since <= api.ledger.last else 0
        self._since_request = since_request if self._since == since else 0
        self._ping_interval = ping_interval
        self._clearings = api.ledger.clearings
        self._library_version = 0
        self._counts: dict[str, Any] = {}
        self._next_stats = 0.0
        self._next_ping = time.monotonic() + ping_interval

    def run(self, ending: threading.Event, is_closed: Callable[[], bool]) -> None:
        """Send until *ending* is set or *is_closed* returns true."""
        # Browsers wait 3 s before they reconnect unless told otherwise.
        self._write(b"retry: 1000\n\n")
        version = -1
        while not ending.is_set() and not is_closed():
            version = self._api.ledger.wait_for_change(version, self._compute_wait())
            if self._send_entries() == _MAX_ENTRIES_PER_ITERATION:
                version = -1
            self._send_library()
            self._send_stats()
            self._send_ping()
            ending.wait(_PAUSE_SECONDS)

    def _compute_wait(self) -> float:
        now = time.monotonic()
        ping = max(0.0, self._next_ping - now)
        # Counts that changed too soon after the last message are still due.
        stats = self._next_stats - now
        return min(_MAX_WAIT_SECONDS, ping, stats if stats > 0 else _MAX_WAIT_SECONDS)

    def _send_entries(self) -> int:
        clearings = self._api.ledger.clearings
        if clearings != self._clearings:
            self._clearings = clearings
            self._send("clear", {"clearings": clearings})
        entries, requests = self._api.ledger.list_new(
            self._since, self._since_request, _MAX_ENTRIES_PER_ITERATION
        )
        if entries:
            self._since = entries[-1][0]["n"]
        if requests:
            self._since_request = requests[-1]["n"]
        self._write_all(_order_messages(entries, requests))
        return len(entries)

    def _write_all(self, messages: Iterator[bytes]) -> None:
        """Write *messages* in chunks: together they may be large."""
        chunk = bytearray()
        for message in messages:
            chunk += message
            if len(chunk) >= _CHUNK_BYTES:
                self._write(bytes(chunk))
                chunk.clear()
        if chunk:
            self._write(bytes(chunk))

    def _send_stats(self) -> None:
        now = time.monotonic()
        if now < self._next_stats:
            return
        stats = self._api.get_stats()
        counts = {k: v for k, v in stats.items() if k != "uptime"}
        if counts != self._counts:
            self._counts = counts
            self._next_stats = now + _STATS_INTERVAL_SECONDS
            self._send("stats", stats)

    def _send_library(self) -> None:
        # All that is kept, which is little: the page replaces what it shows.
        library = self._api.diagnostics
        self._library_version, kept = library.get_news(self._library_version)
        if kept is not None:
            self._send("library", kept)

    def _send_ping(self) -> None:
        now = time.monotonic()
        if now >= self._next_ping:
            self._next_ping = now + self._ping_interval
            self._write(b": ping\n\n")

    def _send(self, kind: str, value: Any) -> None:
        self._write(_format_message(kind, value))


def _order_messages(
    entries: list[Raw], requests: list[dict[str, Any]]
) -> Iterator[bytes]:
    """Yield entries, each followed by the request of its own, if that is shown."""
    # By the serial of the request; 0 and 1 put a request after its entries.
    items: list[tuple[int, int, Any]] = [
        *((raw[0]["request"], 0, raw) for raw in entries),
        *((request["n"], 1, request) for request in requests if _is_shown(request)),
    ]
    for _, kind, item in sorted(items, key=itemgetter(0, 1)):
        if kind == 0:
            entry = add_warnings(decode_entry(item))
            yield _format_message("entry", entry, serial=entry["n"])
        else:
            yield _format_message(
                "request", {name: item[name] for name in _REQUEST_FIELDS}
            )


def _is_shown(request: Mapping[str, Any]) -> bool:
    """Return whether it was refused, or was for another path than that of events."""
    return request["path"] != EVENTS_PATH or is_refused(request)


_REQUEST_FIELDS = (
    *("n", "time", "method", "path", "status", "events", "bytes", "lost", "rejected"),
    "answer",
)


def _format_message(kind: str, value: Any, *, serial: int | None = None) -> bytes:
    head = "" if serial is None else f"id: {serial}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(value)}\n\n".encode()
