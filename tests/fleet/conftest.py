"""A Redis server for the tests of a file, found empty by each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for this file."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """That server, up and emptied."""
    if server.is_down:
        server.start()
    server.ask("FLUSHALL")
    return server
