"""What a full Redis, huge entries and refused commands cost: themselves alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from odp_logging import OdpEvent
from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.redis import sockets
from odp_logging._stores.queue.redis.streams import GROUP

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from ..contract import event, numbers
from .contract import ROOM
from .redis_stores import (
    DEAD_KEY,
    KEY,
    RedisStore,
    Warnings,
    build_store,
    fill_store,
    list_pending,
    take_numbers,
)

pytestmark = needs_redis

SHORT = 0.2
"""Seconds of a lease in tests that wait for its end."""


@pytest.fixture
def full(redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that had 30 events when it reached its maxmemory."""
    store = fill_store(redis, 30)
    store.close()
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    yield redis
    redis.ask("CONFIG", "SET", "maxmemory", "0")


def test_a_full_redis_is_drained(full):
    """Each event once: deleting and acknowledging need no memory."""
    store, found = build_store(full), []
    while batch := store.take().events:
        found += numbers(batch)
        store.settle(store._leases._batch, Delivery(len(batch)))

    assert found == list(range(30))
    assert full.ask("XLEN", KEY) == 0
    assert full.ask("XPENDING", KEY, GROUP)["pending"] == 0


def test_a_full_redis_is_drained_where_no_relay_was_before(full):
    """The group can be created although the plain command is refused."""
    full.ask("XGROUP", "DESTROY", KEY, GROUP)

    assert take_numbers(build_store(full)) == list(range(10))


def test_the_group_is_created_with_the_stream(redis):
    """By the application, so that a relay finds it when Redis is full."""
    fill_store(redis, 1)
    with redis.connect() as client:
        (group,) = client.xinfo_groups(KEY)

    assert group["name"] == GROUP.encode()
    assert take_numbers(build_store(redis)) == [0]


def test_an_application_that_may_not_create_groups_hands_over(redis):
    """A user with rights for adding alone is enough."""
    rights = ("+xadd", "+xlen", "resetchannels", "~odp:events*")
    redis.ask("ACL", "SETUSER", "shop", "on", ">pw", "-@all", *rights)
    try:
        server = RedisServer(redis.home, port=redis.port)
        url = f"redis://shop:pw@127.0.0.1:{redis.port}/0"
        store = build_store(server, url=url)
        assert not store.hand_over([event(0)])
        store.close()
    finally:
        redis.ask("ACL", "DELUSER", "shop")

    assert take_numbers(build_store(redis)) == [0]


def test_an_event_whose_dead_letter_is_refused_stays_in_the_queue(redis):
    """It becomes one once that is possible; the events beside it are removed."""
    warnings = Warnings()
    fill_store(redis, 3)
    store = build_store(redis, warn=warnings)
    batch = store.take()
    redis.ask("SET", DEAD_KEY, "text")
    store.settle(batch, Delivery(3, rejected={1: "missing type"}))
    kept = redis.ask("XRANGE", KEY, "-", "+")
    redis.ask("DEL", DEAD_KEY)
    store.take()

    assert [fields[b"e"] for _, fields in kept] == [batch.events[1].json]
    assert redis.ask("XLEN", KEY) == 0
    assert redis.ask("XLEN", DEAD_KEY) == 1
    assert "WRONGTYPE" in warnings[0]


def test_a_dead_letter_is_stored_once(redis):
    """Also where others of the same call cannot be removed at first."""
    store = fill_store(redis, 2)
    leased = list(store.engine.lease(2, 0.0, ROOM))
    redis.ask("RENAME", KEY, "away")
    redis.ask("SET", KEY, "text")
    with pytest.raises(QueueError, match="WRONGTYPE"):
        store.engine.acknowledge(leased[:1], [(leased[1], "no")])
    redis.ask("RENAME", "away", KEY)
    store.engine.acknowledge(leased[:1], [(leased[1], "no")])

    assert redis.ask("XLEN", DEAD_KEY) == 1
    assert redis.ask("XLEN", KEY) == 0


def test_a_dead_letter_that_cannot_be_retried_stays(redis):
    """Where its stream refuses it, it is not deleted."""
    store = fill_store(redis, 1)
    store.settle(store.take(), Delivery(1, rejected={0: "no"}))
    letters = store.engine.list_dead_letters()
    redis.ask("DEL", KEY)
    redis.ask("SET", KEY, "text")
    with pytest.raises(QueueError, match="WRONGTYPE"):
        store.engine.retry_dead_letters(letters)

    assert redis.ask("XLEN", DEAD_KEY) == 1


def read_output_bytes(redis: RedisServer) -> int:
    """Return how much the server has sent to all clients."""
    sent: int = redis.ask("INFO", "stats")["total_net_output_bytes"]
    return sent


def test_an_event_leased_too_often_becomes_a_dead_letter_without_being_read(redis):
    """An event that kills its workers by its size does not kill this one."""
    body = b"x" * 3_000_000
    redis.ask("XADD", KEY, "*", "v", "1", "a", "default", "e", body)
    build_store(redis).engine.lease(1, 0.0, ROOM)
    (entry,) = list_pending(redis)
    number = entry["message_id"]
    with redis.connect() as client:
        # As if five workers had ended with it.
        client.xclaim(
            *(KEY, GROUP, "dead", 0, [number]), idle=10_000, retrycount=5, justid=True
        )
    build_store(redis).put(event(7))
    last = build_store(redis, lease_seconds=SHORT, max_deliveries=5)
    before = read_output_bytes(redis)
    until(lambda: last.take().events or redis.ask("XLEN", DEAD_KEY), "the dead letter")
    sent = read_output_bytes(redis) - before
    ((_, letter),) = redis.ask("XRANGE", DEAD_KEY, "-", "+")

    assert letter[b"e"] == body
    assert letter[b"reason"] == b"deliveries: 5 workers had it, and none settled it"
    assert sent < 1_000_000
    assert last.counts().rejected == {"deliveries": 1}
    assert take_numbers(last) == [7]


