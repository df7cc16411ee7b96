"""A queue of each kind, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from odp_logging._stores.queue.engines import find_engine
from odp_logging._stores.queue.messages import DeadLetter, Depth
from odp_logging._stores.queue.store import QueueStore

from ..postgresql import PostgresServer, needs_postgresql
from ..redis_server import RedisServer, needs_redis
from ..stores.contract import event
from ..stores.queue.redis_stores import list_pending, parse_url

KINDS = [
    pytest.param("redis", marks=needs_redis),
    pytest.param("postgresql", marks=needs_postgresql),
]


class Queue:
    """
    A queue that is empty at first, with what tests ask about it.

    Args:
        server: The server that a test may kill and start.
        url: The value of queue_url.
    """

    def __init__(self, server: RedisServer | PostgresServer, url: str) -> None:
        self.server = server
        self.url = url
        self._engine = self.build_store().engine

    def build_store(self, **settings: Any) -> QueueStore:
        """Return a store in this queue, with batches of ten events."""
        url = parse_url(self.url)
        return QueueStore(find_engine(url)(url), **{"batch_size": 10, **settings})

    def fill(self, count: int) -> None:
        """Hand over *count* events, numbered from 0."""
        store = self.build_store()
        store.hand_over([event(number) for number in range(count)])
        store.close()

    def read_depth(self) -> Depth:
        """Return how many events there are."""
        return self._engine.read_depth()

    def is_empty(self) -> bool:
        """Whether every event is acknowledged."""
        depth = self.read_depth()
        return depth.ready + depth.leased == 0

    def is_leased(self) -> bool:
        """Whether a worker has an event."""
        return self.read_depth().leased > 0

    def read_pause(self) -> float:
        """Return the remaining seconds of a pause."""
        return self._engine.read_pause()

    def list_dead_letters(self) -> Sequence[DeadLetter]:
        """Return all dead letters."""
        return self._engine.list_dead_letters()

    def list_deliveries(self) -> list[int]:
        """Return how many workers settled none of the events that were leased."""
        if isinstance(self.server, PostgresServer):
            rows = self.server.ask("SELECT deliveries FROM odp_events_leases")
            return [deliveries for (deliveries,) in rows]
        return [entry["times_delivered"] for entry in list_pending(self.server)]

    def close(self) -> None:
        """Close the connection of this object."""
        self._engine.close()


@pytest.fixture(params=KINDS)
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """A queue of each kind."""
    if request.param == "redis":
        server = request.getfixturevalue("redis")
    else:
        server = request.getfixturevalue("postgres")
    found = Queue(server, server.url)
    yield found
    found.close()
