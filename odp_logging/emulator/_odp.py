"""What becomes of one request to ODP's events API."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from ._checks import Refusal, read_events
from ._faults import Fault, Faults, Strike
from ._ledger import Ledger, Request
from ._swallowed import swallowed

REFUSED_BY_FAULT = "refused by fault"

# Of each answer, for who looks at it later: a thousand of them are kept.
_MAX_BODY_SHOWN = 4_096


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: status 0 is a reset of the connection instead of an answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0


class Odp:
    """Checks, faults and ledger together. Any thread may call it."""

    def __init__(self, ledger: Ledger, faults: Faults, *, key: str | None) -> None:
        self.ledger = ledger
        self.faults = faults
        self._key = key
        self._started = time.time()
        self._since = time.monotonic()

    def stats(self) -> dict[str, Any]:
        """The counts of ledger and faults, and for how long they were taken."""
        active, fired = self.faults.counts()
        return {
            **self.ledger.stats(),
            "faults_active": active,
            "faults_fired": fired,
            "any_key": self._key is None,
            "started": self._started,
            "uptime": time.monotonic() - self._since,
        }

    def entries(self, since: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The ledger's entries, each with what ODP would silently not keep of it."""
        entries = self.ledger.entries(since, limit)
        return [with_warnings(entry) for entry in entries]

    def receive(
        self, headers: Mapping[str, str], body: bytes, *, connection: int
    ) -> Answer:
        """Enter one request into the ledger; answers with what ODP would answer.

        Events are entered before a fault's latency, as by a slow server that has
        already done its work.
        """
        request = Request(time.time(), time.monotonic(), connection, len(body), headers)
        try:
            verdict = _accepted(read_events(headers, body, key=self._key))
        except Refusal as refusal:
            verdict = _refused(refusal)
        # An event that ODP names invalid has no index for a fault to name again.
        strike = self.faults.strike(verdict.kept, len(body))
        if strike is not None:
            verdict = _struck(strike, verdict)
        self.ledger.record(
            request,
            status=verdict.answer.status,
            events=verdict.events,
            kept=verdict.kept,
            rejected=verdict.rejected,
            answer=_described(verdict.answer, by_fault=strike is not None),
        )
        return verdict.answer

    def refuse_unread(
        self, headers: Mapping[str, str], status: int, reason: str, *, connection: int
    ) -> Answer:
        """Enter one request whose body cannot be read; answers with *status*."""
        request = Request(time.time(), time.monotonic(), connection, 0, headers)
        answer = problem(status, reason)
        described = _described(answer, by_fault=False)
        self.ledger.record(request, status=status, events=[], answer=described)
        return answer


def with_warnings(entry: dict[str, Any]) -> dict[str, Any]:
    """A ledger *entry* with what ODP would silently not keep of it."""
    return {**entry, "warnings": swallowed(entry)}


def problem(status: int, message: str = "", **detail: Any) -> Answer:
    """An answer in the form that ODP gives its refusals."""
    if status == 403 and not message:
        return Answer(403, b'{"message":"Forbidden"}')
    if message:
        detail["message"] = message
    return _answer(status, detail)


def _described(answer: Answer, *, by_fault: bool) -> dict[str, Any]:
    body = answer.body.decode("utf-8", "replace")
    return {
        "title": _title(answer.status) if answer.status else "",
        "content_type": answer.content_type,
        "headers": dict(answer.headers),
        "latency": answer.latency,
        "body": body[:_MAX_BODY_SHOWN],
        "length": len(body),
        "fault": by_fault,
    }


@dataclass(frozen=True, slots=True)
class _Verdict:
    answer: Answer
    events: list[Any]
    kept: list[Any] = field(default_factory=list)
    rejected: list[tuple[Any, str]] = field(default_factory=list)


def _accepted(events: list[Any]) -> _Verdict:
    return _Verdict(_answer(202, {}), events, kept=events)


def _refused(refusal: Refusal) -> _Verdict:
    if not refusal.invalids:
        return _Verdict(problem(refusal.status, refusal.message), refusal.events)
    return _named_invalid(refusal.status, refusal.events, refusal.invalids)


def _named_invalid(
    status: int, events: list[Any], invalids: Mapping[int, str]
) -> _Verdict:
    named = [{"event": i, "message": text} for i, text in sorted(invalids.items())]
    rejected = [(events[i], text) for i, text in sorted(invalids.items())]
    return _Verdict(problem(status, invalids=named), events, rejected=rejected)


def _struck(strike: Strike, verdict: _Verdict) -> _Verdict:
    fault = strike.fault
    if fault.drop is not None:
        dropped = replace(verdict, answer=Answer(0, latency=fault.latency), rejected=[])
        return dropped if fault.drop == "after" else replace(dropped, kept=[])
    if strike.indexes:
        return _dressed(_selected(strike, verdict), fault)
    if fault.answer is None:
        return _dressed(verdict, fault)
    return _dressed(_answered(fault, fault.answer, verdict), fault)


def _selected(strike: Strike, verdict: _Verdict) -> _Verdict:
    fault, events = strike.fault, verdict.events
    status = fault.answer or 400
    invalids = dict.fromkeys(strike.indexes, REFUSED_BY_FAULT)
    others = [e for i, e in enumerate(events) if i not in invalids]
    if fault.opaque or status not in (400, 422):
        named = _Verdict(problem(status), events)
    else:
        named = _named_invalid(status, events, invalids)
    return replace(named, kept=others if fault.keep else [])


def _answered(fault: Fault, status: int, verdict: _Verdict) -> _Verdict:
    keep = fault.keep if fault.keep is not None else status < 300
    if status < 300 and keep and verdict.answer.status != 202:
        # Only a captive portal says yes to what ODP would refuse.
        return verdict
    kept = verdict.kept if keep else []
    return _Verdict(problem(status), verdict.events, kept=kept)


def _dressed(verdict: _Verdict, fault: Fault) -> _Verdict:
    given = {"Retry-After": fault.retry_after, "Location": fault.location}
    answer = replace(
        verdict.answer,
        headers={name: text for name, text in given.items() if text is not None},
        latency=fault.latency,
    )
    if fault.body is not None:
        answer = replace(answer, body=fault.body.encode("utf-8", "replace"))
    if fault.content_type is not None:
        answer = replace(answer, content_type=fault.content_type)
    return replace(verdict, answer=answer)


def _answer(status: int, detail: Mapping[str, Any]) -> Answer:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    content: dict[str, Any] = {
        "title": _title(status),
        "status": status,
        "timestamp": now.replace("+00:00", "Z"),
    }
    if detail:
        content["detail"] = detail
    return Answer(status, json.dumps(content, separators=(",", ":")).encode())


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
