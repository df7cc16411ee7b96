"""Stream: a real Redis server, kept in order, leased, acknowledged and buried."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging._secret import Hidden
from odp_logging.stores._parcels import QueueError
from odp_logging.stores._url import QueueUrl, read_url
from odp_logging.stores.redis import GROUP, Stream

from ..redis_server import RedisServer, needs_redis
from ..waiting import until
from .contract import SharedContract, event, numbers

pytestmark = needs_redis

KEY = "odp:events:{0}"
DEAD = "odp:events:dead:{0}"
SHORT = 0.2
"""Seconds of a lease in tests that wait for its end."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for this file; each test finds it empty."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """That server, emptied."""
    server.ask("FLUSHALL")
    return server


class Said(list[str]):
    """What a stream warned of."""

    def __call__(self, kind: str, message: str) -> None:
        self.append(message)


def url_of(text: str) -> QueueUrl:
    """Return the parts of the URL *text*."""
    url = read_url(Hidden(text))
    assert isinstance(url, QueueUrl), url
    return url


def made(server: RedisServer, options: str = "", **changes: Any) -> Stream:
    """Return a stream of ten to the batch, with what a test changes."""
    return Stream(url_of(f"{server.url}?{options}"), **{"batch_size": 10, **changes})


def filled(server: RedisServer, count: int, options: str = "") -> Stream:
    """Return a stream with *count* events."""
    stream = made(server, options)
    stream.hand_over([event(number) for number in range(count)])
    return stream


def taken(stream: Stream) -> list[int]:
    """Take, until there is something; return the numbers."""
    found: list[int] = []
    until(lambda: found.extend(numbers(stream.take().events)) or found, "an event")
    return found


def of(name: str, number: int = 0) -> OdpEvent:
    """Return an event about *name*."""
    return OdpEvent("viewed", {"fs_user_id": name}, data={"n": number})


class TestContract(SharedContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis: RedisServer) -> None:
        self.redis = redis

    def make(self) -> Stream:
        """Return a stream in Redis."""
        return made(self.redis)


# Events in.


def test_an_entry_is_an_event_without_a_key(redis):
    """One entry an event: version, JSON and the account's alias, nothing else."""
    sold = event(1)
    made(redis, "account=shop").put(sold)

    ((_, fields),) = redis.ask("XRANGE", "odp:events:{0}", "-", "+")
    assert fields == {b"v": b"1", b"e": sold.json, b"a": b"shop"}


def test_one_customer_stays_in_one_stream(redis):
    """The first identifier chooses the shard; customers are spread over all of them."""
    stream = made(redis, "stream=shop&shards=4")
    stream.hand_over([of(f"u{n % 20}", n) for n in range(100)])

    shards = [redis.ask("XRANGE", f"shop:{{{n}}}", "-", "+") for n in range(4)]
    where: dict[str, set[int]] = {}
    for shard, entries in enumerate(shards):
        for _, fields in entries:
            name = fields[b"e"].split(b'"fs_user_id":"')[1].split(b'"')[0].decode()
            where.setdefault(name, set()).add(shard)
    assert sum(map(len, shards)) == 100
    assert all(shards)
    assert all(len(found) == 1 for found in where.values())


def test_a_full_queue_takes_no_more_and_loses_nothing(redis):
    """Beyond high_water events are refused, and what is on loan is never trimmed."""
    stream = made(redis, "high_water=15")
    refused = stream.hand_over([event(number) for number in range(12)])
    batch = stream.take()
    late = stream.hand_over([event(number) for number in range(12, 20)])

    assert refused == {}
    assert sorted(late) == [3, 4, 5, 6, 7]
    assert "is full: high_water" in late[3].message
    assert not any(each.in_doubt for each in late.values())
    assert redis.ask("XLEN", KEY) == 15
    assert numbers(batch.events) == list(range(10))


def test_events_beyond_redis_memory_are_refused_one_by_one(redis):
    """Where Redis has no memory left it says so, and keeps what it has."""
    stream = filled(redis, 3)
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        refused = stream.hand_over([event(9)])
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")

    assert "has no memory left" in refused[0].message
    assert redis.ask("XLEN", KEY) == 3


# Events out.


