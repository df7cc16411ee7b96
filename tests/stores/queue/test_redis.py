"""The engine for Redis on a real server: entries, leases, acknowledgements, pauses."""

from __future__ import annotations

import pytest

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.queue.base import QueueEngine
from odp_logging._stores.queue.redis import dead_letters
from odp_logging._stores.queue.redis.streams import GROUP
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from ..contract import DEEP, QueueStoreContract, event, numbers
from .contract import ROOM, QueueEngineContract
from .redis_stores import (
    DEAD_KEY,
    KEY,
    Warnings,
    build_event,
    build_store,
    fill_store,
    list_pending,
    take_numbers,
)

WORKERS = "odp:events:workers"

pytestmark = needs_redis

SHORT = 0.2
"""Seconds of a lease in tests that wait for its end."""


class TestContract(QueueStoreContract, QueueEngineContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis: RedisServer) -> None:
        self.redis = redis

    def make_engine(self) -> QueueEngine:
        """Return an engine for the queue of this test."""
        return build_store(self.redis).engine

    def make(self) -> QueueStore:
        """Return a store with the queue of this test."""
        return build_store(self.redis)


# Publishing.


def test_an_entry_is_an_event_without_a_key(redis):
    """An entry has version, JSON and the alias of the account, nothing else."""
    sold = event(1)
    build_store(redis, "account=shop").put(sold)

    ((_, fields),) = redis.ask("XRANGE", "odp:events:account:shop:{0}", "-", "+")
    assert fields == {b"v": b"1", b"e": sold.json, b"a": b"shop"}


def test_events_of_one_customer_are_in_one_stream(redis):
    """The first identifier chooses the shard; customers are spread over all shards."""
    store = build_store(redis, "stream=shop&shards=4")
    store.hand_over([build_event(f"u{n % 20}", n) for n in range(100)])

    shards = [redis.ask("XRANGE", f"shop:{{{n}}}", "-", "+") for n in range(4)]
    shards_by_user: dict[str, set[int]] = {}
    for shard, entries in enumerate(shards):
        for _, fields in entries:
            user_id = fields[b"e"].split(b'"fs_user_id":"')[1].split(b'"')[0].decode()
            shards_by_user.setdefault(user_id, set()).add(shard)
    assert sum(map(len, shards)) == 100
    assert all(shards)
    assert all(len(found) == 1 for found in shards_by_user.values())


def test_a_full_queue_refuses_events_and_loses_none(redis):
    """Events beyond high_water are refused, and leased entries are not trimmed."""
    store = build_store(redis, "high_water=15")
    refused = store.hand_over([event(number) for number in range(12)])
    batch = store.take()
    late = store.hand_over([event(number) for number in range(12, 20)])

    assert refused == {}
    assert sorted(late) == [3, 4, 5, 6, 7]
    assert "is full: high_water" in late[3].message
    assert not any(refusal.in_doubt for refusal in late.values())
    assert redis.ask("XLEN", KEY) == 15
    assert numbers(batch.events) == list(range(10))


def test_a_redis_without_memory_refuses_events(redis):
    """The reason is reported, and Redis keeps the entries that it has."""
    store = fill_store(redis, 3)
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        refused = store.hand_over([event(9)])
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")

    assert "has no memory left" in refused[0].message
    assert redis.ask("XLEN", KEY) == 3


# Leases.


def test_delivered_events_are_deleted(redis):
    """Outside of MULTI, which a full Redis refuses; nothing is left of the batch."""
    store = fill_store(redis, 10)
    batch = store.take()
    redis.ask("CONFIG", "RESETSTAT")
    store.settle(batch, Delivery(10))

    stats = redis.ask("INFO", "commandstats")
    assert not {"cmdstat_multi", "cmdstat_exec"} & stats.keys()
    assert {stats[f"cmdstat_{name}"]["calls"] for name in ("xack", "xdel")} == {1}
    assert redis.ask("XLEN", KEY) == 0
    assert redis.ask("XPENDING", KEY, GROUP)["pending"] == 0


