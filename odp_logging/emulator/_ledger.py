"""What was accepted, by idempotence id, and the latest of it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KEPT_ENTRIES = 10_000
KEPT_REQUESTS = 1_000

# So that ten thousand large events cannot fill the memory of a test run.
KEPT_BYTES = 64 * 2**20

_MAX_HEADER = 1_024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in. *headers* are by lower-case name."""

    time: float
    monotonic: float
    connection: int
    size: int
    headers: Mapping[str, str]


class Ledger:
    """Counts, the latest entries and the latest requests. Any thread may call it.

    An id stays known after its event has left the ring, so duplicates are found
    however late they come.
    """

    def __init__(
        self, *, max_entries: int = KEPT_ENTRIES, max_bytes: int = KEPT_BYTES
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._last = 0
        self._requests = 0
        self._clearings = 0
        self._version = 0
        self._reset()

    def record(
        self,
        request: Request,
        *,
        status: int,
        events: list[Any],
        kept: Iterable[Any] = (),
        rejected: Iterable[tuple[Any, str]] = (),
        answer: Mapping[str, Any] | None = None,
    ) -> None:
        """Enter one request and what became of its *events*, in one step.

        Args:
            status: what is answered; 0 for a connection that is dropped.
            kept: the events that count as accepted.
            rejected: the events that are named invalid, with the reason.
            answer: what else is known of it, for who reads the requests.
        """
        ids = [idempotence_id(event) for event in events]
        taken = [(event, _digest(idempotence_id(event))) for event in kept]
        refused = list(rejected)
        share = request.size // (len(events) or 1)
        line = _request_line(request, status=status, ids=ids)
        line["lost"] = len(events) - len(taken) - len(refused)
        line["rejected"] = len(refused)
        line["answer"] = dict(answer or {})
        with self._changed:
            self._requests += 1
            self._total += 1
            self._statuses[status] += 1
            self._enter_request({"n": self._requests, **line})
            for event, digest in taken:
                self._accept(event, digest, share)
            for event, reason in refused:
                self._rejected += 1
                self._enter(event, share, status="rejected", reason=reason)
            self._tell()

    def stats(self) -> dict[str, Any]:
        """The counts at this moment."""
        with self._changed:
            return {
                "received": self._unique + self._duplicates,
                "unique": self._unique,
                "duplicates": self._duplicates,
                "rejected": self._rejected,
                "requests": self._total,
                "statuses": {str(k): n for k, n in sorted(self._statuses.items())},
                "dropped_connections": self._statuses[0],
                "last": self._last,
                "clearings": self._clearings,
            }

    def entries(self, since: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """Entries with a serial above *since*, oldest first, at most *limit*."""
        with self._changed:
            return self._after(since, limit)

    def requests(
        self, since: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Requests with a serial above *since*, oldest first, at most *limit*."""
        with self._changed:
            return self._requests_after(since)[:limit]

    def news(
        self, since: int, since_request: int, limit: int
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Entries after *since* and requests after *since_request*, as of one moment.

        Of the requests, those up to the last entry's: the others come with the next.
        """
        with self._changed:
            entries = self._after(since, limit)
            requests = self._requests_after(since_request)
        if len(entries) == limit:
            last = entries[-1]["request"]
            requests = [line for line in requests if line["n"] < last]
        return entries, requests

    def clear(self) -> None:
        """Forget everything but the serials, so that a reader's *since* stays good."""
        with self._changed:
            self._clearings += 1
            self._reset()
            self._tell()

    def wake(self) -> None:
        """Wake those who wait, because something beside the ledger changed."""
        with self._changed:
            self._tell()

    def wait_for(self, unique: int, timeout: float) -> bool:
        """Wait until *unique* events were accepted; False if *timeout* came first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._unique >= unique, timeout)

    def wait_change(self, version: int, timeout: float) -> int:
        """Wait until the version is another than *version*; answers with it."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)
            return self._version

    @property
    def last(self) -> int:
        """The serial of the newest entry there was."""
        return self._last

    @property
    def clearings(self) -> int:
        """How often it was cleared."""
        return self._clearings

    def _reset(self) -> None:
        self._first = self._last + 1
        self._ring: dict[int, tuple[dict[str, Any], int]] = {}
        self._ring_bytes = 0
        self._seen: set[bytes] = set()
        self._log: deque[dict[str, Any]] = deque()
        self._log_sizes: deque[int] = deque()
        self._log_bytes = 0
        self._statuses: Counter[int] = Counter()
        self._unique = self._duplicates = self._rejected = self._total = 0

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _accept(self, event: Any, digest: bytes | None, size: int) -> None:
        if digest is not None and digest in self._seen:
            self._duplicates += 1
            self._enter(event, size, status="duplicate", reason=None)
            return
        if digest is not None:
            self._seen.add(digest)
        self._unique += 1
        self._enter(event, size, status="accepted", reason=None)

    def _enter(self, event: Any, size: int, *, status: str, reason: str | None) -> None:
        self._last += 1
        entry = {
            "n": self._last,
            "received": time.time(),
            "status": status,
            "reason": reason,
            "request": self._requests,
            "event": event,
        }
        self._ring[self._last] = (entry, size)
        self._ring_bytes += size
        while len(self._ring) > self._max_entries or (
            self._ring_bytes > self._max_bytes and len(self._ring) > 1
        ):
            self._ring_bytes -= self._ring.pop(self._first)[1]
            self._first += 1

    def _enter_request(self, line: dict[str, Any]) -> None:
        size = _weight(line)
        self._log.append(line)
        self._log_sizes.append(size)
        self._log_bytes += size
        while len(self._log) > KEPT_REQUESTS or (
            self._log_bytes > self._max_bytes and len(self._log) > 1
        ):
            self._log.popleft()
            self._log_bytes -= self._log_sizes.popleft()

    def _requests_after(self, since: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for line in reversed(self._log):
            if line["n"] <= since:
                break
            found.append(dict(line))
        return found[::-1]

    def _after(self, since: int, limit: int | None) -> list[dict[str, Any]]:
        start = max(since + 1, self._first)
        stop = self._last + 1 if limit is None else min(self._last + 1, start + limit)
        return [dict(self._ring[n][0]) for n in range(start, stop)]


def idempotence_id(event: Any) -> str | None:
    """The id in *event*'s data as text, or None if there is none to speak of."""
    data = event.get("data") if isinstance(event, dict) else None
    value = data.get("idempotence_id") if isinstance(data, dict) else None
    if isinstance(value, str):
        return value or None
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """*headers* without what must stay secret, and with bounded values."""
    return {name: _masked(name, value) for name, value in headers.items()}


def _masked(name: str, value: str) -> str:
    if name == "x-api-key":
        return "…" + value[-4:] if len(value) > 4 else "…"
    if name in ("authorization", "cookie", "proxy-authorization"):
        return "…"
    return value[:_MAX_HEADER]


def _request_line(
    request: Request, *, status: int, ids: list[str | None]
) -> dict[str, Any]:
    return {
        "time": request.time,
        "monotonic": request.monotonic,
        "connection": request.connection,
        "status": status,
        "events": len(ids),
        "bytes": request.size,
        "headers": masked_headers(request.headers),
        "ids": [text for text in ids if text is not None],
    }


def _weight(line: Mapping[str, Any]) -> int:
    # What a client may have made large: ids of any length, and names of headers.
    headers = line["headers"].items()
    return sum(map(len, line["ids"])) + sum(len(k) + len(v) for k, v in headers)


def _digest(text: str | None) -> bytes | None:
    # Sixteen bytes for any id, so that half a million stay near 50 MB.
    if text is None:
        return None
    return hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
