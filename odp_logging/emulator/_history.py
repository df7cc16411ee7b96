"""What the ledger keeps within limits: entries, requests and idempotence ids.

`_ledger` uses them while it holds its lock; none of them is thread-safe alone.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

KEPT_REQUESTS = 1_000

# What an object takes in memory beside its text.
_OBJECT_BYTES = 64
_REQUEST_BYTES = 2_048

Raw = tuple[dict[str, Any], bytes]
"""An entry without its event, and the event as JSON: a parsed one takes up to 25 times
as much memory."""


class EntryHistory:
    """The latest entries. An entry is an event and what became of it."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.last = 0
        self._first = 1
        self._entries: dict[int, Raw] = {}
        self._bytes = 0

    def append(
        self, event: bytes, *, status: str, reason: str | None, request: int
    ) -> None:
        """Add an entry under the next serial, and remove the oldest above a limit."""
        self.last += 1
        entry = {
            "n": self.last,
            "received": time.time(),
            "status": status,
            "reason": reason,
            "request": request,
        }
        self._entries[self.last] = (entry, event)
        self._bytes += len(event)
        while len(self._entries) > self._max_entries or (
            # The newest one stays, however large: a test waits for it.
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            self._bytes -= len(self._entries.pop(self._first)[1])
            self._first += 1

    def list_since(self, since: int, limit: int | None) -> list[Raw]:
        """Return at most *limit* entries with a serial above *since*, oldest first."""
        start = max(since + 1, self._first)
        stop = self.last + 1 if limit is None else min(self.last + 1, start + limit)
        return [self._entries[serial] for serial in range(start, stop)]

    def clear(self) -> None:
        """Remove all entries; serials continue."""
        self._first = self.last + 1
        self._entries = {}
        self._bytes = 0


class RequestHistory:
    """The latest requests, described for readers."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.last = 0
        self._requests: deque[dict[str, Any]] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def append(self, request: dict[str, Any]) -> None:
        """Add a request under the next serial, and remove the oldest above a limit."""
        self.last += 1
        size = _estimate_size(request)
        self._requests.append({"n": self.last, **request})
        self._sizes.append(size)
        self._bytes += size
        while len(self._requests) > KEPT_REQUESTS or (
            self._bytes > self._max_bytes and len(self._requests) > 1
        ):
            self._requests.popleft()
            self._bytes -= self._sizes.popleft()

    def list_since(self, since: int) -> list[dict[str, Any]]:
        """Return copies of the requests with a serial above *since*, oldest first."""
        found: list[dict[str, Any]] = []
        for request in reversed(self._requests):
            if request["n"] <= since:
                break
            found.append(dict(request))
        return found[::-1]

    def clear(self) -> None:
        """Remove all requests; serials continue."""
        self._requests.clear()
        self._sizes.clear()
        self._bytes = 0


class KnownIds:
    """The hashes of idempotence ids that were accepted; the oldest are removed."""

    def __init__(self, *, max_ids: int) -> None:
        self._max_ids = max_ids
        # A dict keeps the order, a set does not.
        self._ids: dict[bytes, None] = {}

    def add(self, id_hash: bytes) -> bool:
        """Add *id_hash*; return False if it is known already."""
        if id_hash in self._ids:
            return False
        self._ids[id_hash] = None
        if len(self._ids) > self._max_ids:
            del self._ids[next(iter(self._ids))]
        return True

    def clear(self) -> None:
        """Forget all ids."""
        self._ids = {}


def decode_entry(raw: Raw) -> dict[str, Any]:
    """Return a copy of an entry with its event decoded."""
    entry, event = raw
    return {**entry, "event": json.loads(event)}


def _estimate_size(request: Mapping[str, Any]) -> int:
    # The parts that a client can make large: ids, and names and values of headers.
    texts = [*request["ids"], *request["headers"], *request["headers"].values()]
    return _REQUEST_BYTES + sum(map(len, texts)) + _OBJECT_BYTES * len(texts)
