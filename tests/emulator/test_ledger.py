"""The ledger counts what was accepted by idempotence id, and keeps the latest of it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from odp_logging.emulator import Emulator
from odp_logging.emulator._ledger import (
    Ledger,
    Request,
    get_idempotence_id,
    mask_headers,
)

from .conftest import KEY, PATIENCE, an_event, call, send, some_events


def _request(size: int = 100) -> Request:
    return Request(time.time(), time.monotonic(), 1, size, {})


def _serials(ledger: Ledger) -> list[int]:
    return [entry["n"] for entry in ledger.list_entries()]


def test_received_is_unique_and_duplicates(odp: Emulator) -> None:
    """An id counts as unique once, however often and in whichever request it comes."""
    send(odp, [an_event(1), an_event(2), an_event(1)])
    send(odp, [an_event(2), an_event(3)])
    send(odp, [an_event(4), {}])

    stats = odp.stats()

    assert stats["received"] == 5
    assert stats["unique"] == 3
    assert stats["duplicates"] == 2
    assert stats["rejected"] == 1
    assert stats["requests"] == 3
    statuses = [entry["status"] for entry in odp.events()]
    assert statuses == [
        *("accepted", "accepted", "duplicate"),
        *("duplicate", "accepted"),
        "rejected",
    ]


def test_an_entry_says_what_became_of_an_event(odp: Emulator) -> None:
    """An entry has a serial, a time, its request, its event, a reason if refused."""
    before = time.time()
    send(odp, [an_event()])
    send(odp, [{"action": "a"}])
    accepted, rejected = odp.events()

    assert before <= accepted.pop("received") <= rejected.pop("received") <= time.time()
    assert accepted == {
        "n": 1,
        "status": "accepted",
        "reason": None,
        "request": 1,
        "event": an_event(),
        "warnings": [],
    }
    assert rejected == {
        "n": 2,
        "status": "rejected",
        "reason": "missing 'type' field",
        "request": 2,
        "event": {"action": "a"},
        "warnings": [],
    }


def test_events_without_an_id_are_never_duplicates(odp: Emulator) -> None:
    """Without an idempotence id two equal events are two events."""
    send(odp, [an_event(data={}), an_event(data={})])

    assert odp.stats()["unique"] == 2


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({"data": {"idempotence_id": "a"}}, "a"),
        ({"data": {"idempotence_id": 7}}, "7"),
        ({"data": {"idempotence_id": ""}}, None),
        ({"data": {"idempotence_id": None}}, None),
        ({"data": {"idempotence_id": ["a"]}}, None),
        ({"data": "a"}, None),
        ({}, None),
        ("a", None),
    ],
)
def test_an_id_is_read_where_it_can_be(event: Any, found: str | None) -> None:
    """An id is a text or a number in the event's data; anything else is none."""
    assert get_idempotence_id(event) == found


def test_the_latest_ten_thousand_are_kept(odp: Emulator) -> None:
    """The ring keeps 10,000 entries, and knows ids of those that have left it."""
    for first in range(0, 10_500, 500):
        send(odp, some_events(first, first + 500))

    entries = odp.events()

    assert len(entries) == 10_000
    assert [entries[0]["n"], entries[-1]["n"]] == [501, 10_500]
    send(odp, [an_event(0)])
    assert odp.stats()["duplicates"] == 1
    assert odp.stats()["unique"] == 10_500


def test_the_ring_is_bounded_by_bytes_too() -> None:
    """Large events leave the ring early, but the newest always stays."""
    ledger = Ledger(max_bytes=1_000)
    for n in range(5):
        event = an_event(n, data={"x": "x" * 300})
        ledger.record(_request(), status=202, events=[1], kept=[event])
    assert _serials(ledger) == [4, 5]

    event = an_event(6, data={"x": "x" * 5_000})
    ledger.record(_request(), status=202, events=[1], kept=[event])

    assert _serials(ledger) == [6]


def test_the_latest_thousand_requests_are_kept() -> None:
    """Requests are numbered and the oldest forgotten."""
    ledger = Ledger()
    for _ in range(1_001):
        ledger.record(_request(), status=503, events=[])

    requests = ledger.list_requests()

    assert [requests[0]["n"], requests[-1]["n"], len(requests)] == [2, 1_001, 1_000]
    assert ledger.get_stats()["statuses"] == {"503": 1_001}


def test_the_requests_are_bounded_by_bytes_too() -> None:
    """Long ids and long names of headers cannot fill the memory by way of requests."""
    ledger = Ledger(max_bytes=7_000)
    for n in range(10):
        event = an_event(data={"idempotence_id": f"{n}" * 1_000})
        ledger.record(_request(), status=202, events=[event], kept=[event])
    assert [line["n"] for line in ledger.list_requests()] == [9, 10]

    request = replace(_request(), headers={"x" * 5_000: ""})
    ledger.record(request, status=503, events=[])

    assert [line["n"] for line in ledger.list_requests()] == [11]


