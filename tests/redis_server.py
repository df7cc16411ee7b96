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
    else "redis is not installed; pip install -e . --group test"
)
IS_INSTALLED = BINARY is not None and redis is not None

if not IS_INSTALLED and os.environ.get("CI") == "true":
    raise RuntimeError(f"{MISSING}; CI tests against it")

needs_redis = pytest.mark.skipif(not IS_INSTALLED, reason=MISSING)


def find_free_port() -> int:
    """Return an unused port; the port 10,000 above it is a cluster's bus."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port - 20_000))
                return port - 20_000
            except OSError:
                continue


class RedisServer:
    """
    A server that appends to a file in *home*, on a port that stays the same.

    Args:
        home: Directory of its files.
        options: Further options of its command line.
    """

    def __init__(self, home: Path, *options: str, port: int = 0) -> None:
        self.home = home
        self.port = port or find_free_port()
        self._options = options
        self.password: str | None = None
        """Password of the test's own connections."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of queue_url for this server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_down(self) -> bool:
        """Whether it was killed, or never started."""
        return self._process is None

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> RedisServer:
        """Start it with the content of its file, and wait until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._build_command(), stdout=log, stderr=log
            )
        until(self._answers, f"the Redis server in {self.home}")
        return self

    def _build_command(self) -> list[str]:
        assert BINARY is not None
        return [
            BINARY,
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.home), "--save", "", "--appendonly", "yes"),
            *("--appendfsync", "always", "--daemonize", "no"),
            *self._options,
        ]

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.home / "log").read_text()[-2000:])
        try:
            with self.connect() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Yield a client of this server."""
        client = redis.Redis(
            "127.0.0.1",
            self.port,
            password=self.password,
            protocol=2,
            single_connection_client=True,
        )
        try:
            yield client
        finally:
            client.close()

    def ask(self, *command: Any) -> Any:
        """Return the answer to one command."""
        with self.connect() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it with SIGKILL."""
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


SERVICE = "mymaster"
"""The name that Sentinels have for a master."""


class Sentinel(RedisServer):
    """
    A Sentinel that watches *master*, with a quorum of two.

    Args:
        settings: Further lines of its configuration file.
    """

    def __init__(self, home: Path, master: RedisServer, *settings: str) -> None:
        super().__init__(home)
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {home}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
            *settings,
        ]
        home.mkdir(parents=True)
        (home / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _build_command(self) -> list[str]:
        assert BINARY is not None
        return [BINARY, str(self.home / "sentinel.conf"), "--sentinel"]

    def find_master(self) -> int:
        """Return the port of the master."""
        address = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(address[1])


@contextmanager
def start_sentinels(
    home: Path, *, password: str | None = None, sentinel_password: str | None = None
) -> Iterator[tuple[list[RedisServer], list[Sentinel]]]:
    """Start a master with one replica, and three Sentinels."""
    options: list[str] = []
    settings: list[str] = []
    if password is not None:
        options = ["--requirepass", password, "--masterauth", password]
        settings = [f"sentinel auth-pass {SERVICE} {password}"]
    if sentinel_password is not None:
        settings += [f"requirepass {sentinel_password}"]
    master = RedisServer(home / "0", *options)
    replica = RedisServer(
        home / "1", *options, "--replicaof", f"127.0.0.1 {master.port}"
    )
    sentinels = [Sentinel(home / f"s{n}", master, *settings) for n in range(3)]
    running: list[RedisServer] = [master, replica, *sentinels]
    for server in running:
        server.password = sentinel_password if server in sentinels else password
    try:
        for server in (master, replica):
            server.start()
        until(
            lambda: replica.ask("INFO", "replication")["master_link_status"] == "up",
            "the replica",
        )
        for sentinel in sentinels:
            sentinel.start()
        until(lambda: all(map(_knows_others, sentinels)), "the Sentinels to meet")
        yield [master, replica], sentinels
    finally:
        for server in running:
            server.kill()


def _knows_others(sentinel: Sentinel) -> bool:
    """Whether *sentinel* knows the replica and two other Sentinels."""
    master = sentinel.ask("INFO", "sentinel")["master0"]
    return (master["slaves"], master["sentinels"]) == (1, 3)


@contextmanager
def start_cluster(home: Path, replicas: int = 0) -> Iterator[list[RedisServer]]:
    """Start a cluster of three masters, each with *replicas* replicas."""
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
        until(
            lambda: all(_has_met(server, count) for server in servers),
            "the servers to meet",
        )
        for n, server in enumerate(servers[3:]):
            server.ask("CLUSTER", "REPLICATE", servers[n % 3].ask("CLUSTER", "MYID"))
        until(lambda: all(map(_is_complete, servers)), "the cluster to be complete")
        yield servers
    finally:
        for server in servers:
            server.kill()


def _has_met(server: RedisServer, count: int) -> bool:
    """Whether *server* knows *count* servers of its cluster."""
    flags = [node["flags"] for node in server.ask("CLUSTER NODES").values()]
    return len(flags) == count and not any("handshake" in flag for flag in flags)


def _is_complete(server: RedisServer) -> bool:
    """Whether every slot of the cluster has a server."""
    return bool(server.ask("CLUSTER INFO")["cluster_state"] == "ok")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for the tests of one file."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(name="redis")
def empty_server(server: RedisServer) -> RedisServer:
    """That server, running and empty."""
    if server.is_down:
        server.start()
    server.ask("FLUSHALL")
    return server
