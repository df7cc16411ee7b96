"""Retry: what is sent again at once, in smaller parts, or later."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import pytest

from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._transports.http import Http
from odp_logging._transports.retry import PROBE_INTERVAL, Backoff, Retry
from odp_logging.emulator import Emulator

from .conftest import (
    Peer,
    ScriptedTransport,
    always,
    build_batch,
    fail_transiently,
    is_settled,
    read_ids,
    reject_unidentified,
    replies,
    reply,
)

TRANSIENT_STATUSES = [408, 409, 421, 423, 425, 429, 500, 502, 503, 504]
MISCONFIGURED_STATUSES = [401, 402, 403, 404, 405, 406, 410, 411, 414, 415, 431]


@pytest.mark.parametrize("status", TRANSIENT_STATUSES)
def test_events_are_sent_again_after_a_transient_fault(
    odp: Emulator, http: Callable[..., Http], status: int
) -> None:
    """A transient fault leaves all pending and not in doubt; ids are kept."""
    odp.fault(status=status, count=1)
    retry = Retry(http(odp.url), random_fraction=lambda: 1.0)
    batch = build_batch(10)

    first = retry.send(batch)
    second = retry.send(batch)

    assert first.pending == tuple(range(10))
    assert (first.cause, first.in_doubt) == (Cause.TRANSIENT, frozenset())
    assert first.backoff == 0.5
    assert is_settled(second)
    assert odp.stats()["unique"] == 10


def test_a_500_that_stored_the_events_makes_no_second_copy(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """Events stored despite a 500 are sent again with the same ids: one copy each."""
    odp.fault(status=500, keep=True, count=1)
    retry = Retry(http(odp.url))
    batch = build_batch(10)

    retry.send(batch)
    retry.send(batch)

    assert odp.stats()["unique"] == 10
    assert odp.stats()["duplicates"] == 10


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("2", 2, 2),
        ("0", 0, 0),
        ("-5", 0, 0),
        ("soon", 0, 0),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("1e9", 30, 30),
        ("31536000", 30, 30),
        (formatdate(4e9, usegmt=True), 30, 30),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0, 0),
        ("Sun Nov  6 08:49:37 1994", 0, 0),
    ],
)
def test_retry_after_is_obeyed_within_bounds(
    odp: Emulator,
    http: Callable[..., Http],
    status: int,
    value: str,
    least: float,
    most: float,
) -> None:
    """Retry-After is passed on up to `max_delay`; invalid values are ignored."""
    odp.fault(status=status, retry_after=value)
    retry = Retry(http(odp.url), max_delay=30.0, random_fraction=lambda: 0.5)

    answer = retry.send(build_batch())

    assert least <= answer.retry_after <= most
    assert answer.backoff == 0.25


def test_retry_after_as_a_date_is_obeyed(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A date ten seconds ahead means about ten seconds."""
    odp.fault(status=429, retry_after=formatdate(time.time() + 10, usegmt=True))

    answer = Retry(http(odp.url)).send(build_batch())

    assert 7 < answer.retry_after <= 10


