"""Each record of the corpus has exactly the outcome written beside it."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from odp_logging import OdpClient, OdpEvent, OdpHandler, OdpProcessor, __version__
from odp_logging._capture.fields import FIELDS
from odp_logging._events import body
from odp_logging.emulator import Emulator

from ...conftest import KEY
from .expected import Dropped, Outcome, Record, Rejected, Sent, as_extra
from .records import RECORDS

GOOD = {"odp_action": "good", "odp_identifiers": {"email": "a@example.com"}}
PATIENCE = 30.0
LONGEST_CALL = 20.0
DEFAULTS = {
    "data_source_type": "sdk",
    "data_source": "odp-logging",
    "data_source_version": __version__,
}


class Watched(OdpHandler):
    """A handler that keeps what `logging` is told of its errors."""

    errors = 0

    def handleError(self, record: logging.LogRecord) -> None:
        """Count, and do what every handler does."""
        self.errors += 1
        super().handleError(record)


class Run:
    """One client, the records that went through it, and what came of them."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.delivered: list[OdpEvent] = []
        self.times: list[tuple[float, float]] = []
        self.longest = 0.0
        self.client = OdpClient(
            KEY,
            api_host=emulator.url,
            handle_sigterm=False,
            max_queue_bytes=2**24,
            max_parallel_requests=1,  # in order, also between customers
            on_delivery=self.delivered.extend,
        )

    def play(
        self,
        records: list[Record],
        log: Callable[[Record, Any], object],
        good: Callable[[str], object],
    ) -> None:
        """Log each record with a good one before and after it, then flush."""
        for place, record in enumerate(records):
            good(f"{place} before")
            made = record.make()
            began, moment = time.monotonic(), time.time()
            log(record, made)
            self.times.append((moment, time.time()))
            self.longest = max(self.longest, time.monotonic() - began)
            record.after(made)
            good(f"{place} after")
        assert self.client.flush(PATIENCE)

    def between(self) -> dict[int, list[tuple[dict[str, Any], OdpEvent]]]:
        """Return what arrived of each record; every good event must have."""
        arrived = [each["event"] for each in self.emulator.events()]
        assert [event.to_dict() for event in self.delivered] == arrived
        found: dict[int, list[tuple[dict[str, Any], OdpEvent]]] = {}
        good = []
        for sent, event in zip(arrived, self.delivered):
            if sent["action"] == "good":
                good.append(sent["data"]["idempotence_id"])
            else:
                found.setdefault(int(good[-1].split()[0]), []).append((sent, event))
        expected = [(f"{n} before", f"{n} after") for n in range(len(self.times))]
        assert good == [each for pair in expected for each in pair]
        return found


def shown(sent: dict[str, Any], event: OdpEvent) -> Sent:
    """Return what arrived in the form in which it is expected."""
    body = dict(sent["data"])
    ts, given = body.pop("ts"), body.pop("idempotence_id")
    for name, default in DEFAULTS.items():
        if body.get(name) == default:
            del body[name]
    return Sent(
        body,
        sent["identifiers"],
        sent["action"],
        sent["type"],
        event.adjusted,
        ts,
        given,
    )


def told(outcome: Sent) -> str:
    """Return *outcome* as text in which 1, 1.0 and True differ."""
    parts = [
        outcome.action,
        outcome.type,
        outcome.identifiers,
        outcome.data,
        dict(outcome.adjusted),
        outcome.ts,
        outcome.id,
    ]
    return json.dumps(parts, sort_keys=True)


def fitted(expected: Sent, found: Sent, span: tuple[float, float]) -> Sent:
    """Return *expected* with what cannot be written down taken from *found*."""
    body = dict(expected.data)
    for name, text in body.items():
        if isinstance(text, re.Pattern) and text.fullmatch(str(found.data.get(name))):
            body[name] = found.data[name]
    ts: Any = expected.ts
    if ts is None and int(span[0]) <= found.ts <= int(span[1]):
        ts = found.ts
    given = expected.id or (found.id if found.id and len(found.id) == 36 else None)
    return Sent(
        body,
        expected.identifiers,
        expected.action,
        expected.type,
        expected.adjusted,
        ts,
        given,
    )


