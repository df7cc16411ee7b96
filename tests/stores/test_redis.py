"""Stream: a real Redis server, kept in order, leased, acknowledged and buried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging._secret import Hidden
from odp_logging.stores._url import QueueUrl, read_url
from odp_logging.stores.redis import Stream

from ..redis_server import RedisServer, needs_redis
from .contract import SharedContract, event

pytestmark = needs_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for this file; each test finds it empty."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """That server, emptied."""
    server.ask("FLUSHALL")
    return server


def made(server: RedisServer, options: str = "", **changes: Any) -> Stream:
    """Return a stream of ten to the batch, with what a test changes."""
    url = read_url(Hidden(f"{server.url}?{options}"))
    assert isinstance(url, QueueUrl), url
    return Stream(url, **{"batch_size": 10, **changes})


class TestContract(SharedContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis: RedisServer) -> None:
        self.redis = redis

    def make(self) -> Stream:
        """Return a stream in Redis."""
        return made(self.redis)


def test_an_entry_is_an_event_without_a_key(redis):
    """One entry an event: version, JSON and the account's alias, nothing else."""
    sold = event(1)
    made(redis, "account=shop").put(sold)

    ((_, fields),) = redis.ask("XRANGE", "odp:events:{0}", "-", "+")
    assert fields == {b"v": b"1", b"e": sold.json, b"a": b"shop"}