def test_the_bound_doubles_with_each_failure_up_to_the_cap() -> None:
    """The backoff's bound is 0.5, 1, 2, ... seconds and never above `max_delay`."""
    retry = Retry(
        ScriptedTransport(fail_transiently), max_delay=10.0, random_fraction=lambda: 1.0
    )

    delays = [retry.send(build_batch()).backoff for _ in range(7)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_thousand_failures_do_not_overflow() -> None:
    """The bound stays finite, however long the outage."""
    assert Backoff(cap=60.0).compute_delay(100_000, 1.0) == 60.0


@pytest.mark.parametrize("failures", [1, 4, 20])
def test_the_jitter_is_full(failures: int) -> None:
    """Delays are spread evenly from 0 to the bound, so a fleet is not synchronized."""
    random_fraction = random.Random(7).random
    bound = Backoff().compute_delay(failures, 1.0)

    tenths = Counter(
        math.floor(Backoff().compute_delay(failures, random_fraction()) / bound * 10)
        for _ in range(10_000)
    )

    assert set(tenths) == set(range(10))
    assert all(800 < count < 1200 for count in tenths.values())


def test_a_hundred_workers_do_not_retry_together() -> None:
    """After one fault, at most a fifth of workers retry in a tenth of the time."""
    source = random.Random(11)
    delays = [
        Retry(ScriptedTransport(fail_transiently), random_fraction=source.random)
        .send(build_batch())
        .backoff
        for _ in range(100)
    ]

    assert max(Counter(int(delay * 20) for delay in delays).values()) <= 20


def test_success_resets_the_count_of_failures() -> None:
    """After a success, the next failure starts with the smallest bound again."""
    answers = iter([fail_transiently, fail_transiently, None, fail_transiently])

    def answer(batch: Batch) -> Delivery:
        fault = next(answers)
        return fault(batch) if fault else Delivery(len(batch.events))

    retry = Retry(ScriptedTransport(answer), random_fraction=lambda: 1.0)

    assert [retry.send(build_batch()).backoff for _ in range(4)] == [0.5, 1.0, 0.0, 0.5]


def test_a_fork_resets_the_count_of_failures() -> None:
    """A forked child starts with the smallest bound and a new connection."""
    inner = ScriptedTransport(fail_transiently)
    retry = Retry(inner, random_fraction=lambda: 1.0)
    retry.send(build_batch())
    retry.send(build_batch())

    retry.after_fork()

    assert retry.send(build_batch()).backoff == 0.5
    assert inner.calls == ["after_fork"]


def test_prepare_and_close_are_delegated() -> None:
    """Preparing and closing are delegated to the inner transport."""
    inner = ScriptedTransport(fail_transiently)

    Retry(inner).prepare()
    Retry(inner).close()

    assert inner.calls == ["prepare", "close"]


@pytest.mark.parametrize("status", MISCONFIGURED_STATUSES)
def test_a_configuration_fault_keeps_everything(
    odp: Emulator, http: Callable[..., Http], status: int
) -> None:
    """With a wrong configuration, events are kept and one probe a minute is sent."""
    odp.fault(status=status, count=2)
    retry = Retry(http(odp.url), max_delay=1.0)
    batch = build_batch(10)

    answers = [retry.send(batch) for _ in range(3)]

    for answer in answers[:2]:
        assert answer.pending == tuple(range(10))
        assert answer.cause is Cause.MISCONFIGURED
        assert answer.backoff == PROBE_INTERVAL
        assert answer.requests == 1
    assert is_settled(answers[2])


def test_the_probe_interval_is_an_argument(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """The time between probes is an argument."""
    odp.fault(status=403)

    assert Retry(http(odp.url), probe_interval=7.0).send(build_batch()).backoff == 7.0


def test_a_wrong_key_is_a_configuration_fault(http: Callable[..., Http]) -> None:
    """The answer to a wrong key names the configuration, and keeps the events."""
    with Emulator(key="another") as odp:
        answer = Retry(http(odp.url)).send(build_batch())

    assert answer.cause is Cause.MISCONFIGURED
    assert answer.message.startswith(f"{odp.url} answered 403 and refuses the key …")


def test_events_that_a_400_names_are_left_out_at_once(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 400 that names events costs one more request; all others are delivered."""
    odp.fault(events=[0, 7, 99], count=1)

    answer = Retry(http(odp.url)).send(build_batch(100))

    assert sorted(answer.rejected) == [0, 7, 99]
    assert is_settled(answer, rejected=3)
    assert answer.requests == 2
    assert answer.resent == 97
    assert odp.stats()["unique"] == 97


def test_resending_stored_events_makes_no_second_copy(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """If a 400 stored the valid events, the second request repeats their ids."""
    odp.fault(match="poison", keep=True)
    events = [*build_batch(9).events, *build_batch(1, action="poison").events]

    answer = Retry(http(odp.url)).send(Batch(events))

    assert list(answer.rejected) == [9]
    assert odp.stats()["unique"] == 9


def test_a_400_that_names_all_events_costs_one_request(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 400 that names every event leaves nothing to send."""
    odp.fault(match="seen")

    answer = Retry(http(odp.url)).send(build_batch(10))

    assert is_settled(answer, rejected=10)
    assert answer.requests == 1


def test_a_server_that_names_one_event_at_a_time_ends(
    http: Callable[..., Http], peer: Callable[..., Peer]
) -> None:
    """A 400 that always names one event costs one request per event, and ends."""
    body = b'{"detail": {"invalids": [{"event": 0, "message": "no"}]}}'

    answer = Retry(http(peer(always(reply(400, body))).url)).send(build_batch(10))

    assert is_settled(answer, rejected=10)
    assert answer.requests == 10


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("position", [0, 1, 50, 98, 99])
def test_one_bad_event_in_a_hundred_is_found_by_halving(
    odp: Emulator, http: Callable[..., Http], status: int, position: int
) -> None:
    """One bad event that no answer names costs 2 log2(n) + 1 requests."""
    odp.fault(match="poison", opaque=True, status=status)
    events = list(build_batch(100).events)
    events[position] = build_batch(1, action="poison").events[0]

    answer = Retry(http(odp.url)).send(Batch(events))

    assert list(answer.rejected) == [position]
    assert answer.requests <= 2 * math.ceil(math.log2(100)) + 1
    assert odp.stats()["unique"] == 99
    assert odp.stats()["duplicates"] == 0


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_all_bad_events_cost_at_most_two_requests_each(count: int) -> None:
    """Halving down to every single event takes 2n - 1 requests, then it ends."""
    inner = ScriptedTransport(reject_unidentified)

    answer = Retry(inner).send(build_batch(count))

    assert is_settled(answer, rejected=count)
    assert answer.requests == len(inner.sent) == 2 * count - 1
    assert set(answer.rejected.values()) == {"bad"}


def test_halving_keeps_the_order_and_the_ids() -> None:
    """Parts are sent in the order of the events, which keep their ids."""
    batch = build_batch(8)

    def answer(sent: Batch) -> Delivery:
        return (
            reject_unidentified(sent)
            if len(sent.events) > 2
            else Delivery(len(sent.events))
        )

    inner = ScriptedTransport(answer)
    Retry(inner).send(batch)

    taken = [event for sent in inner.sent if len(sent) <= 2 for event in sent]
    assert taken == list(batch.events)


def test_every_attempt_carries_the_same_ids(
    http: Callable[..., Http], peer: Callable[..., Peer]
) -> None:
    """A retry, a repetition and a half carry the original ids of the events."""
    server = peer(always(reply(503)), always(reply()))
    server.scripts[0] = replies(
        reply(503),
        reply(400, b"?"),
        reply(202),
        reply(429),
        reply(202),
    )
    retry = Retry(http(server.url))
    batch = build_batch(4)
    expected = [event.idempotence_id for event in batch.events]

    for _ in range(3):
        retry.send(batch)

    sent = [read_ids(body) for _, body in server.requests]
    assert sent == [expected, expected, expected[:2], expected[2:], expected]


def test_a_fault_between_parts_keeps_settled_events() -> None:
    """A transient fault between parts leaves only unsettled events pending."""
    answers = iter([reject_unidentified, None, fail_transiently])

    def answer(batch: Batch) -> Delivery:
        fault = next(answers)
        return fault(batch) if fault else Delivery(len(batch.events))

    delivery = Retry(ScriptedTransport(answer)).send(build_batch(10))

    assert delivery.accepted == (0, 1, 2, 3, 4)
    assert delivery.pending == (5, 6, 7, 8, 9)
    assert delivery.cause is Cause.TRANSIENT


def test_no_part_is_started_after_the_deadline() -> None:
    """After the deadline, unsent parts are pending, and the message says why."""
    inner = ScriptedTransport(reject_unidentified)

    answer = Retry(inner).send(build_batch(10), deadline=time.monotonic() - 1)

    assert len(inner.sent) == 1
    assert answer.pending == tuple(range(10))
    assert answer.cause is Cause.REMAINDER
    assert "time" in answer.message


def test_only_pending_events_are_in_doubt() -> None:
    """Events settled later in the same delivery are not reported as in doubt."""
    answers = iter([reject_unidentified, None])

    def answer(batch: Batch) -> Delivery:
        count = len(batch.events)
        fault = next(answers, fail_transiently)
        if fault is fail_transiently:
            return Delivery.all_pending(count, Cause.TRANSIENT, "gone", in_doubt=True)
        return fault(batch) if fault else Delivery(count)

    delivery = Retry(ScriptedTransport(answer)).send(build_batch(4))

    assert delivery.in_doubt == {2, 3}