def check(run: Run, records: list[Record]) -> None:
    """Assert that each of *records* had its outcome, and nothing else happened."""
    found = run.between()
    wrong = []
    for place, record in enumerate(records):
        outcomes = [shown(*each) for each in found.get(place, [])]
        if not isinstance(record.outcome, Sent):
            if outcomes:
                wrong.append(f"{record.name}: sent {[told(each) for each in outcomes]}")
            continue
        if len(outcomes) != 1:
            wrong.append(f"{record.name}: sent {len(outcomes)} times")
            continue
        due = fitted(record.outcome, outcomes[0], run.times[place])
        if told(due) != told(outcomes[0]):
            wrong.append(
                f"{record.name}: {told(outcomes[0])[:600]}, not {told(due)[:600]}"
            )
    assert not wrong, "\n".join(wrong)
    stats = run.client.stats
    kinds = Counter(type(each.outcome) for each in records)
    assert sum(stats.rejected.values()) == kinds[Rejected]
    assert sum(stats.dropped.values()) == kinds[Dropped]
    assert stats.delivered == 2 * len(records) + kinds[Sent]
    assert stats.retried == stats.pending == 0
    assert {each["status"] for each in run.emulator.requests()} <= {202}
    assert run.longest < LONGEST_CALL


def kind_of(record: Record) -> Any:
    """Return what records must share to be counted together."""
    outcome = record.outcome
    return type(outcome) if isinstance(outcome, Sent) else outcome


GROUPS: dict[Any, list[Record]] = {}
for _each in RECORDS:
    GROUPS.setdefault(kind_of(_each), []).append(_each)


def _named(group: Any) -> str:
    return getattr(group, "reason", "") or getattr(group, "__name__", "ignored")


def counts(outcome: Outcome, many: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return what is counted as rejected and dropped for *many* of an outcome."""
    rejected = {outcome.reason: many} if isinstance(outcome, Rejected) else {}
    dropped = {outcome.reason: many} if isinstance(outcome, Dropped) else {}
    return rejected, dropped


@pytest.fixture(params=["json", "msgspec"])
def run(
    emulator: Emulator, request: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """A run against an emulator of its own, with each encoder of the general path."""
    monkeypatch.setattr(body, "_encode", body._encode_with_json)
    if request.param == "msgspec":
        body.load_encoder()
        assert body._encode is not body._encode_with_json
    made = Run(emulator)
    yield made
    made.client.close()


def test_the_corpus_is_large() -> None:
    """The corpus holds at least 250 records, no two of one name."""
    assert len(RECORDS) >= 250
    assert len({record.name for record in RECORDS}) == len(RECORDS)


@pytest.mark.parametrize("group", GROUPS, ids=_named)
def test_logged(group: Any, run: Run) -> None:
    """Through the handler, each record has its outcome and its neighbours arrive."""
    records = GROUPS[group]
    handler = Watched(client=run.client)
    # Of nobody's tree: pytest keeps all records of others, a hundred megabytes each.
    logger = logging.Logger("shop")
    logger.addHandler(handler)
    assert logging.raiseExceptions

    run.play(
        records,
        lambda record, made: record.log(logger, made),
        lambda name: logger.info("good", extra={**GOOD, "odp_idempotence_id": name}),
    )

    check(run, records)
    rejected, dropped = counts(group, len(records))
    assert (run.client.stats.rejected, run.client.stats.dropped) == (rejected, dropped)
    assert handler.errors == 0


@pytest.mark.parametrize("group", GROUPS, ids=_named)
def test_logged_with_structlog(group: Any, run: Run) -> None:
    """Through the processor, each record has the same outcome."""
    records = [record for record in GROUPS[group] if record.log is as_extra]
    records = [each for each in records if all(map(_is_text, each.make()))]
    printed: list[Any] = []

    def end(logger: Any, name: str, event_dict: Any) -> str:
        printed.append(event_dict)
        return ""

    log = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[OdpProcessor(run.client), end]
    )
    run.play(
        records,
        lambda record, made: log.info("hostile", **made),
        lambda name: log.info("good", odp_idempotence_id=name, **GOOD),
    )

    check(run, records)
    assert all(FIELDS.isdisjoint(each) for each in printed)
    rejected, dropped = counts(group, len(records))
    if records:
        assert run.client.stats.rejected == rejected
        assert run.client.stats.dropped == dropped


def _is_text(key: object) -> bool:
    return type(key) is str