def test_acknowledged_is_deleted_in_one_transaction(redis):
    """XACK and XDEL come in one MULTI, and nothing is left of a delivered batch."""
    stream = filled(redis, 10)
    batch = stream.take()
    redis.ask("CONFIG", "RESETSTAT")
    stream.settle(batch, Delivery(10))

    stats = redis.ask("INFO", "commandstats")
    calls = {name: stats[f"cmdstat_{name}"]["calls"] for name in ("multi", "exec")}
    assert calls == {"multi": 1, "exec": 1}
    assert {stats[f"cmdstat_{name}"]["calls"] for name in ("xack", "xdel")} == {1}
    assert redis.ask("XLEN", KEY) == 0
    assert redis.ask("XPENDING", KEY, GROUP)["pending"] == 0


def test_nothing_is_acknowledged_before_it_is_delivered(redis):
    """What is on its way is still in Redis, and pending for its worker."""
    stream = filled(redis, 3)
    stream.take()

    assert redis.ask("XLEN", KEY) == 3
    (who,) = redis.ask("XPENDING", KEY, GROUP)["consumers"]
    assert who["name"].decode() == stream.consumer


def test_what_a_dead_worker_had_is_claimed(redis):
    """After its lease the events of a worker without a sign of life go to another."""
    filled(redis, 5).take()
    other = made(redis, lease=SHORT)

    assert taken(other) == [0, 1, 2, 3, 4]
    assert other.redelivered == 5


def test_who_keeps_what_it_holds_loses_nothing(redis):
    """A long retry renews its lease; that is no delivery."""
    one = made(redis, lease=1.0)
    filled(redis, 3)
    one.settle(one.take(), Delivery.nothing_yet(3, Cause.PASSING, "down"))
    other = made(redis, lease=1.0)
    found: list[int] = []
    for _ in range(12):
        one._bell.wait(0.15)
        one.keep()
        found += numbers(other.take().events)

    assert found == []
    assert numbers(one.take().events) == [0, 1, 2]
    assert {each["times_delivered"] for each in pending(redis)} == {1}


def pending(redis: RedisServer) -> Any:
    """Return what Redis says is on loan."""
    if not redis.ask("EXISTS", KEY) or not redis.ask("XINFO", "GROUPS", KEY):
        return []
    with redis.asked() as client:
        return client.xpending_range(KEY, GROUP, "-", "+", 100)


def test_who_was_suspended_does_not_take_it_back(redis):
    """What others took over meanwhile is theirs."""
    now = [100.0]
    one = made(redis, lease=SHORT, clock=lambda: now[0])
    filled(redis, 3)
    one.settle(one.take(), Delivery.nothing_yet(3, Cause.PASSING, "down"))
    other = made(redis, lease=SHORT)
    assert taken(other) == [0, 1, 2]
    now[0] += 10

    assert list(one.take().events) == []
    assert {each["consumer"].decode() for each in pending(redis)} == {other.consumer}


def test_what_is_given_back_was_never_delivered(redis):
    """An orderly end does not count among the deliveries of an event."""
    one = filled(redis, 3)
    one.settle(one.take(), Delivery.nothing_yet(3, Cause.PASSING, "down"))
    one.give_up("exit")

    assert {each["times_delivered"] for each in pending(redis)} == {0}


def test_an_event_delivered_too_often_is_buried(redis):
    """What was with so many workers, and never settled, cannot loop."""
    filled(redis, 1)
    for _ in range(2):
        assert taken(made(redis, lease=SHORT, max_deliveries=2)) == [0]
    last = made(redis, lease=SHORT, max_deliveries=2)
    until(lambda: last.take().events or redis.ask("XLEN", DEAD), "the burial")

    ((_, letter),) = redis.ask("XRANGE", DEAD, "-", "+")
    assert letter[b"reason"] == b"deliveries: 2 workers had it, and none settled it"
    assert letter[b"deliveries"] == b"3"
    assert redis.ask("XLEN", KEY) == 0
    assert last.counts().rejected == {"deliveries": 1}


def test_suspects_travel_alone(redis):
    """One that kills its workers does not take the others of its batch along."""
    filled(redis, 5)
    for _ in range(3):
        assert len(taken(made(redis, lease=SHORT))) == 5
    last = made(redis, lease=SHORT)

    assert taken(last) == [0]
    last.settle(last._current, Delivery(1))
    assert taken(last) == [1]
    counts = {each["times_delivered"] for each in pending(redis)}
    assert counts == {3, 4}


