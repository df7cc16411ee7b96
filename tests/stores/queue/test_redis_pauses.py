"""The pause that relays share after ODP asked one to wait, on a real Redis."""

from __future__ import annotations

import time
from typing import Any

import pytest

from odp_logging._events.delivery import Cause, Delivery

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from .redis_stores import RedisStore, Warnings, build_store, fill_store, take_numbers

pytestmark = needs_redis

PAUSE = "odp:relay:pause:default"

THROTTLED: dict[str, Any] = {"rate_limited": True, "retry_after": 1.0}


def throttle(store: RedisStore) -> None:
    """Let ODP answer with 429 and Retry-After for one batch of *store*."""
    size = len(store.take().events)
    batch = store._leases._batch
    assert batch is not None
    store.settle(batch, Delivery.all_pending(size, Cause.TRANSIENT, "429", **THROTTLED))


def measure_waits(*stores: RedisStore) -> list[float]:
    """Return the seconds after which each of *stores* takes events again."""
    begin, waits = time.monotonic(), [0.0] * len(stores)

    def take_all() -> bool:
        for index, store in enumerate(stores):
            if not waits[index] and store.take().events:
                waits[index] = time.monotonic() - begin
        return all(waits)

    until(take_all, "all workers to continue")
    return waits


def test_workers_do_not_continue_at_the_same_time(redis: RedisServer):
    """Each waits for a random part of the pause in addition; so does the first one."""
    one, two, three = (
        build_store(redis, random_fraction=lambda part=part: part)
        for part in (1.0, 0.0, 0.5)
    )
    fill_store(redis, 40)
    throttle(one)
    waits = measure_waits(one, two, three)

    assert 0.5 < waits[1] < waits[2] < waits[0] < 10


def test_a_pause_that_an_operator_ends_holds_no_worker(redis: RedisServer):
    """Deleting its key is enough."""
    one = build_store(redis, random_fraction=lambda: 1.0)
    fill_store(redis, 5)
    redis.ask("SET", PAUSE, "1", "PX", "50000")
    assert not one.take().events
    redis.ask("DEL", PAUSE)

    (wait,) = measure_waits(one)
    assert wait < 10


FORGED = [
    ("SET", PAUSE, "1"),
    ("SET", PAUSE, "1", "EX", "1000000000"),
    ("HSET", PAUSE, "a", "b"),
]


@pytest.mark.parametrize("command", FORGED)
def test_a_forged_pause_is_shortened_and_reported(redis, command):
    """No relay starts such a pause; the limit is named."""
    warnings = Warnings()
    store = build_store(redis, warn=warnings, max_pause=0.5)
    fill_store(redis, 5)
    redis.ask(*command)
    assert not store.take().events
    left = redis.ask("PTTL", PAUSE)
    (wait,) = measure_waits(store)

    assert left <= 500
    assert 0.3 < wait < 10
    (warning,) = warnings
    assert "which ODP did not ask for" in warning
    assert "max_retry_delay=0.5 s" in warning


def test_a_forged_pause_that_cannot_be_shortened_ends_for_this_worker(redis):
    """It counts for itself."""
    warnings = Warnings()
    redis.ask("ACL", "SETUSER", "shop", "on", ">pw", "+@all", "-pexpire", "~*", "&*")
    try:
        url = f"redis://shop:pw@127.0.0.1:{redis.port}/0"
        store = build_store(redis, url=url, warn=warnings, max_pause=0.3)
        fill_store(redis, 5)
        redis.ask("SET", PAUSE, "1")
        (wait,) = measure_waits(store)
        store.close()
    finally:
        redis.ask("ACL", "DELUSER", "shop")

    assert 0.2 < wait < 10
    assert redis.ask("PTTL", PAUSE) == -1
    assert len([text for text in warnings if "max_retry_delay" in text]) == 1


def test_a_pause_is_never_longer_than_the_setting(redis):
    """A relay obeys Retry-After up to max_retry_delay, for itself and for others."""
    one = build_store(redis, max_pause=0.2)
    fill_store(redis, 15)
    throttle(one)

    assert 0 < redis.ask("PTTL", PAUSE) <= 200
    assert len(take_numbers(build_store(redis))) == 5
