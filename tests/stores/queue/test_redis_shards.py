"""Applications and relays that name different numbers of shards, on a real Redis."""

from __future__ import annotations

import pytest

from odp_logging._stores.queue.store import QueueStore

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from ..contract import event, numbers
from .redis_stores import build_event, build_store

pytestmark = needs_redis

SHARDS = "odp:events:shards"


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fill(store: QueueStore, count: int = 40) -> None:
    """Hand over events of *count* customers."""
    assert not store.hand_over([build_event(f"u{n}", n) for n in range(count)])


def take_all(store: QueueStore, count: int) -> list[int]:
    """Take until there were *count* events; return their numbers, sorted."""
    found: list[int] = []

    def take_more() -> bool:
        batch = store.take()
        found.extend(numbers(batch.events))
        store._leases.remove_all()
        return len(found) >= count

    until(take_more, f"{count} events")
    return sorted(found)


@pytest.mark.parametrize("options", ["", "shards=2"])
def test_a_relay_follows_the_shards_of_applications(redis: RedisServer, options: str):
    """It reads all streams, and counts all events, whatever its own URL says."""
    fill(build_store(redis, "shards=4"))
    relay = build_store(redis, options)

    assert relay.engine.read_depth().ready == 40
    assert take_all(relay, 40) == list(range(40))


def test_more_shards_are_found_while_a_relay_works(redis: RedisServer):
    """An application with more shards may start later."""
    clock = Clock()
    relay = build_store(redis, clock=clock)
    relay.take()
    fill(build_store(redis, "shards=4"))
    clock.now += 60

    assert take_all(relay, 40) == list(range(40))


def test_fewer_shards_strand_no_event(redis: RedisServer):
    """The number in Redis only grows: streams with events are not forgotten."""
    fill(build_store(redis, "shards=4"))
    fill(build_store(redis, "shards=2"))

    assert redis.ask("GET", SHARDS) == b"4"
    assert len(take_all(build_store(redis, "shards=1"), 80)) == 80


def test_applications_agree_on_the_shard_of_a_customer(redis: RedisServer):
    """Otherwise the events of one customer would not stay in order."""
    fill(build_store(redis, "shards=4"))
    before = [redis.ask("XLEN", f"odp:events:{{{shard}}}") for shard in range(4)]
    fill(build_store(redis, "shards=2"))
    after = [redis.ask("XLEN", f"odp:events:{{{shard}}}") for shard in range(4)]

    assert after == [2 * length for length in before]


@pytest.mark.parametrize("text", ["0", "-3", "many", "9999999999"])
def test_another_value_of_the_key_is_ignored(redis: RedisServer, text: str):
    """What another program writes there neither stops a relay nor costs memory."""
    redis.ask("SET", SHARDS, text)
    fill(build_store(redis, "shards=2"))

    assert take_all(build_store(redis, "shards=2"), 40) == list(range(40))


def test_a_key_of_another_type_is_ignored(redis: RedisServer):
    """Each side then uses the number of its URL."""
    redis.ask("HSET", SHARDS, "a", "b")
    fill(build_store(redis, "shards=2"))

    assert take_all(build_store(redis, "shards=2"), 40) == list(range(40))


def test_shards_of_applications_that_do_not_name_them_are_read(redis: RedisServer):
    """As those of earlier versions, whatever the relay's own URL says."""
    for shard, number in ((0, 1), (3, 2), (7, 3)):
        fields = ("v", "1", "e", event(number).json, "a", "default")
        redis.ask("XADD", f"odp:events:{{{shard}}}", "*", *fields)
    redis.ask("XADD", "odp:events:dead:{5}", "*", "e", "x", "a", "default")
    relay = build_store(redis)
    depth = relay.engine.read_depth()

    assert (depth.ready, depth.dead) == (3, 1)
    assert len(relay.engine.list_dead_letters()) == 1
    assert take_all(relay, 3) == [1, 2, 3]
    assert redis.ask("GET", SHARDS) == b"1"
