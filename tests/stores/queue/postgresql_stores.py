"""Stores in PostgreSQL for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odp_logging._runtime.lock import monotonic
from odp_logging._stores.queue.base import LEASE_SECONDS
from odp_logging._stores.queue.messages import LeasedMessage
from odp_logging._stores.queue.postgresql.engine import PostgresEngine
from odp_logging._stores.queue.store import QueueStore

from ...postgresql import PostgresServer
from ..contract import event
from .contract import build_message
from .redis_stores import parse_url


class PostgresStore(QueueStore):
    """A store whose engine is known to be that for PostgreSQL."""

    engine: PostgresEngine


def build_engine(
    server: PostgresServer,
    options: str = "",
    *,
    lease_seconds: float = LEASE_SECONDS,
    clock: Callable[[], float] = monotonic,
) -> PostgresEngine:
    """Return an engine; *options* are those of its URL."""
    PostgresEngine.load()
    return PostgresEngine(
        parse_url(server.build_url(options)), lease_seconds=lease_seconds, clock=clock
    )


def build_store(
    server: PostgresServer,
    options: str = "",
    *,
    lease_seconds: float = LEASE_SECONDS,
    clock: Callable[[], float] = monotonic,
    **settings: Any,
) -> PostgresStore:
    """Return a store with batches of ten events; *options* are those of its URL."""
    engine = build_engine(server, options, lease_seconds=lease_seconds, clock=clock)
    return PostgresStore(engine, **{"batch_size": 10, "clock": clock, **settings})


def fill_store(server: PostgresServer, count: int, options: str = "") -> PostgresStore:
    """Return a store that has handed over *count* events."""
    store = build_store(server, options)
    store.hand_over([event(number) for number in range(count)])
    return store


ROOM = 1_000_000
"""Bytes of a lease that hold all messages of a test."""


def publish(engine: PostgresEngine, *keys: str) -> None:
    """Publish one message for each of *keys*, numbered from 0."""
    assert not engine.publish(
        [build_message(key, number) for number, key in enumerate(keys)], None
    )


def lease(engine: PostgresEngine, limit: int = 100) -> list[LeasedMessage]:
    """Lease what there is, without waiting."""
    return list(engine.lease(limit, 0.0, ROOM))


def name_keys(leased: list[LeasedMessage]) -> list[str]:
    """Return the customers of *leased*."""
    return [found.message.body.split(b'"')[3].decode() for found in leased]


def end_leases(postgres: PostgresServer) -> None:
    """End all leases, as time does."""
    postgres.ask("UPDATE odp_events_leases SET leased_until = clock_timestamp()")
