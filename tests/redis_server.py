"""Real Redis servers on free ports: one alone, or a cluster of three masters."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .waiting import PATIENCE, until

try:
    import redis
except ImportError:
    redis = None

BINARY = shutil.which("redis-server")
MISSING = (
    "redis-server is not installed; on Debian: apt-get install redis-server"
    if BINARY is None
    else "redis is not installed; pip install -e '.[test]'"
)
IS_THERE = BINARY is not None and redis is not None

if not IS_THERE and os.environ.get("CI") == "true":
    raise RuntimeError(f"{MISSING}; CI tests against it")

needs_redis = pytest.mark.skipif(not IS_THERE, reason=MISSING)


def free_port() -> int:
    """Return a port where nobody listens, low enough for a cluster's bus beside it."""
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
        if port < 55_000:
            return port
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port - 20_000))
                return port - 20_000
            except OSError:
                continue


class RedisServer:
    """
    A server that appends to a file in *home*, on a port that stays the same.

    Args:
        home: Where its files are.
        options: More of its command line.
    """

    def __init__(self, home: Path, *options: str, port: int = 0) -> None:
        self.home = home
        self.port = port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address as a queue's."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_down(self) -> bool:
        """Whether it was killed, or never started."""
        return self._process is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> RedisServer:
        """Start it, with what its file holds, and wait until it answers."""
        assert BINARY is not None
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    BINARY,
                    *("--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self.home), "--save", "", "--appendonly", "yes"),
                    *("--appendfsync", "always", "--daemonize", "no"),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        until(self._answers, f"the Redis server in {self.home}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.home / "log").read_text()[-2000:])
        try:
            with self.asked() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    @contextmanager
    def asked(self) -> Iterator[Any]:
        client = redis.Redis(
            "127.0.0.1", self.port, protocol=2, single_connection_client=True
        )
        try:
            yield client
        finally:
            client.close()

    def ask(self, *command: Any) -> Any:
        """Return the answer to one command."""
        with self.asked() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it at once, as the kernel does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)

    def __enter__(self) -> RedisServer:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def cluster(home: Path, replicas: int = 0) -> Iterator[list[RedisServer]]:
    """Start a cluster of three masters, each with so many *replicas*."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    count = 3 * (1 + replicas)
    servers = [RedisServer(home / str(n), *options) for n in range(count)]
    try:
        for server in servers:
            server.start()
        for n, server in enumerate(servers[:3]):
            first, last = n * 16384 // 3, (n + 1) * 16384 // 3 - 1
            server.ask("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for server in servers[1:]:
            server.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        until(lambda: all(map(_knows(count), servers)), "the cluster to meet")
        for n, server in enumerate(servers[3:]):
            server.ask("CLUSTER", "REPLICATE", servers[n % 3].ask("CLUSTER", "MYID"))
        until(lambda: all(map(_is_whole, servers)), "the cluster to be whole")
        yield servers
    finally:
        for server in servers:
            server.kill()


def _knows(count: int) -> Any:
    def known(server: RedisServer) -> bool:
        flags = [each["flags"] for each in server.ask("CLUSTER NODES").values()]
        return len(flags) == count and not any("handshake" in each for each in flags)

    return known


def _is_whole(server: RedisServer) -> bool:
    return bool(server.ask("CLUSTER INFO")["cluster_state"] == "ok")