def test_what_is_handed_out_changes_nothing(odp: Emulator) -> None:
    """A reader may change its list and entries without changing the ledger."""
    send(odp, [an_event()])
    odp.events()[0]["status"] = "changed"
    odp.requests()[0].clear()

    assert odp.events()[0]["status"] == "accepted"
    assert odp.requests()[0]["status"] == 202


def test_wait_for_ends_with_the_events(odp: Emulator) -> None:
    """wait_for is true as soon as so many unique events are there."""
    sender = threading.Thread(
        target=lambda: [send(odp, [an_event(n)]) for n in range(3)]
    )
    sender.start()

    arrived = odp.wait_for(3, PATIENCE)
    sender.join(PATIENCE)

    assert arrived
    assert odp.wait_for(3, 0)


def test_wait_for_is_bounded(odp: Emulator) -> None:
    """wait_for is false after its timeout, and duplicates do not count."""
    send(odp, [an_event(), an_event()])
    began = time.monotonic()

    assert not odp.wait_for(2, 0.05)
    assert 0.04 < time.monotonic() - began < 2


def test_wait_for_requests_ends_with_the_next_one(odp: Emulator) -> None:
    """It returns what came after a serial, also for other paths; none after a time."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(odp.wait_for_requests, 0, PATIENCE)
        call(odp, "GET", "/v3/other")
        (first,) = waiting.result(PATIENCE)

    assert (first["path"], first["status"]) == ("/v3/other", 404)
    assert odp.wait_for_requests(first["n"], timeout=0.01) == []


def test_clear_forgets_all_but_the_serials(odp: Emulator) -> None:
    """After clear counts, entries, requests and ids are gone; serials go on."""
    send(odp, [an_event(), an_event(1)])
    send(odp, [{}])

    odp.clear()

    counts = ("received", "unique", "duplicates", "rejected", "requests")
    assert {0} == {odp.stats()[name] for name in counts}
    assert odp.stats()["statuses"] == {}
    assert odp.events() == odp.requests() == []
    send(odp, [an_event()])
    assert [(e["status"], e["n"]) for e in odp.events()] == [("accepted", 4)]


def test_many_threads_count_exactly(odp: Emulator) -> None:
    """Counts are exact with several senders at a time."""

    def run() -> None:
        for n in range(20):
            send(odp, some_events(n * 10, n * 10 + 10))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert odp.stats()["unique"] == 200
    assert odp.stats()["duplicates"] == 600
    assert list(range(1, 801)) == [entry["n"] for entry in odp.events()]


def test_headers_are_bounded_and_masked() -> None:
    """Secret headers are hidden, a short key whole, and long values cut."""
    headers = {"x-api-key": "abcd", "cookie": "secret", "x-long": "x" * 5_000}

    assert mask_headers(headers) == {
        "x-api-key": "…",
        "cookie": "…",
        "x-long": "x" * 1_024,
    }


def test_requests_keep_their_answer(odp: Emulator) -> None:
    """A request is kept with its answer, whose body is cut where it is long."""
    odp.fault(status=503, count=1, body="é" * 5_000, retry_after=7)
    send(odp, [an_event(1), an_event(2)])
    send(odp, [an_event(1), an_event(2, type="")])
    send(odp, b"x" * 8)

    by_fault, partly, unparsable = odp.requests()

    assert by_fault["answer"] == {
        "title": "Service Unavailable",
        "content_type": "application/json",
        "headers": {"Retry-After": "7"},
        "latency": 0.0,
        "body": "é" * 4_096,
        "length": 5_000,
        "fault": True,
        "note": "",
    }
    assert [by_fault["lost"], by_fault["rejected"]] == [2, 0]
    assert [partly["lost"], partly["rejected"]] == [1, 1]
    assert "missing 'type' field" in partly["answer"]["body"]
    assert "Unable to parse" in unparsable["answer"]["body"]
    assert not unparsable["answer"]["fault"]


def test_requests_are_read_from_a_serial_on(odp: Emulator) -> None:
    """GET /_emulator/requests gives those after since, without the key."""
    for n in range(3):
        send(odp, [an_event(n)])
    path = "/_emulator/requests"

    assert [line["n"] for line in call(odp, "GET", path).json] == [1, 2, 3]
    (second,) = call(odp, "GET", f"{path}?since=1&limit=1").json
    assert second["n"] == 2
    assert second["headers"]["x-api-key"] == f"…{KEY[-4:]}"
    assert call(odp, "GET", f"{path}?since=x").status == 400