def test_rejected_events_are_buried_with_reason_and_deliveries(redis):
    """A dead letter has the event, ODP's reason, its deliveries and where it was."""
    stream = filled(redis, 2)
    batch = stream.take()
    ((number, _), _) = redis.ask("XRANGE", KEY, "-", "+")
    stream.settle(batch, Delivery(2, rejected={0: "missing type"}))

    ((_, letter),) = redis.ask("XRANGE", DEAD, "-", "+")
    assert letter == {
        b"v": b"1",
        b"e": batch.events[0].json,
        b"a": b"default",
        b"reason": b"missing type",
        b"deliveries": b"1",
        b"from": number,
    }
    assert redis.ask("XLEN", KEY) == 0


def test_dead_letters_are_read_in_parts(redis, monkeypatch):
    """All of them, the oldest first, none twice; no answer of Redis' is a long one."""
    monkeypatch.setattr("odp_logging.stores.redis._PART", 2)
    stream = filled(redis, 5)
    batch = stream.take()
    stream.settle(batch, Delivery(5, rejected=dict.fromkeys(range(5), "no")))
    redis.ask("CONFIG", "RESETSTAT")
    letters = stream.dead_letters()

    bodies = [letter.parcel.body for letter in letters]
    assert bodies == [each.json for each in batch.events]
    assert redis.ask("INFO", "commandstats")["cmdstat_xrange"]["calls"] == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("v", "1", "e", "no JSON", "a", "default"), "unreadable"),
        (("v", "1", "e", "[1]", "a", "default"), "unreadable"),
        (("v", "2", "e", event(1).json, "a", "default"), "unreadable"),
        (("v", "1", "e", event(1).json, "a", "others"), "account"),
        (("x", "y"), "unreadable"),
    ],
)
def test_what_cannot_be_sent_is_buried_and_not_sent(redis, fields, reason):
    """No stranger's entry is sent, harms another event, or vanishes."""
    redis.ask("XADD", KEY, "*", *fields)
    said = Said()
    stream = made(redis, warn=said)
    stream.put(event(7))

    assert numbers(stream.take().events) == [7]
    assert stream.counts().rejected == {reason: 1}
    ((_, letter),) = redis.ask("XRANGE", DEAD, "-", "+")
    assert letter[b"reason"].decode().startswith(f"{reason}: ")
    kept = fields[3] if len(fields) > 2 else ""
    assert letter[b"e"] == (kept if isinstance(kept, bytes) else kept.encode())
    assert "1 events of the queue cannot be sent" in said[0]


def test_entries_that_somebody_deleted_do_not_stay_pending(redis):
    """What is on loan and was deleted by hand is forgotten."""
    filled(redis, 3).take()
    first = redis.ask("XRANGE", KEY, "-", "+")[0][0]
    redis.ask("XDEL", KEY, first)
    other = made(redis, lease=SHORT)

    assert taken(other) == [1, 2]
    assert redis.ask("XPENDING", KEY, GROUP)["pending"] == 2


def test_only_what_was_deleted_is_forgotten(redis):
    """What Redis gave us in an answer that never came is still there to be claimed."""
    stream = filled(redis, 3)
    with redis.asked() as client:
        stream.depth()  # makes the group
        client.xreadgroup(GROUP, stream.consumer, {KEY: ">"})
    first = redis.ask("XRANGE", KEY, "-", "+")[0][0]
    redis.ask("XDEL", KEY, first)
    with stream._asking():
        stream._forget_deleted(0, set())

    assert len(pending(redis)) == 2
    assert taken(made(redis, lease=SHORT)) == [1, 2]


def test_a_pause_holds_for_the_whole_fleet(redis):
    """Told by ODP to wait, a worker has all others wait as well."""
    one, other = filled(redis, 15), made(redis)
    batch = one.take()
    throttled = Delivery.nothing_yet(
        10, Cause.PASSING, "429", retry_after=0.5, throttled=True
    )
    one.settle(batch, throttled)

    assert 0 < redis.ask("PTTL", "odp:relay:pause:default") <= 500
    assert list(other.take().events) == []
    assert list(one.take().events) == []
    assert taken(other) == [10, 11, 12, 13, 14]


def test_a_fault_of_one_worker_does_not_stop_the_others(redis):
    """A network fault says nothing about the fleet."""
    one = filled(redis, 1)
    one.settle(one.take(), Delivery.nothing_yet(1, Cause.PASSING, "no answer"))

    assert redis.ask("EXISTS", "odp:relay:pause:default") == 0