def test_an_event_is_acknowledged_only_after_its_delivery(redis):
    """Until then it is in Redis, and pending for its worker."""
    store = fill_store(redis, 3)
    store.take()

    assert redis.ask("XLEN", KEY) == 3
    (consumer,) = redis.ask("XPENDING", KEY, GROUP)["consumers"]
    assert consumer["name"].decode() == store.engine.consumer


def test_events_of_a_dead_worker_are_claimed(redis):
    """Another worker leases them when their lease has ended."""
    fill_store(redis, 5).take()
    other = build_store(redis, lease_seconds=SHORT)

    assert take_numbers(other) == [0, 1, 2, 3, 4]
    assert other.redelivered == 5


def test_a_worker_that_renews_its_leases_keeps_its_events(redis):
    """During a long retry; a renewal does not count as a delivery."""
    one = build_store(redis, lease_seconds=1.0)
    fill_store(redis, 3)
    one.settle(one.take(), Delivery.all_pending(3, Cause.TRANSIENT, "down"))
    other = build_store(redis, lease_seconds=1.0)
    found: list[int] = []
    for _ in range(12):
        one._wakeup.wait(0.15)
        one.renew_leases()
        found += numbers(other.take().events)

    assert found == []
    assert numbers(one.take().events) == [0, 1, 2]
    assert {entry["times_delivered"] for entry in list_pending(redis)} == {1}


def test_a_suspended_worker_gives_up_events_that_others_claimed(redis):
    """It neither sends them nor claims them back."""
    now = [100.0]
    one = build_store(redis, lease_seconds=SHORT, clock=lambda: now[0])
    fill_store(redis, 3)
    one.settle(one.take(), Delivery.all_pending(3, Cause.TRANSIENT, "down"))
    other = build_store(redis, lease_seconds=SHORT)
    assert take_numbers(other) == [0, 1, 2]
    now[0] += 10

    assert list(one.take().events) == []
    assert {entry["consumer"].decode() for entry in list_pending(redis)} == {
        other.engine.consumer
    }


def test_released_events_count_no_delivery(redis):
    """A worker that ends in order may release an event any number of times."""
    one = fill_store(redis, 3)
    one.settle(one.take(), Delivery.all_pending(3, Cause.TRANSIENT, "down"))
    one.discard("exit")

    assert {entry["times_delivered"] for entry in list_pending(redis)} == {0}


def test_an_event_leased_too_often_becomes_a_dead_letter(redis):
    """An event that no worker settles is not leased for ever."""
    fill_store(redis, 1)
    for _ in range(2):
        assert take_numbers(
            build_store(redis, lease_seconds=SHORT, max_deliveries=2)
        ) == [0]
    last = build_store(redis, lease_seconds=SHORT, max_deliveries=2)
    until(lambda: last.take().events or redis.ask("XLEN", DEAD_KEY), "the dead letter")

    ((_, letter),) = redis.ask("XRANGE", DEAD_KEY, "-", "+")
    assert letter[b"reason"] == b"deliveries: 2 workers had it, and none settled it"
    assert letter[b"deliveries"] == b"3"
    assert redis.ask("XLEN", KEY) == 0
    assert last.counts().rejected == {"deliveries": 1}


def test_an_event_leased_often_is_sent_alone(redis):
    """An event that kills its workers does not harm the others of its batch."""
    fill_store(redis, 5)
    for _ in range(3):
        assert len(take_numbers(build_store(redis, lease_seconds=SHORT))) == 5
    last = build_store(redis, lease_seconds=SHORT)

    assert take_numbers(last) == [0]
    last.settle(last._leases._batch, Delivery(1))
    assert take_numbers(last) == [1]
    counts = {entry["times_delivered"] for entry in list_pending(redis)}
    assert counts == {3, 4}


