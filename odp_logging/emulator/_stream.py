"""The live stream of one page: server-sent events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ._odp import Odp, with_warnings

# One round sends so many entries and then rests, so that a flood of events costs the
# emulator a bounded share of its time however many pages are open.
_ROUND = 1_000
_REST = 0.05

_STATS_INTERVAL = 0.25
_LONGEST_WAIT = 1.0


class Stream:
    """What one page is sent: each ledger entry, the counts, and a sign of life.

    Its thread is that of the page's connection.

    Args:
        write: sends bytes to the page at once; raises OSError when it is gone.
        since: the serial of the last entry that the page knows.
        since_request: that of the last request.
    """

    def __init__(
        self,
        odp: Odp,
        write: Callable[[bytes], None],
        *,
        since: int,
        since_request: int = 0,
        ping_interval: float,
    ) -> None:
        self._odp = odp
        self._write = write
        # A serial from an emulator that ran here before means nothing to this one.
        self._since = since if since <= odp.ledger.last else 0
        self._since_request = since_request if self._since == since else 0
        self._ping_interval = ping_interval
        self._clearings = odp.ledger.clearings
        self._counts: dict[str, Any] = {}
        self._next_stats = 0.0
        self._next_ping = time.monotonic() + ping_interval

    def run(self, ending: threading.Event, gone: Callable[[], bool]) -> None:
        """Send until *ending* is set or the page is *gone*."""
        # Without it browsers wait three seconds before they come back.
        self._write(b"retry: 1000\n\n")
        version = -1
        while not ending.is_set() and not gone():
            version = self._odp.ledger.wait_change(version, self._patience())
            if self._send_entries() == _ROUND:
                version = -1
            self._send_stats()
            self._send_ping()
            ending.wait(_REST)

    def _patience(self) -> float:
        now = time.monotonic()
        ping = max(0.0, self._next_ping - now)
        # Counts that came too soon after the last ones are still owed.
        owed = self._next_stats - now
        return min(_LONGEST_WAIT, ping, owed if owed > 0 else _LONGEST_WAIT)

    def _send_entries(self) -> int:
        clearings = self._odp.ledger.clearings
        if clearings != self._clearings:
            self._clearings = clearings
            self._send("clear", {"clearings": clearings})
        entries, requests = self._odp.ledger.news(
            self._since, self._since_request, _ROUND
        )
        if entries:
            self._since = entries[-1]["n"]
        if requests:
            self._since_request = requests[-1]["n"]
        if entries or requests:
            self._write(b"".join(_in_order(entries, requests)))
        return len(entries)

    def _send_stats(self) -> None:
        now = time.monotonic()
        if now < self._next_stats:
            return
        stats = self._odp.stats()
        counts = {k: v for k, v in stats.items() if k != "uptime"}
        if counts != self._counts:
            self._counts = counts
            self._next_stats = now + _STATS_INTERVAL
            self._send("stats", stats)

    def _send_ping(self) -> None:
        now = time.monotonic()
        if now >= self._next_ping:
            self._next_ping = now + self._ping_interval
            self._write(b": ping\n\n")

    def _send(self, kind: str, value: Any) -> None:
        self._write(_message(kind, value))


def _in_order(
    entries: list[dict[str, Any]], requests: list[dict[str, Any]]
) -> Iterator[bytes]:
    """Each entry, and behind those of its events each request that went wrong."""
    told = [(e["request"], 0, e) for e in entries]
    told += [(r["n"], 1, r) for r in requests if _went_wrong(r)]
    for _, kind, one in sorted(told, key=lambda each: each[:2]):
        if kind == 0:
            yield _message("entry", with_warnings(one), serial=one["n"])
        else:
            yield _message("request", {name: one[name] for name in _TOLD})


def _went_wrong(request: Mapping[str, Any]) -> bool:
    refused = not 200 <= request["status"] < 300 and not request["rejected"]
    return bool(refused or request["lost"])


_TOLD = ("n", "time", "status", "events", "bytes", "lost", "rejected", "answer")


def _message(kind: str, value: Any, *, serial: int | None = None) -> bytes:
    head = "" if serial is None else f"id: {serial}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(value)}\n\n".encode()
