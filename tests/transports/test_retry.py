"""What is sent again at once, in smaller parts, or later."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate

import pytest

from odp_logging._delivery import Cause, Delivery
from odp_logging._event import OdpEvent
from odp_logging.emulator import Emulator
from odp_logging.stores._base import Batch
from odp_logging.transports._http import Http
from odp_logging.transports._retry import PROBE_INTERVAL, Backoff, Retry

from .conftest import Peer, a_batch, always, ids, replies, reply

PASSING = [408, 409, 421, 423, 425, 429, 500, 502, 503, 504]
CONFIGURATION = [401, 402, 403, 404, 405, 406, 410, 411, 414, 415, 431]


class Scripted:
    """A transport that answers as a function of the batch tells it to."""

    def __init__(self, answer: Callable[[Batch], Delivery]) -> None:
        self.answer = answer
        self.sent: list[Sequence[OdpEvent]] = []
        self.calls: list[str] = []

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.sent.append(batch.events)
        return self.answer(batch)

    def prepare(self) -> None:
        self.calls.append("prepare")

    def close(self) -> None:
        self.calls.append("close")

    def after_fork(self) -> None:
        self.calls.append("after_fork")


def passing(batch: Batch) -> Delivery:
    """Say that a fault will pass."""
    return Delivery.nothing_yet(len(batch.events), Cause.PASSING, "it will pass")


def unnamed(batch: Batch) -> Delivery:
    """Refuse the batch without a name."""
    return Delivery.nothing_yet(len(batch.events), Cause.UNNAMED, "bad")


def is_settled(delivery: Delivery, *, rejected: int = 0) -> bool:
    """Whether nothing is left, and so many events were rejected."""
    return not delivery.pending and len(delivery.rejected) == rejected


# Passing faults.


@pytest.mark.parametrize("status", PASSING)
def test_a_passing_fault_is_told_and_heals(
    odp: Emulator, http: Callable[..., Http], status: int
) -> None:
    """A passing fault leaves all pending, not in doubt; later the same ids go out."""
    odp.fault(status=status, count=1)
    retry = Retry(http(odp.url), chance=lambda: 1.0)
    batch = a_batch(10)

    first = retry.send(batch)
    second = retry.send(batch)

    assert first.pending == tuple(range(10))
    assert (first.cause, first.in_doubt) == (Cause.PASSING, frozenset())
    assert first.backoff == 0.5
    assert is_settled(second)
    assert odp.stats()["unique"] == 10


def test_a_500_that_kept_the_events_makes_no_second_copy(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """Events kept behind a 500 are sent again under the same ids: one copy each."""
    odp.fault(status=500, keep=True, count=1)
    retry = Retry(http(odp.url))
    batch = a_batch(10)

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
    """Retry-After is passed on, at most `max_delay`; nonsense is not."""
    odp.fault(status=status, retry_after=value)
    retry = Retry(http(odp.url), max_delay=30.0, chance=lambda: 0.5)

    answer = retry.send(a_batch())

    assert least <= answer.retry_after <= most
    assert answer.backoff == 0.25


def test_retry_after_as_a_date_is_obeyed(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A date ten seconds ahead asks for about ten seconds."""
    odp.fault(status=429, retry_after=formatdate(time.time() + 10, usegmt=True))

    answer = Retry(http(odp.url)).send(a_batch())

    assert 7 < answer.retry_after <= 10