def test_a_dead_letter_has_reason_and_deliveries(redis):
    """It has the event, the reason of ODP, the deliveries and the number it had."""
    store = fill_store(redis, 2)
    batch = store.take()
    ((number, _), _) = redis.ask("XRANGE", KEY, "-", "+")
    store.settle(batch, Delivery(2, rejected={0: "missing type"}))

    ((_, letter),) = redis.ask("XRANGE", DEAD_KEY, "-", "+")
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
    """All of them, each once, the oldest first; no answer of Redis is long."""
    monkeypatch.setattr(dead_letters, "_PAGE_SIZE", 2)
    store = fill_store(redis, 5)
    batch = store.take()
    store.settle(batch, Delivery(5, rejected=dict.fromkeys(range(5), "no")))
    redis.ask("CONFIG", "RESETSTAT")
    letters = store.engine.list_dead_letters()

    bodies = [letter.message.body for letter in letters]
    assert bodies == [sent.json for sent in batch.events]
    # Three for this stream, and one for that of dead letters moved to this account.
    assert redis.ask("INFO", "commandstats")["cmdstat_xrange"]["calls"] == 4


BOM = b"\xef\xbb\xbf"
NAMELESS = '{"type":"t","action":"a","identifiers":{"f":5},"data":{}}'


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("v", "1", "e", "no JSON", "a", "default"), "unreadable"),
        (("v", "1", "e", "[1]", "a", "default"), "unreadable"),
        (("v", "1", "e", DEEP, "a", "default"), "unreadable"),
        (("v", "1", "e", NAMELESS, "a", "default"), "unreadable"),
        (
            ("v", "1", "e", BOM + event(1).json, "a", "default"),
            "unreadable",
        ),
        (("v", "2", "e", event(1).json, "a", "default"), "unreadable"),
        (("v", "1", "e", event(1).json, "a", "not an alias"), "account"),
        (("x", "y"), "unreadable"),
    ],
)
def test_an_entry_that_cannot_be_sent_becomes_a_dead_letter(redis, fields, reason):
    """It is not sent, harms no other event, and is kept as it was."""
    redis.ask("XADD", KEY, "*", *fields)
    warnings = Warnings()
    store = build_store(redis, warn=warnings)
    store.put(event(7))

    assert numbers(store.take().events) == [7]
    assert store.counts().rejected == {reason: 1}
    ((_, letter),) = redis.ask("XRANGE", DEAD_KEY, "-", "+")
    assert letter[b"reason"].decode().startswith(f"{reason}: ")
    kept = fields[3] if len(fields) > 2 else ""
    assert letter[b"e"] == (kept if isinstance(kept, bytes) else kept.encode())
    assert "1 event of the queue cannot be sent" in warnings[0]


def test_leased_entries_that_were_deleted_do_not_stay_pending(redis):
    """An operator may delete an entry that a worker has leased."""
    fill_store(redis, 3).take()
    first = redis.ask("XRANGE", KEY, "-", "+")[0][0]
    redis.ask("XDEL", KEY, first)
    other = build_store(redis, lease_seconds=SHORT)

    assert take_numbers(other) == [1, 2]
    assert redis.ask("XPENDING", KEY, GROUP)["pending"] == 2


def test_entries_of_a_lost_answer_stay_pending(redis):
    """Redis leased them, but the worker never got the answer: they can be claimed."""
    store = fill_store(redis, 3)
    with redis.connect() as client:
        store.engine.read_depth()  # creates the group
        client.xreadgroup(GROUP, store.engine.consumer, {KEY: ">"})
    first = redis.ask("XRANGE", KEY, "-", "+")[0][0]
    redis.ask("XDEL", KEY, first)

    assert take_numbers(build_store(redis, lease_seconds=SHORT)) == [1, 2]
    assert len(list_pending(redis)) == 2


