"""Several accounts in one Redis, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from ..contract import event, numbers
from .redis_stores import DEAD_KEY, KEY, build_store

pytestmark = needs_redis


def add_earlier(redis: RedisServer, alias: str, *found: int, key: str = KEY) -> None:
    """Add events as earlier versions did, with all accounts in one stream."""
    for number in found:
        body = event(number).json
        redis.ask("XADD", key, "*", "v", "1", "e", body, "a", alias)


def deliver(stores: dict[str, QueueStore], count: int) -> dict[str, list[int]]:
    """Take and settle with all *stores* until there were *count* events."""
    found: dict[str, list[int]] = {name: [] for name in stores}

    def take_more() -> bool:
        for name, store in stores.items():
            batch = store.take()
            found[name] += numbers(batch.events)
            store.settle(batch, Delivery(len(batch.events)))
        return sum(map(len, found.values())) >= count

    until(take_more, f"{count} events")
    return found


def build_stores(redis: RedisServer, *options: str) -> dict[str, Any]:
    """Return a store for each of *options*."""
    return {option: build_store(redis, option) for option in options}


def test_accounts_have_streams_of_their_own(redis):
    """Two accounts on the default stream deliver their own events, and bury none."""
    stores = build_stores(redis, "", "account=shop", "account=dead")
    for start, store in enumerate(stores.values()):
        store.hand_over([event(100 * start + n) for n in range(25)])
    depths = [store.engine.read_depth().ready for store in stores.values()]
    found = deliver(stores, 75)

    assert depths == [25, 25, 25]
    assert list(found.values()) == [
        list(range(start, start + 25)) for start in (0, 100, 200)
    ]
    assert redis.ask("EXISTS", DEAD_KEY) == 0


def test_events_of_earlier_versions_are_delivered(redis):
    """Each account gets its own from the stream that all shared."""
    add_earlier(redis, "shop", 1, 2)
    add_earlier(redis, "travel", 3)
    add_earlier(redis, "shop", 4)
    found = deliver(build_stores(redis, "account=travel", "account=shop"), 4)

    assert found == {"account=travel": [3], "account=shop": [1, 2, 4]}
    assert redis.ask("XLEN", KEY) == 0


def test_earlier_events_among_those_of_the_default_account_are_delivered(redis):
    """The relay of the default account moves the others to their streams."""
    add_earlier(redis, "default", 1)
    add_earlier(redis, "shop", 2)
    add_earlier(redis, "default", 3)
    shop = build_store(redis, "account=shop")
    assert not shop.take().events
    found = deliver(
        {"": build_store(redis), "shop": build_store(redis, "account=shop")}, 3
    )

    assert found == {"": [1, 3], "shop": [2]}


def test_a_stream_that_is_shared_on_purpose_loses_no_event(redis):
    """Two accounts may name the same stream; a relay moves what is not its own."""
    stores = build_stores(
        redis, "stream=all&account=a", "stream=all&account=b", "stream=all"
    )
    for start, store in enumerate(stores.values()):
        store.hand_over([event(100 * start + n) for n in range(5)])
    found: dict[str, list[int]] = {name: [] for name in stores}

    def take_more() -> bool:
        for name in found:
            # A new relay looks for moved events at once, others every few seconds.
            relay = build_store(redis, name)
            batch = relay.take()
            found[name] += numbers(batch.events)
            relay.settle(batch, Delivery(len(batch.events)))
        return sum(map(len, found.values())) == 15

    until(take_more, "all events")

    assert list(found.values()) == [
        [0, 1, 2, 3, 4],
        [100, 101, 102, 103, 104],
        [200, 201, 202, 203, 204],
    ]
    assert redis.ask("XLEN", "all:dead:{0}") == 0


def test_dead_letters_of_earlier_versions_are_listed_for_their_account(redis):
    """And for no other one; a retried one is delivered."""
    for alias, number in (("shop", 1), ("travel", 2)):
        add_earlier(redis, alias, number, key=DEAD_KEY)
    engine = build_store(redis, "account=shop").engine
    (letter,) = engine.list_dead_letters()
    engine.retry_dead_letters([letter])

    assert letter.message.alias == "shop"
    assert deliver(build_stores(redis, "account=shop"), 1) == {"account=shop": [1]}
    assert redis.ask("XLEN", DEAD_KEY) == 1


@pytest.mark.parametrize("options", ["", "account=shop"])
def test_an_account_has_dead_letters_of_its_own(redis, options):
    """They are listed and counted for their account alone."""
    store = build_store(redis, options)
    store.put(event(1))
    store.settle(store.take(), Delivery(1, rejected={0: "no"}))
    others = build_store(redis, "account=travel").engine

    assert len(store.engine.list_dead_letters()) == 1
    assert store.engine.read_depth().dead == 1
    assert (list(others.list_dead_letters()), others.read_depth().dead) == ([], 0)
