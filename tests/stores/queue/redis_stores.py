"""Stores in Redis for tests, and what Redis knows about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odp_logging import OdpEvent
from odp_logging._config.queue_url import QueueUrl, parse_queue_url
from odp_logging._runtime.lock import monotonic
from odp_logging._runtime.secret import OpaqueSecret
from odp_logging._stores.queue.base import LEASE_SECONDS
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging._stores.queue.redis.streams import GROUP
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import RedisServer
from ...waiting import until
from ..contract import event, numbers

KEY = "odp:events:{0}"
DEAD_KEY = "odp:events:dead:{0}"


class RedisStore(QueueStore):
    """A store whose engine is known to be that for Redis."""

    engine: RedisEngine


class Warnings(list[str]):
    """Collects the messages of a store."""

    def __call__(self, kind: str, message: str) -> None:
        self.append(message)


def parse_url(text: str) -> QueueUrl:
    """Return the parts of the URL *text*."""
    url = parse_queue_url(OpaqueSecret(text))
    assert isinstance(url, QueueUrl), url
    return url


def build_store(
    server: RedisServer,
    options: str = "",
    *,
    lease_seconds: float = LEASE_SECONDS,
    forget_after: float = 3600.0,
    clock: Callable[[], float] = monotonic,
    url: str | None = None,
    **settings: Any,
) -> RedisStore:
    """Return a store with batches of ten events; *options* are those of its URL."""
    engine = RedisEngine(
        parse_url(url or f"{server.url}?{options}"),
        lease_seconds=lease_seconds,
        forget_after=forget_after,
        clock=clock,
    )
    return RedisStore(engine, **{"batch_size": 10, "clock": clock, **settings})


def fill_store(server: RedisServer, count: int, options: str = "") -> RedisStore:
    """Return a store that has handed over *count* events."""
    store = build_store(server, options)
    store.hand_over([event(number) for number in range(count)])
    return store


def take_numbers(store: QueueStore) -> list[int]:
    """Take until there are events; return their numbers."""
    found: list[int] = []
    until(lambda: found.extend(numbers(store.take().events)) or found, "an event")
    return found


def build_event(user_id: str, number: int = 0) -> OdpEvent:
    """Return an event about *user_id*, whose shard follows from it."""
    return OdpEvent("viewed", {"fs_user_id": user_id}, data={"n": number})


def list_pending(redis: RedisServer) -> Any:
    """Return what Redis knows about the leased entries."""
    if not redis.ask("EXISTS", KEY) or not redis.ask("XINFO", "GROUPS", KEY):
        return []
    with redis.connect() as client:
        return client.xpending_range(KEY, GROUP, "-", "+", 100)