def test_a_pause_holds_for_all_relays(redis):
    """If ODP asks one worker to wait, all workers wait."""
    one, other = fill_store(redis, 15), build_store(redis)
    batch = one.take()
    rate_limited = Delivery.all_pending(
        10, Cause.TRANSIENT, "429", retry_after=0.5, rate_limited=True
    )
    one.settle(batch, rate_limited)

    assert 0 < redis.ask("PTTL", "odp:relay:pause:default") <= 500
    assert list(other.take().events) == []
    assert list(one.take().events) == []
    assert take_numbers(other) == [10, 11, 12, 13, 14]


def test_a_network_fault_starts_no_pause(redis):
    """It may concern one machine only."""
    one = fill_store(redis, 1)
    one.settle(one.take(), Delivery.all_pending(1, Cause.TRANSIENT, "no answer"))

    assert redis.ask("EXISTS", "odp:relay:pause:default") == 0


def test_a_worker_continues_after_redis_was_emptied(redis):
    """It creates the group again."""
    store = fill_store(redis, 3)
    store.take()
    redis.ask("FLUSHALL")
    store.put(event(5))
    found = take_numbers(store)

    assert 5 in found


def test_workers_that_ended_are_removed_from_the_group(redis):
    """Except one that still holds an entry."""
    idle, holder = build_store(redis), fill_store(redis, 1)
    idle.take()
    redis.ask("XGROUP", "CREATECONSUMER", KEY, GROUP, "idle")
    assert len(holder.take().events) + len(idle.take().events) == 1
    engine = build_store(redis, forget_after=0.05, lease_seconds=30.0).engine

    def is_holder_idle() -> bool:
        consumers = engine.list_consumers()
        return any(found.idle > 0.05 and found.pending for found in consumers)

    until(is_holder_idle, "the holder to be idle")
    engine.lease(10, 0.0, ROOM)
    consumers = engine.list_consumers()

    assert "idle" not in {found.name for found in consumers}
    assert [found.pending for found in consumers if found.pending] == [1]


def test_an_idle_worker_is_alive(redis):
    """It counts without ever having had an entry, and no more once it ends."""
    store = build_store(redis, "shards=2")
    assert not store.take().events
    other = build_store(redis, "shards=2").engine
    (worker,) = other.list_consumers()
    store.discard("exit")
    ended = other.list_consumers()

    assert (worker.name, worker.pending, worker.is_alive) == (
        store.engine.consumer,
        0,
        True,
    )
    assert worker.idle < 5
    assert list(ended) == []


def test_a_killed_worker_counts_until_its_registration_ends(redis):
    """Then it is listed only while it holds entries, and Redis keeps no trace of it."""
    killed = fill_store(redis, 1).engine
    killed.register_worker(0.2)
    assert len(killed.lease(1, 0.0, ROOM)) == 1
    engine = build_store(redis).engine
    until(
        lambda: not any(worker.is_alive for worker in engine.list_consumers()),
        "the registration to end",
    )
    (worker,) = engine.list_consumers()
    engine.register_worker(30.0)

    assert (worker.name, worker.pending) == (killed.consumer, 1)
    assert redis.ask("HKEYS", WORKERS) == [engine.consumer.encode()]
    assert redis.ask("TTL", WORKERS) > 0


def test_other_fields_of_the_registry_are_ignored(redis):
    """What another program writes there is neither a worker nor an error."""
    redis.ask("HSET", WORKERS, "odd", "no times")
    redis.ask("HSET", WORKERS, "late", "1 x")

    assert list(build_store(redis).engine.list_consumers()) == []


def test_the_depth_covers_all_shards(redis):
    """Ready, leased and dead entries are counted apart."""
    store = build_store(redis, "shards=2")
    store.hand_over([build_event(f"u{n}", n) for n in range(15)])
    batch = store.take()
    store.settle(batch, Delivery(10, rejected={0: "no"}, pending=(1, 2)))
    depth = store.engine.read_depth()

    assert (depth.ready, depth.leased, depth.dead) == (5, 2, 1)
    assert 0 <= depth.oldest < 60
