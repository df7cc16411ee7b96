"""The response to one request to ODP's events API: validation, faults, ledger.

`_http` calls it for each request.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from ._faults import Fault, FaultHit, Faults
from ._history import decode_entry
from ._ledger import EVENTS_PATH, Ledger, Request
from ._library import LibraryLog, ReportError
from ._lint import find_warnings
from ._validation import Refusal, check_key, parse_json, read_events

REFUSED_BY_FAULT = "refused by fault"

NO_SEGMENTS: dict[str, Any] = {"data": {"customer": {"audiences": {"edges": []}}}}
"""The response to a query for the segments of a customer without segments."""

# Larger bodies are parsed one after the other: they take up to 25 times their size.
_LARGE_BODY_BYTES = 65_536

# For each recorded response; 1,000 of them are kept.
_MAX_BODY_CHARACTERS_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class Response:
    """A response; status 0 means a reset of the connection instead."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0


class EventsApi:
    """The events API: validation, faults and ledger. Thread-safe."""

    def __init__(self, ledger: Ledger, faults: Faults, *, key: str | None) -> None:
        self.ledger = ledger
        self.faults = faults
        self.diagnostics = LibraryLog()
        self._key = key
        self._reading = threading.Lock()
        self._started = time.time()
        self._since = time.monotonic()

    def get_stats(self) -> dict[str, Any]:
        """Return the counts of ledger and faults, and the uptime in seconds."""
        active, fired = self.faults.count()
        return {
            **self.ledger.get_stats(),
            "faults_active": active,
            "faults_fired": fired,
            "any_key": self._key is None,
            "started": self._started,
            "uptime": time.monotonic() - self._since,
        }

    def list_entries(
        self, since: int = 0, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return ledger entries, each with warnings about values that ODP drops."""
        entries = self.ledger.list_entries(since, limit)
        return [add_warnings(entry) for entry in entries]

    def list_raw_entries(self, since: int, limit: int) -> Iterator[bytes]:
        """Yield the same as JSON, each encoded when it is requested."""
        for raw in self.ledger.list_raw_entries(since, limit):
            yield json.dumps(add_warnings(decode_entry(raw))).encode()

    def list_raw_requests(self, since: int, limit: int) -> Iterator[bytes]:
        """Yield the latest requests as JSON."""
        for request in self.ledger.list_requests(since, limit):
            yield json.dumps(request).encode()

    def receive(
        self, headers: Mapping[str, str], body: bytes, *, connection: int
    ) -> Response:
        """Record one request in the ledger; return the response that ODP would give.

        Events are recorded before the latency of a fault, as by a slow server that has
        already stored them.
        """
        if len(body) <= _LARGE_BODY_BYTES:
            return self._process_request(headers, body, connection)
        with self._reading:
            return self._process_request(headers, body, connection)

    def _process_request(
        self, headers: Mapping[str, str], body: bytes, connection: int
    ) -> Response:
        request = _build_request(connection, headers, len(body))
        try:
            outcome = _accept_events(read_events(headers, body, key=self._key))
        except Refusal as refusal:
            outcome = _build_refusal(refusal)
        # An event that ODP names invalid has no index for a fault to name again.
        hit = self.faults.find_hit(outcome.kept, len(body))
        if hit is not None:
            outcome = _apply_fault(hit, outcome)
        self.ledger.record(
            request,
            status=outcome.response.status,
            events=outcome.events,
            kept=outcome.kept,
            rejected=outcome.rejected,
            response=_serialize_response(
                outcome.response, by_fault=hit is not None, note=outcome.note
            ),
        )
        return outcome.response

    def record_refusal(
        self, headers: Mapping[str, str], status: int, reason: str, *, connection: int
    ) -> Response:
        """Record one request with an unread body; return a response with *status*."""
        request = _build_request(connection, headers)
        response = build_error_response(status, reason)
        serialized = _serialize_response(response, by_fault=False)
        self.ledger.record(request, status=status, events=[], response=serialized)
        return response

    def receive_query(
        self, headers: Mapping[str, str], body: bytes, *, path: str, connection: int
    ) -> Response:
        """Answer a GraphQL query as for a customer without segments; record it."""
        note = ""
        try:
            check_key(headers, self._key)
            query = parse_json(body)
            if not isinstance(query, dict) or not isinstance(query.get("query"), str):
                raise ValueError("no query")
            response = Response(200, json.dumps(NO_SEGMENTS).encode())
            note = "the customer is in no segment: the emulator has none"
        except Refusal as refusal:
            response, note = build_error_response(refusal.status), refusal.note
        except ValueError:
            response = build_error_response(
                400, "The body must be a GraphQL query in JSON."
            )
        request = _build_request(connection, headers, len(body), path=path)
        self._record_other(request, response, note)
        return response

    def receive_report(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Keep what a library reports of itself; it is no request of ODP's API."""
        try:
            check_key(headers, self._key)
            self.diagnostics.record(parse_json(body))
        except Refusal as refusal:
            return build_error_response(refusal.status)
        except ReportError as error:
            return build_error_response(400, f"{error}.")
        except ValueError:
            return build_error_response(400, "The body must be JSON.")
        self.ledger.notify_all()
        return Response(204)

    def clear(self) -> None:
        """Empty the ledger, and forget what libraries reported; serials continue."""
        self.diagnostics.clear()
        self.ledger.clear()

    def record_path_error(
        self,
        headers: Mapping[str, str],
        response: Response,
        *,
        method: str,
        path: str,
        size: int,
        connection: int,
    ) -> None:
        """Record a request for an unknown path: its address may be mistyped."""
        request = _build_request(connection, headers, size, method=method, path=path)
        self._record_other(request, response, f"events go to POST {EVENTS_PATH}")

    def _record_other(self, request: Request, response: Response, note: str) -> None:
        """Record a request that does not send events."""
        serialized = _serialize_response(response, by_fault=False, note=note)
        self.ledger.record_other(request, status=response.status, response=serialized)


def _build_request(
    connection: int, headers: Mapping[str, str], size: int = 0, **more: str
) -> Request:
    return Request(time.time(), time.monotonic(), connection, size, headers, **more)


def add_warnings(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a ledger *entry* with warnings about values that ODP silently drops."""
    return {**entry, "warnings": find_warnings(entry)}


def build_error_response(status: int, message: str = "", **detail: Any) -> Response:
    """Return a response in the form of ODP's error responses."""
    if status == 403 and not message:
        # ODP's gateway answers so, without the fields of its other errors.
        return Response(403, b'{"message":"Forbidden"}')
    if message:
        detail["message"] = message
    return _build_response(status, detail)


def _serialize_response(
    response: Response, *, by_fault: bool, note: str = ""
) -> dict[str, Any]:
    body = response.body.decode("utf-8", "replace")
    return {
        "title": _get_phrase(response.status) if response.status else "",
        "content_type": response.content_type,
        "headers": dict(response.headers),
        "latency": response.latency,
        "body": body[:_MAX_BODY_CHARACTERS_KEPT],
        "length": len(body),
        "fault": by_fault,
        "note": note,
    }


@dataclass(frozen=True, slots=True)
class _Outcome:
    response: Response
    events: list[Any]
    kept: list[Any] = field(default_factory=list)
    rejected: list[tuple[Any, str]] = field(default_factory=list)
    note: str = ""


def _accept_events(events: list[Any]) -> _Outcome:
    return _Outcome(_build_response(202, {}), events, kept=events)


def _build_refusal(refusal: Refusal) -> _Outcome:
    if not refusal.invalids:
        response = build_error_response(refusal.status, refusal.message)
        return _Outcome(response, refusal.events, note=refusal.note)
    return _reject_events(refusal.status, refusal.events, refusal.invalids)


def _reject_events(
    status: int, events: list[Any], invalids: Mapping[int, str]
) -> _Outcome:
    named = [{"event": i, "message": text} for i, text in sorted(invalids.items())]
    rejected = [(events[i], text) for i, text in sorted(invalids.items())]
    return _Outcome(
        build_error_response(status, invalids=named), events, rejected=rejected
    )


def _apply_fault(hit: FaultHit, outcome: _Outcome) -> _Outcome:
    fault = hit.fault
    if fault.drop is not None:
        dropped = replace(
            outcome, response=Response(0, latency=fault.latency), rejected=[]
        )
        # "after": the events are stored, and only the response is lost.
        return dropped if fault.drop == "after" else replace(dropped, kept=[])
    if hit.indexes:
        return _apply_headers(_reject_selected(hit, outcome), fault)
    if fault.response_status is None:
        return _apply_headers(outcome, fault)
    return _apply_headers(_apply_status(fault, fault.response_status, outcome), fault)


def _reject_selected(hit: FaultHit, outcome: _Outcome) -> _Outcome:
    fault, events = hit.fault, outcome.events
    status = fault.response_status or 400
    invalids = dict.fromkeys(hit.indexes, REFUSED_BY_FAULT)
    remaining = [e for i, e in enumerate(events) if i not in invalids]
    # Only a response that is about the events names some of them.
    if fault.opaque or status not in (400, 422):
        named = _Outcome(build_error_response(status), events)
    else:
        named = _reject_events(status, events, invalids)
    return replace(named, kept=remaining if fault.keep else [])


def _apply_status(fault: Fault, status: int, outcome: _Outcome) -> _Outcome:
    keep = fault.keep if fault.keep is not None else status < 300
    if status < 300 and keep and outcome.response.status != 202:
        # A request that ODP refuses stays refused: only a captive portal accepts it.
        return outcome
    kept = outcome.kept if keep else []
    return _Outcome(build_error_response(status), outcome.events, kept=kept)


def _apply_headers(outcome: _Outcome, fault: Fault) -> _Outcome:
    given = {"Retry-After": fault.retry_after, "Location": fault.location}
    response = replace(
        outcome.response,
        headers={name: text for name, text in given.items() if text is not None},
        latency=fault.latency,
    )
    if fault.body is not None:
        response = replace(response, body=fault.body.encode("utf-8", "replace"))
    if fault.content_type is not None:
        response = replace(response, content_type=fault.content_type)
    return replace(outcome, response=response)


def _build_response(status: int, detail: Mapping[str, Any]) -> Response:
    # As in ODP's responses: milliseconds and Z.
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    content: dict[str, Any] = {
        "title": _get_phrase(status),
        "status": status,
        "timestamp": now.replace("+00:00", "Z"),
    }
    if detail:
        content["detail"] = detail
    return Response(status, json.dumps(content, separators=(",", ":")).encode())


def _get_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