def test_the_bound_doubles_with_each_failure_up_to_the_cap() -> None:
    """The backoff's bound is 0.5, 1, 2, ... seconds and never above `max_delay`."""
    retry = Retry(Scripted(passing), max_delay=10.0, chance=lambda: 1.0)

    delays = [retry.send(a_batch()).backoff for _ in range(7)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_thousand_failures_do_not_overflow() -> None:
    """The bound stays a number however long the outage."""
    assert Backoff(cap=60.0).delay(100_000, 1.0) == 60.0


@pytest.mark.parametrize("failures", [1, 4, 20])
def test_the_jitter_is_full(failures: int) -> None:
    """Delays are spread evenly from 0 to the bound, so that a fleet does not march."""
    chance = random.Random(7).random
    bound = Backoff().delay(failures, 1.0)

    tenths = Counter(
        math.floor(Backoff().delay(failures, chance()) / bound * 10)
        for _ in range(10_000)
    )

    assert set(tenths) == set(range(10))
    assert all(800 < count < 1200 for count in tenths.values())


def test_a_hundred_workers_do_not_come_back_together() -> None:
    """After one fault, no tenth of the time sees more than a fifth of the workers."""
    source = random.Random(11)
    delays = [
        Retry(Scripted(passing), chance=source.random).send(a_batch()).backoff
        for _ in range(100)
    ]

    assert max(Counter(int(delay * 20) for delay in delays).values()) <= 20


def test_success_ends_the_count_of_failures() -> None:
    """After a success, the next failure starts with the smallest bound again."""
    answers = iter([passing, passing, None, passing])

    def answer(batch: Batch) -> Delivery:
        fault = next(answers)
        return fault(batch) if fault else Delivery(len(batch.events))

    retry = Retry(Scripted(answer), chance=lambda: 1.0)

    assert [retry.send(a_batch()).backoff for _ in range(4)] == [0.5, 1.0, 0.0, 0.5]


def test_a_fork_ends_the_count_of_failures() -> None:
    """A forked child starts with the smallest bound, and its connection afresh."""
    inner = Scripted(passing)
    retry = Retry(inner, chance=lambda: 1.0)
    retry.send(a_batch())
    retry.send(a_batch())

    retry.after_fork()

    assert retry.send(a_batch()).backoff == 0.5
    assert inner.calls == ["after_fork"]


def test_the_rest_is_passed_on() -> None:
    """Preparing and closing are the inner transport's business."""
    inner = Scripted(passing)

    Retry(inner).prepare()
    Retry(inner).close()

    assert inner.calls == ["prepare", "close"]


# Configuration.


@pytest.mark.parametrize("status", CONFIGURATION)
def test_a_configuration_fault_keeps_everything(
    odp: Emulator, http: Callable[..., Http], status: int
) -> None:
    """Where only a person can help, all is kept, and probed once a minute."""
    odp.fault(status=status, count=2)
    retry = Retry(http(odp.url), max_delay=1.0)
    batch = a_batch(10)

    answers = [retry.send(batch) for _ in range(3)]

    for answer in answers[:2]:
        assert answer.pending == tuple(range(10))
        assert answer.cause is Cause.CONFIGURATION
        assert answer.backoff == PROBE_INTERVAL
        assert answer.requests == 1
    assert is_settled(answers[2])


def test_the_probe_interval_may_be_given(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """The time between probes is an argument."""
    odp.fault(status=403)

    assert Retry(http(odp.url), probe_interval=7.0).send(a_batch()).backoff == 7.0


def test_a_wrong_key_is_a_configuration_fault(http: Callable[..., Http]) -> None:
    """The answer to a wrong key names the configuration, and keeps the events."""
    with Emulator(key="another") as odp:
        answer = Retry(http(odp.url)).send(a_batch())

    assert answer.cause is Cause.CONFIGURATION
    assert answer.message.startswith(f"{odp.url} answered 403 and refuses the key …")


# Refused events.


def test_named_events_are_left_out_at_once(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 400 that names events costs one more request; all others are delivered."""
    odp.fault(events=[0, 7, 99], count=1)

    answer = Retry(http(odp.url)).send(a_batch(100))

    assert sorted(answer.rejected) == [0, 7, 99]
    assert is_settled(answer, rejected=3)
    assert answer.requests == 2
    assert answer.resent == 97
    assert odp.stats()["unique"] == 97


def test_resending_the_rest_is_safe_where_it_was_kept(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """Where a 400 kept the good events, the second request repeats their ids."""
    odp.fault(match="poison", keep=True)
    events = [*a_batch(9).events, *a_batch(1, action="poison").events]

    answer = Retry(http(odp.url)).send(Batch(events))

    assert list(answer.rejected) == [9]
    assert odp.stats()["unique"] == 9


def test_all_named_costs_one_request(odp: Emulator, http: Callable[..., Http]) -> None:
    """A 400 that names every event leaves nothing to send."""
    odp.fault(match="seen")

    answer = Retry(http(odp.url)).send(a_batch(10))

    assert is_settled(answer, rejected=10)
    assert answer.requests == 1


def test_a_server_that_names_one_at_a_time_is_followed_to_the_end(
    http: Callable[..., Http], peer: Callable[..., Peer]
) -> None:
    """A 400 that always names one event costs a request an event, and ends."""
    body = b'{"detail": {"invalids": [{"event": 0, "message": "no"}]}}'

    answer = Retry(http(peer(always(reply(400, body))).url)).send(a_batch(10))

    assert is_settled(answer, rejected=10)
    assert answer.requests == 10


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("place", [0, 1, 50, 98, 99])
def test_one_bad_event_in_a_hundred_is_found_by_halving(
    odp: Emulator, http: Callable[..., Http], status: int, place: int
) -> None:
    """One bad event that nobody names costs 2 log2(n) + 1 requests, and is alone."""
    odp.fault(match="poison", opaque=True, status=status)
    events = list(a_batch(100).events)
    events[place] = a_batch(1, action="poison").events[0]

    answer = Retry(http(odp.url)).send(Batch(events))

    assert list(answer.rejected) == [place]
    assert answer.requests <= 2 * math.ceil(math.log2(100)) + 1
    assert odp.stats()["unique"] == 99
    assert odp.stats()["duplicates"] == 0


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_all_bad_costs_two_requests_an_event_at_most(count: int) -> None:
    """Halving down to every single event takes 2n - 1 requests, then it ends."""
    inner = Scripted(unnamed)

    answer = Retry(inner).send(a_batch(count))

    assert is_settled(answer, rejected=count)
    assert answer.requests == len(inner.sent) == 2 * count - 1
    assert set(answer.rejected.values()) == {"bad"}


def test_halving_keeps_the_order_and_the_ids() -> None:
    """Parts go out in the order of the events, each of which stays itself."""
    batch = a_batch(8)

    def answer(sent: Batch) -> Delivery:
        return unnamed(sent) if len(sent.events) > 2 else Delivery(len(sent.events))

    inner = Scripted(answer)
    Retry(inner).send(batch)

    taken = [event for sent in inner.sent if len(sent) <= 2 for event in sent]
    assert taken == list(batch.events)


def test_every_attempt_carries_the_same_ids(
    http: Callable[..., Http], peer: Callable[..., Peer]
) -> None:
    """A retry, a repetition and a half carry the ids the events were made with."""
    server = peer(always(reply(503)), always(reply()))
    server.scripts[0] = replies(
        reply(503), reply(400, b"?"), reply(202), reply(429), reply(202)
    )
    retry = Retry(http(server.url))
    batch = a_batch(4)
    made = [event.idempotence_id for event in batch.events]

    for _ in range(3):
        retry.send(batch)

    sent = [ids(body) for _, body in server.requests]
    assert sent == [made, made, made[:2], made[2:], made]


def test_a_fault_in_between_keeps_what_was_settled() -> None:
    """A passing fault amid the parts leaves those pending that were not settled."""
    answers = iter([unnamed, None, passing])

    def answer(batch: Batch) -> Delivery:
        fault = next(answers)
        return fault(batch) if fault else Delivery(len(batch.events))

    delivery = Retry(Scripted(answer)).send(a_batch(10))

    assert delivery.accepted == (0, 1, 2, 3, 4)
    assert delivery.pending == (5, 6, 7, 8, 9)
    assert delivery.cause is Cause.PASSING


def test_no_part_is_started_after_the_deadline() -> None:
    """Once the deadline has passed, the parts not sent yet are pending, and say why."""
    inner = Scripted(unnamed)

    answer = Retry(inner).send(a_batch(10), deadline=time.monotonic() - 1)

    assert len(inner.sent) == 1
    assert answer.pending == tuple(range(10))
    assert answer.cause is Cause.REST
    assert "time" in answer.message


def test_in_doubt_are_only_those_that_are_pending() -> None:
    """Of events in doubt, those settled in the same delivery are not told as such."""
    answers = iter([unnamed, None])

    def answer(batch: Batch) -> Delivery:
        count = len(batch.events)
        fault = next(answers, passing)
        if fault is passing:
            return Delivery.nothing_yet(count, Cause.PASSING, "gone", in_doubt=True)
        return fault(batch) if fault else Delivery(count)

    delivery = Retry(Scripted(answer)).send(a_batch(4))

    assert delivery.in_doubt == {2, 3}


# Too large.


def test_too_many_events_are_halved_and_the_limit_is_remembered(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 413 by count is met by halves; the next batch goes out in parts that fit."""
    odp.fault(max_events=60)
    retry = Retry(http(odp.url))

    first, second = retry.send(a_batch(100)), retry.send(a_batch(100))

    assert is_settled(first) and is_settled(second)
    assert (first.requests, second.requests) == (3, 2)
    assert odp.stats()["statuses"] == {"413": 1, "202": 4}
    assert odp.stats()["unique"] == 200


def test_too_many_bytes_are_halved_and_the_limit_is_remembered(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A 413 by bytes is met by halves; the next batch goes out in parts that fit."""
    odp.fault(max_bytes=a_batch(30).size)
    retry = Retry(http(odp.url))

    first, second = retry.send(a_batch(100)), retry.send(a_batch(100))

    assert is_settled(first) and is_settled(second)
    assert (first.requests, second.requests) == (7, 4)
    assert odp.stats()["statuses"] == {"413": 3, "202": 8}


def test_a_learnt_limit_holds_for_bytes_when_events_grow(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """Parts are cut by bytes too: larger events make smaller parts, without a 413."""
    odp.fault(max_bytes=a_batch(70).size)
    retry = Retry(http(odp.url))
    retry.send(a_batch(100))

    answer = retry.send(a_batch(50, {"note": "x" * 300}))

    assert is_settled(answer)
    assert odp.stats()["statuses"]["413"] == 1


def test_a_limit_that_shrinks_is_learnt_again(
    odp: Emulator, http: Callable[..., Http]
) -> None:
    """A learnt limit that is too large by now is replaced by what fits."""
    odp.fault(max_events=60)
    retry = Retry(http(odp.url))
    retry.send(a_batch(100))
    odp.clear_faults()
    odp.fault(max_events=20)

    second = retry.send(a_batch(100))
    refused = odp.stats()["statuses"]["413"]

    third = retry.send(a_batch(100))

    assert is_settled(second) and is_settled(third)
    assert third.requests <= 9
    assert odp.stats()["statuses"]["413"] == refused


def test_a_learnt_limit_is_tried_anew_after_a_thousand_requests() -> None:
    """A limit that was lifted is found out, at the price of one request in 1,000."""
    limit = 2

    def answer(batch: Batch) -> Delivery:
        count = len(batch.events)
        if count > limit:
            return Delivery.nothing_yet(count, Cause.TOO_LARGE, "413")
        return Delivery(count)

    inner = Scripted(answer)
    retry = Retry(inner)
    batch = a_batch(4)
    retry.send(batch)
    limit = 4

    sizes = [retry.send(batch).requests for _ in range(600)]

    assert sizes.count(2) == 501
    assert set(sizes[501:]) == {1}


@pytest.mark.parametrize("place", [0, 37, 99])
def test_one_giant_is_rejected_alone_and_teaches_nothing(
    odp: Emulator, http: Callable[..., Http], place: int
) -> None:
    """A single event too large is rejected; the limit learnt is not spoilt by it."""
    odp.fault(max_bytes=50_000)
    events = list(a_batch(100).events)
    events[place] = a_batch(1, {str(n): "x" * 1000 for n in range(60)}).events[0]
    retry = Retry(http(odp.url))

    first, second = retry.send(Batch(events)), retry.send(a_batch(100))

    assert list(first.rejected) == [place]
    assert first.rejected[place].endswith("answered 413")
    assert first.requests <= 2 * math.ceil(math.log2(100)) + 1
    assert is_settled(second)
    assert second.requests == 1