def test_a_queue_that_was_emptied_goes_on(redis):
    """The group is made anew where it is missing."""
    stream = filled(redis, 3)
    stream.take()
    redis.ask("FLUSHALL")
    stream.put(event(5))
    found = taken(stream)

    assert 5 in found


def test_workers_that_are_long_gone_are_forgotten(redis):
    """But never one that holds something."""
    idle, holder = made(redis), filled(redis, 1)
    idle.take()
    redis.ask("XGROUP", "CREATECONSUMER", KEY, GROUP, "idle")
    assert len(holder.take().events) + len(idle.take().events) == 1
    sweeper = made(redis, gone_after=0.05, lease=30.0)
    until(lambda: [c for c in sweeper.consumers() if c.idle > 0.05 and c.pending], "it")
    sweeper.take()

    left = {each.name for each in sweeper.consumers()}
    assert "idle" not in left
    assert [each.pending for each in sweeper.consumers() if each.pending] == [1]


def test_depth_says_how_much_there_is(redis):
    """Ready, on loan and dead are told apart, over all shards."""
    stream = made(redis, "shards=2")
    stream.hand_over([of(f"u{n}", n) for n in range(15)])
    batch = stream.take()
    stream.settle(batch, Delivery(10, rejected={0: "no"}, pending=(1, 2)))
    depth = stream.depth()

    assert (depth.ready, depth.leased, depth.dead) == (5, 2, 1)
    assert 0 <= depth.oldest < 60


# Servers that fail.


@pytest.fixture
def mortal(tmp_path) -> Iterator[RedisServer]:
    """A server that may be killed."""
    with RedisServer(tmp_path / "mortal") as running:
        yield running


def test_a_killed_server_loses_nothing_that_was_handed_over(mortal):
    """From its append-only file it comes back with all of it, what is on loan too."""
    stream = filled(mortal, 5)
    batch = stream.take()
    mortal.kill()
    with pytest.raises(QueueError, match=r"gave no answer \(ConnectionError\)"):
        stream.hand_over([event(6)])
    mortal.start()
    stream.settle(batch, Delivery(5, pending=(3, 4), cause=Cause.PASSING))

    assert mortal.ask("XLEN", KEY) == 2
    assert numbers(stream.take().events) == [3, 4]


def test_what_was_delivered_while_redis_was_down_is_acknowledged_later(mortal):
    """It is not sent a second time by its worker, which remembers it."""
    said = Said()
    stream = made(mortal, warn=said)
    stream.hand_over([event(number) for number in range(3)])
    batch = stream.take()
    mortal.kill()
    stream.settle(batch, Delivery(3))
    while_down = stream.take()
    mortal.start()
    back = stream.take()

    assert list(while_down.events) == list(back.events) == []
    assert mortal.ask("XLEN", KEY) == 0
    assert stream.counts().delivered == 3
    assert "acknowledged when it answers" in said[0]


def test_a_server_that_hangs_holds_nobody_up_beyond_the_deadline(mortal):
    """A deadline bounds the wait for an answer."""
    stream = filled(mortal, 1)
    os.kill(mortal.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(QueueError, match="Timeout"):
            stream.hand_over([event(1)], time.monotonic() + 0.5)
        took = time.monotonic() - start
    finally:
        os.kill(mortal.pid, signal.SIGCONT)

    assert took < 1.5


def test_a_wrong_password_is_said_and_not_shown(tmp_path):
    """The message names the fault; the password is in no message, repr, traceback."""
    with RedisServer(tmp_path, "--requirepass", "right") as guarded:
        url = url_of(f"redis://:S3cretPassw0rd@127.0.0.1:{guarded.port}/0")
        stream = Stream(url)
        with pytest.raises(QueueError, match="refuses the user or password") as caught:
            stream.depth()
        assert caught.value.__context__ is not None
        shown = "".join(
            line
            for error in (caught.value, caught.value.__context__)
            for line in traceback.TracebackException.from_exception(
                error, capture_locals=True
            ).format()
            if "url = url_of" not in line
        )
        right = Stream(url_of(f"redis://:right@127.0.0.1:{guarded.port}/0"))
        assert right.hand_over([event(1)]) == {}

    assert "S3cretPassw0rd" not in shown
    assert "S3cretPassw0rd" not in f"{url!r}{vars(stream)}{vars(stream._servers)}"
