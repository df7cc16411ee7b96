"""The engine for Redis on a real cluster of three masters, of which one fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.base import QueueEngine
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import RedisServer, needs_redis, start_cluster
from ...waiting import until
from ..contract import QueueStoreContract, numbers
from .contract import QueueEngineContract
from .redis_stores import build_event, parse_url

pytestmark = [needs_redis, pytest.mark.slow]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three masters, each with a replica."""
    with start_cluster(tmp_path_factory.mktemp("cluster"), replicas=1) as running:
        yield running


@pytest.fixture
def masters(servers: list[RedisServer]) -> list[RedisServer]:
    """The masters, empty."""
    for server in servers[:3]:
        server.ask("FLUSHALL")
    return servers[:3]


def build_store(
    masters: list[RedisServer], shards: int = 4, **settings: Any
) -> QueueStore:
    """Return a store with batches of ten events; its URL names the first server."""
    url = f"redis+cluster://127.0.0.1:{masters[0].port}?shards={shards}"
    return QueueStore(RedisEngine(parse_url(url)), **{"batch_size": 10, **settings})


class TestContract(QueueStoreContract, QueueEngineContract):
    @pytest.fixture(autouse=True)
    def _masters(self, masters: list[RedisServer]) -> None:
        self.masters = masters

    def make_engine(self) -> QueueEngine:
        """Return an engine for the queue of this test."""
        return build_store(self.masters).engine

    def make(self) -> QueueStore:
        """Return a store with the queue of this test."""
        return build_store(self.masters)


def take_distinct(store: QueueStore, count: int) -> list[int]:
    """Take and accept until *count* different events came; return all numbers."""
    found: list[int] = []

    def step() -> bool:
        batch = store.take()
        found.extend(numbers(batch.events))
        store.settle(batch, Delivery(len(batch.events)))
        return len(set(found)) >= count

    until(step, f"{count} events")
    return found


def test_shards_are_on_all_masters_and_no_event_is_lost(masters):
    """The events of each customer stay in order."""
    store = build_store(masters, shards=8)
    store.hand_over([build_event(f"u{n % 40}", n) for n in range(200)])
    keys = [server.ask("DBSIZE") for server in masters]
    found = take_distinct(build_store(masters, shards=8), 200)

    assert all(keys)
    assert sorted(found) == list(range(200))
    for user in range(40):
        of_user = [n for n in found if n % 40 == user]
        assert of_user == sorted(of_user)
    assert store.engine.read_depth().ready == 0


def test_dead_letters_are_on_the_server_of_their_shard(masters):
    """Both streams of a shard have one slot, so that one MULTI may change both."""
    store = build_store(masters)
    store.hand_over([build_event(f"u{n}", n) for n in range(8)])
    batch = store.take()
    store.settle(batch, Delivery(8, rejected=dict.fromkeys(range(8), "no")))

    assert store.engine.read_depth().dead == 8
    assert store.engine.read_depth().ready == store.engine.read_depth().leased == 0
    letters = store.engine.list_dead_letters()
    store.engine.retry_dead_letters(letters)
    assert sorted(take_distinct(build_store(masters), 8)) == list(range(8))


def test_a_url_of_one_server_of_a_cluster_is_reported(masters):
    """The message says which scheme to use."""
    url = parse_url(f"redis://127.0.0.1:{masters[0].port}?shards=8")
    with pytest.raises(QueueError, match=r"use redis\+cluster://"):
        QueueStore(RedisEngine(url)).hand_over(
            [build_event(f"u{n}", n) for n in range(40)]
        )


def test_a_replica_replaces_a_master_that_died(servers):
    """Its events are delivered, and new events are stored."""
    masters = servers[:3]
    for server in masters:
        server.ask("FLUSHALL")
    store, worker = build_store(masters, shards=8), build_store(masters, shards=8)
    store.hand_over([build_event(f"u{n}", n) for n in range(60)])
    for server in masters:
        assert server.ask("WAIT", 1, 5000) >= 1
    first = take_distinct(worker, 10)
    servers[0].kill()

    assert {*first, *take_distinct(worker, 60 - len(first))} == set(range(60))
    # The client keeps events whose master is down, and tries again.
    late = [build_event(f"v{n}", 100 + n) for n in range(20)]

    def handed_over() -> bool:
        nonlocal late
        try:
            refused = store.hand_over(late)
        except QueueError:
            return False
        late = [late[position] for position in refused]
        return not late

    until(handed_over, "the hand-over after the failover")
    assert set(take_distinct(worker, 20)) == set(range(100, 120))


def test_a_master_that_is_down_does_not_delay_the_other_shards(tmp_path):
    """Its shards wait until it is back; all others are delivered."""
    with start_cluster(tmp_path) as masters:
        for server in masters:
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        store, worker = build_store(masters, shards=8), build_store(masters, shards=8)
        store.hand_over([build_event(f"u{n}", n) for n in range(80)])
        unreachable = masters[2].ask("KEYS", "*")
        first = worker.take()
        masters[2].kill()
        worker.settle(first, Delivery(len(first.events)))
        reachable = 0
        for server in masters[:2]:
            reachable += sum(
                server.ask("XLEN", key) for key in server.ask("KEYS", "*{*")
            )
        found = take_distinct(worker, reachable) if reachable else []
        masters[2].start()
        rest = take_distinct(worker, 80 - len(first.events) - len(found))

    assert unreachable and found
    assert sorted([*numbers(first.events), *found, *rest]) == list(range(80))