# Entries that are too large for a relay.


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of the largest entry, 100,000 in these tests; 50,000 for several."""
    monkeypatch.setattr(sockets, "MAX_ENTRY_BYTES", 100_000)
    monkeypatch.setattr(sockets, "MAX_ENTRIES_BYTES", 50_000)
    return 100_000


def add_body(redis: RedisServer, body: bytes) -> None:
    """Add an entry with this *body*."""
    redis.ask("XADD", KEY, "*", "v", "1", "a", "default", "e", body)


def build_large_event(number: int, kilobytes: int) -> OdpEvent:
    """Return an event of that size."""
    texts = {f"text{index}": "x" * 1_000 for index in range(kilobytes)}
    return OdpEvent("viewed", {"fs_user_id": "u1"}, data={"n": number, **texts})


def settle_until_empty(store: RedisStore, redis: RedisServer) -> list[int]:
    """Take and settle until the stream is empty; return the numbers of the events."""
    found: list[int] = []

    def settle_more() -> bool:
        batch = store.take()
        found.extend(numbers(batch.events))
        store.settle(batch, Delivery(len(batch.events)))
        return not redis.ask("XLEN", KEY)

    until(settle_more, "the stream to be empty")
    return found


def test_an_entry_that_is_too_large_costs_itself_alone(redis, limit):
    """It becomes a dead letter without being read; the others are delivered."""
    store = fill_store(redis, 20)
    huge = b"x" * (2 * limit)
    add_body(redis, huge)
    store.hand_over([event(number) for number in range(20, 30)])
    found = settle_until_empty(store, redis)
    ((_, letter),) = redis.ask("XRANGE", DEAD_KEY, "-", "+")

    assert sorted(found) == list(range(30))
    assert letter[b"e"] == huge
    assert letter[b"reason"].startswith(b"unreadable: it has more than")
    assert store.counts().rejected == {"unreadable": 1}


def test_entries_that_are_too_large_together_are_read_in_parts(redis, limit):
    """Small events are read many at a time; larger ones that follow are not lost."""
    store = build_store(redis, batch_size=100, batch_bytes=10**9)
    store.hand_over([event(number) for number in range(50)])
    large = [build_large_event(n, 5 + n % 3 * 35) for n in range(50, 70)]
    first = settle_until_empty(store, redis)
    store.hand_over(large)
    found = settle_until_empty(store, redis)

    assert first == list(range(50))
    assert sorted(found) == list(range(50, 70))
    assert redis.ask("EXISTS", DEAD_KEY) == 0
    assert store.counts().rejected == {}


def test_an_entry_nested_too_deeply_costs_itself_alone(redis):
    """Wherever the nesting is: a parser must not end the relay."""
    head = b'{"type":"t","action":"a","identifiers":{"f":"x"},"data":{"d":'
    add_body(redis, head + b"[" * 100_000 + b"]" * 100_000 + b"}}")
    add_body(redis, b"[" * 100_000)
    store = fill_store(redis, 20)

    assert sorted(settle_until_empty(store, redis)) == list(range(20))
    assert store.counts().rejected == {"unreadable": 2}
    assert redis.ask("XLEN", DEAD_KEY) == 2


def test_a_lease_of_large_events_is_within_its_bytes(redis):
    """After small events, too: the number of entries per read follows their size."""
    store = build_store(redis, batch_size=100, batch_bytes=100_000)
    store.hand_over([event(number) for number in range(100)])
    settle_until_empty(store, redis)
    store.hand_over([build_large_event(n, 9) for n in range(100)])
    sizes = []
    while leased := store.engine.lease(100, 0.0, 100_000):
        sizes.append(sum(len(found.message.body) for found in leased))

    assert sum(sizes) > 900_000
    # The first read cannot know that the events are larger than those before.
    assert max(sizes[1:]) <= 110_000


def test_dead_letters_that_are_too_large_are_listed_and_retried(redis, limit):
    """The body of a large one stays in Redis; several are read in parts."""
    sizes = [100] * 20 + [40_000] * 5 + [2 * limit] * 2 + [100] * 20
    for number, size in enumerate(sizes):
        body = b"%09d" % number + b"x" * (size - 9)
        details = ("reason", f"no {number}", "deliveries", "3", "from", "1-1")
        entry = ("v", "1", "a", "default", "e", body, *details)
        redis.ask("XADD", DEAD_KEY, "*", *entry)
    engine = build_store(redis).engine
    letters = engine.list_dead_letters()
    read = [len(letter.message.body) for letter in letters]
    engine.retry_dead_letters(letters)
    retried = [fields for _, fields in redis.ask("XRANGE", KEY, "-", "+")]

    assert read == [0 if size > limit else size for size in sizes]
    assert [letter.reason for letter in letters] == [f"no {n}" for n in range(47)]
    assert {letter.deliveries for letter in letters} == {3}
    assert [len(fields[b"e"]) for fields in retried] == sizes
    assert [int(fields[b"e"][:9]) for fields in retried] == list(range(47))
    assert {tuple(sorted(fields)) for fields in retried} == {(b"a", b"e", b"v")}
    assert redis.ask("XLEN", DEAD_KEY) == 0
