"""The record of requests: counts, known idempotence ids, the latest events.

`_api` writes it; `_api` and `_sse` read it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._history import EntryHistory, KnownIds, Raw, RequestHistory, decode_entry

EVENTS_PATH = "/v3/events"
LIBRARY_PATH = "/_emulator/library"

KEPT_ENTRIES = 10_000

# So that ten thousand large events cannot fill the memory of a test run.
KEPT_BYTES = 64 * 2**20

KEPT_IDS = 1_000_000
"""Ids that are recognized as duplicates; they take about 130 MB."""

_MAX_HEADER_CHARACTERS = 1_024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was received. *headers* are by lower-case name."""

    method: str = field(default="POST", kw_only=True)
    path: str = field(default=EVENTS_PATH, kw_only=True)

    time: float
    monotonic: float
    connection: int
    size: int
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    other_requests: int = 0
    unique: int = 0
    duplicates: int = 0
    rejected: int = 0
    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


class Ledger:
    """Counts, the latest entries and the latest requests. Thread-safe.

    An id stays known after its entry was removed, so late duplicates are found; of more
    than `KEPT_IDS` ids, the oldest are removed.
    """

    def __init__(
        self,
        *,
        max_entries: int = KEPT_ENTRIES,
        max_bytes: int = KEPT_BYTES,
        max_ids: int = KEPT_IDS,
    ) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._clearings = 0
        self._counts = _Counts()
        self._entries = EntryHistory(max_entries=max_entries, max_bytes=max_bytes)
        self._requests = RequestHistory(max_bytes=max_bytes)
        self._ids = KnownIds(max_ids=max_ids)

    def record(
        self,
        request: Request,
        *,
        status: int,
        events: list[Any],
        kept: Iterable[Any] = (),
        rejected: Iterable[tuple[Any, str]] = (),
        response: Mapping[str, Any] | None = None,
    ) -> None:
        """Record one request and the outcome of its *events* in one step.

        Args:
            status: the status of the response; 0 for a connection that is dropped.
            kept: the accepted events.
            rejected: the events that are named invalid, with the reason.
            response: more fields of the response, for the list of requests.
        """
        # Encoded before the lock is taken: events may be large.
        ids = [get_idempotence_id(event) for event in events]
        accepted = [
            (_encode_json(event), _hash_id(get_idempotence_id(event))) for event in kept
        ]
        invalid = [(_encode_json(event), reason) for event, reason in rejected]
        serialized = _serialize_request(request, status=status, ids=ids)
        serialized["lost"] = len(events) - len(accepted) - len(invalid)
        serialized["rejected"] = len(invalid)
        # "answer" is the public key of the response.
        serialized["answer"] = dict(response or {})
        with self._changed:
            self._counts.requests += 1
            self._counts.refused += is_refused(serialized)
            self._counts.statuses[status] += 1
            self._requests.append(serialized)
            for event, id_hash in accepted:
                self._accept(event, id_hash)
            for event, reason in invalid:
                self._counts.rejected += 1
                self._append_entry(event, status="rejected", reason=reason)
            self._notify()

    def record_other(
        self, request: Request, *, status: int, response: Mapping[str, Any]
    ) -> None:
        """Record one request that does not send events."""
        serialized = _serialize_request(request, status=status, ids=[])
        serialized.update(lost=0, rejected=0, answer=dict(response))
        with self._changed:
            self._counts.other_requests += 1
            self._counts.refused += is_refused(serialized)
            self._requests.append(serialized)
            self._notify()

    def get_stats(self) -> dict[str, Any]:
        """Return the current counts."""
        with self._changed:
            counts = self._counts
            return {
                "received": counts.unique + counts.duplicates,
                "unique": counts.unique,
                "duplicates": counts.duplicates,
                "rejected": counts.rejected,
                "refused": counts.refused,
                "requests": counts.requests,
                "other_requests": counts.other_requests,
                "statuses": {str(k): n for k, n in sorted(counts.statuses.items())},
                "dropped_connections": counts.statuses[0],
                "last": self._entries.last,
                "clearings": self._clearings,
            }

    def list_entries(
        self, since: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return at most *limit* entries with a serial above *since*, oldest first."""
        return [decode_entry(entry) for entry in self.list_raw_entries(since, limit)]

    def list_raw_entries(self, since: int, limit: int | None) -> list[Raw]:
        """Return the same as they are kept; `decode_entry` decodes one."""
        with self._changed:
            return self._entries.list_since(since, limit)

    def list_requests(
        self, since: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return at most *limit* requests with a serial above *since*, oldest first."""
        with self._changed:
            return self._requests.list_since(since)[:limit]

    def list_new(
        self, since: int, since_request: int, limit: int
    ) -> tuple[list[Raw], list[dict[str, Any]]]:
        """Return a consistent list of entries and requests after these serials.

        Requests after that of the last entry are left for the next call.
        """
        with self._changed:
            entries = self._entries.list_since(since, limit)
            requests = self._requests.list_since(since_request)
        if len(entries) == limit:
            last = entries[-1][0]["request"]
            requests = [request for request in requests if request["n"] < last]
        return entries, requests

    def clear(self) -> None:
        """Remove everything but the serials, so that a reader's *since* stays valid."""
        with self._changed:
            self._clearings += 1
            self._counts = _Counts()
            self._entries.clear()
            self._requests.clear()
            self._ids.clear()
            self._notify()

    def notify_all(self) -> None:
        """Wake waiting threads because something outside of the ledger changed."""
        with self._changed:
            self._notify()

    def wait_for(self, unique: int, timeout: float) -> bool:
        """Wait until *unique* events were accepted; return False after *timeout*."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._counts.unique >= unique, timeout
            )

    def wait_for_requests(self, since: int, timeout: float) -> list[dict[str, Any]]:
        """Wait for a request after the serial *since*; return all, oldest first."""
        with self._changed:
            self._changed.wait_for(lambda: self._requests.last > since, timeout)
            return self._requests.list_since(since)

    def wait_for_change(self, version: int, timeout: float) -> int:
        """Wait until the version differs from *version*; return the version."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)
            return self._version

    @property
    def last(self) -> int:
        """The serial of the newest entry."""
        return self._entries.last

    @property
    def clearings(self) -> int:
        """The number of calls of `clear`."""
        return self._clearings

    def _accept(self, event: bytes, id_hash: bytes | None) -> None:
        if id_hash is not None and not self._ids.add(id_hash):
            self._counts.duplicates += 1
            self._append_entry(event, status="duplicate", reason=None)
            return
        self._counts.unique += 1
        self._append_entry(event, status="accepted", reason=None)

    def _append_entry(self, event: bytes, *, status: str, reason: str | None) -> None:
        self._entries.append(
            event, status=status, reason=reason, request=self._requests.last
        )

    def _notify(self) -> None:
        self._version += 1
        self._changed.notify_all()


def is_refused(request: Mapping[str, Any]) -> bool:
    """
    Return whether a serialized *request* was refused as a whole.

    It failed without a reason for a certain event, or events of it were not taken.
    """
    failed = not 200 <= request["status"] < 300 and not request["rejected"]
    return bool(failed or request["lost"])


def get_idempotence_id(event: Any) -> str | None:
    """Return the id in *event*'s data as text, or None if there is no usable one."""
    data = event.get("data") if isinstance(event, dict) else None
    value = data.get("idempotence_id") if isinstance(data, dict) else None
    if isinstance(value, str):
        return value or None
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with secrets masked and long values truncated."""
    return {name: _mask_value(name, value) for name, value in headers.items()}


def _mask_value(name: str, value: str) -> str:
    if name == "x-api-key":
        return "…" + value[-4:] if len(value) > 4 else "…"
    if name in ("authorization", "cookie", "proxy-authorization"):
        return "…"
    return value[:_MAX_HEADER_CHARACTERS]


def _serialize_request(
    request: Request, *, status: int, ids: list[str | None]
) -> dict[str, Any]:
    return {
        "time": request.time,
        "monotonic": request.monotonic,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "status": status,
        "events": len(ids),
        "bytes": request.size,
        "headers": mask_headers(request.headers),
        "ids": [text for text in ids if text is not None],
    }


def _encode_json(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _hash_id(text: str | None) -> bytes | None:
    # 16 bytes for an id of any length, so that the ids take a bounded memory.
    if text is None:
        return None
    return hashlib.blake2b(
        # Escapes in JSON may stand for lone surrogates.
        text.encode("utf-8", "surrogatepass"),
        digest_size=16,
    ).digest()
