"""Stream over a real cluster of three masters: shards, and one of them lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from odp_logging._delivery import Delivery
from odp_logging.stores._parcels import QueueError
from odp_logging.stores.redis import Stream

from ..redis_server import RedisServer, cluster, needs_redis
from ..waiting import until
from .contract import SharedContract
from .test_redis import of, url_of

pytestmark = [needs_redis, pytest.mark.slow]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three masters, each with a replica."""
    with cluster(tmp_path_factory.mktemp("cluster"), replicas=1) as running:
        yield running


@pytest.fixture
def masters(servers: list[RedisServer]) -> list[RedisServer]:
    """The masters, emptied."""
    for server in servers[:3]:
        server.ask("FLUSHALL")
    return servers[:3]


def made(masters: list[RedisServer], shards: int = 4, **changes: object) -> Stream:
    """Return a stream of ten to the batch, that knows the first server alone."""
    url = f"redis+cluster://127.0.0.1:{masters[0].port}?shards={shards}"
    return Stream(url_of(url), **{"batch_size": 10, **changes})


class TestContract(SharedContract):
    @pytest.fixture(autouse=True)
    def _masters(self, masters: list[RedisServer]) -> None:
        self.masters = masters

    def make(self) -> Stream:
        """Return a stream in the cluster."""
        return made(self.masters)


def drained(stream: Stream, count: int) -> list[int]:
    """Take and accept until *count* different ones came; return their numbers."""
    found: list[int] = []

    def step() -> bool:
        batch = stream.take()
        found.extend(each.data["n"] for each in batch.events)
        stream.settle(batch, Delivery(len(batch.events)))
        return len(set(found)) >= count

    until(step, f"{count} events")
    return found


def test_shards_lie_on_all_masters_and_none_is_lost(masters):
    """Events are spread over the cluster; each customer's stay in order."""
    stream = made(masters, shards=8)
    stream.hand_over([of(f"u{n % 40}", n) for n in range(200)])
    keys = [server.ask("DBSIZE") for server in masters]
    found = drained(made(masters, shards=8), 200)

    assert all(keys)
    assert sorted(found) == list(range(200))
    for name in range(40):
        mine = [n for n in found if n % 40 == name]
        assert mine == sorted(mine)
    assert stream.depth().ready == 0


def test_rejected_events_are_buried_beside_their_shard(masters):
    """The dead letters of a shard lie in its slot: one MULTI does all of it."""
    stream = made(masters)
    stream.hand_over([of(f"u{n}", n) for n in range(8)])
    batch = stream.take()
    stream.settle(batch, Delivery(8, rejected=dict.fromkeys(range(8), "no")))

    assert stream.depth().dead == 8
    assert stream.depth().ready == stream.depth().leased == 0
    letters = stream.dead_letters()
    stream.exhume(letters, retry=True)
    assert sorted(drained(made(masters), 8)) == list(range(8))


def test_a_single_server_url_is_told_that_there_is_a_cluster(masters):
    """redis:// to a server of a cluster names what to write."""
    url = url_of(f"redis://127.0.0.1:{masters[0].port}?shards=8")
    with pytest.raises(QueueError, match=r"write redis\+cluster://"):
        Stream(url).hand_over([of(f"u{n}", n) for n in range(40)])


def test_a_master_dies_and_its_replica_goes_on(servers):
    """What was there is delivered all the same, and new events find their way."""
    masters = servers[:3]
    for server in masters:
        server.ask("FLUSHALL")
    stream, worker = made(masters, shards=8), made(masters, shards=8)
    stream.hand_over([of(f"u{n}", n) for n in range(60)])
    for server in masters:
        assert server.ask("WAIT", 1, 5000) >= 1
    first = drained(worker, 10)
    servers[0].kill()

    assert {*first, *drained(worker, 60 - len(first))} == set(range(60))
    # Those of a master that is down stay with who hands over, and are tried again.
    late = [of(f"v{n}", 100 + n) for n in range(20)]

    def handed_over() -> bool:
        nonlocal late
        try:
            refused = stream.hand_over(late)
        except QueueError:
            return False
        late = [late[place] for place in refused]
        return not late

    until(handed_over, "the hand-over after the failover")
    assert set(drained(worker, 20)) == set(range(100, 120))


def test_a_shard_that_is_away_does_not_hold_up_the_others(tmp_path):
    """Without a replica a master's shards wait for it; all others are delivered."""
    with cluster(tmp_path) as masters:
        for server in masters:
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        stream, worker = made(masters, shards=8), made(masters, shards=8)
        stream.hand_over([of(f"u{n}", n) for n in range(80)])
        away = masters[2].ask("KEYS", "*")
        first = worker.take()
        masters[2].kill()
        worker.settle(first, Delivery(len(first.events)))
        here = 0
        for server in masters[:2]:
            here += sum(server.ask("XLEN", key) for key in server.ask("KEYS", "*"))
        found = drained(worker, here) if here else []
        masters[2].start()
        rest = drained(worker, 80 - len(first.events) - len(found))

    assert away and found
    numbers = [each.data["n"] for each in first.events]
    assert sorted([*numbers, *found, *rest]) == list(range(80))
