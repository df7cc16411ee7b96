"""Requests that are too large: how batches are cut, and which limit is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._transports.http import Http
from odp_logging._transports.retry import Retry
from odp_logging.emulator import Emulator

from .conftest import (
    ScriptedTransport,
    build_batch,
    is_settled,
)

TRANSIENT_STATUSES = [408, 409, 421, 423, 425, 429, 500, 502, 503, 504]
MISCONFIGURED_STATUSES = [401, 402, 403, 404, 405, 406, 410, 411, 414, 415, 431]


def test_too_many_events_are_halved_and_the_limit_is_remembered(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 413 for the count leads to halves, and later batches are cut to the limit."""
    odp.fault(max_events=60)
    retry = Retry(http(odp.url))

    first, second = retry.send(build_batch(100)), retry.send(build_batch(100))

    assert is_settled(first) and is_settled(second)
    assert (first.requests, second.requests) == (3, 2)
    assert odp.stats()["statuses"] == {"413": 1, "202": 4}
    assert odp.stats()["unique"] == 200


def test_too_many_bytes_are_halved_and_the_limit_is_remembered(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 413 for the bytes leads to halves, and later batches are cut to the limit."""
    odp.fault(max_bytes=build_batch(30).size)
    retry = Retry(http(odp.url))

    first, second = retry.send(build_batch(100)), retry.send(build_batch(100))

    assert is_settled(first) and is_settled(second)
    assert (first.requests, second.requests) == (7, 4)
    assert odp.stats()["statuses"] == {"413": 3, "202": 8}


def test_a_learnt_limit_holds_for_bytes_when_events_grow(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """Parts are also cut by bytes: larger events make smaller parts, without a 413."""
    odp.fault(max_bytes=build_batch(70).size)
    retry = Retry(http(odp.url))
    retry.send(build_batch(100))

    answer = retry.send(build_batch(50, {"note": "x" * 300}))

    assert is_settled(answer)
    assert odp.stats()["statuses"]["413"] == 1


def test_a_limit_that_the_server_lowers_is_learnt_again(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A learnt limit that has become too large is replaced by what is accepted."""
    odp.fault(max_events=60)
    retry = Retry(http(odp.url))
    retry.send(build_batch(100))
    odp.clear_faults()
    odp.fault(max_events=20)

    second = retry.send(build_batch(100))
    refused = odp.stats()["statuses"]["413"]

    third = retry.send(build_batch(100))

    assert is_settled(second) and is_settled(third)
    assert third.requests <= 9
    assert odp.stats()["statuses"]["413"] == refused


def test_a_learnt_limit_is_forgotten_after_a_thousand_requests() -> None:
    """A limit that the server lifted is detected by one request in 1,000."""
    limit = 2

    def answer(batch: Batch) -> Delivery:
        count = len(batch.events)
        if count > limit:
            return Delivery.all_pending(count, Cause.TOO_LARGE, "413")
        return Delivery(count)

    inner = ScriptedTransport(answer)
    retry = Retry(inner)
    batch = build_batch(4)
    retry.send(batch)
    limit = 4

    sizes = [retry.send(batch).requests for _ in range(600)]

    assert sizes.count(2) == 501
    assert set(sizes[501:]) == {1}


@pytest.mark.parametrize("position", [0, 37, 99])
def test_one_giant_event_is_rejected_and_sets_no_limit(
    odp: Emulator, http: Callable[..., Http], position: int
) -> None:
    """A single event that is too large is rejected and does not set the limit."""
    odp.fault(max_bytes=50_000)
    events = list(build_batch(100).events)
    events[position] = build_batch(1, {str(n): "x" * 1000 for n in range(60)}).events[0]
    retry = Retry(http(odp.url))

    first, second = retry.send(Batch(events)), retry.send(build_batch(100))

    assert list(first.rejected) == [position]
    assert first.rejected[position].endswith("answered 413")
    assert first.requests <= 2 * math.ceil(math.log2(100)) + 1
    assert is_settled(second)
    assert second.requests == 1
