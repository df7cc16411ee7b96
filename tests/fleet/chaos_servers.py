"""The servers of a queue whose processes are killed by the chaos program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple, Protocol

from ..pgbouncer import PgBouncer
from ..postgresql import PostgresServer
from ..redis_server import RedisServer

SHARDS = 4
SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


class Left(NamedTuple):
    """Numbers of events that a queue still has; *waiting* includes leased ones."""

    waiting: int
    leased: int
    dead: int


class QueueServers(Protocol):
    """The servers of one queue, which run from `start` to `end`."""

    url: str

    def start(self) -> None:
        """Start them with an empty queue."""

    def kill(self) -> None:
        """End a server with SIGKILL; return once the queue has one again."""

    def count_left(self) -> Left:
        """Ask the server itself, not the library, what the queue has."""

    def end(self) -> None:
        """End all processes and delete the files."""


class Redis:
    """One Redis, which starts again from its append-only file."""

    def __init__(self, home: Path) -> None:
        self._server = RedisServer(home / "redis")
        self.url = f"{self._server.url}?shards={SHARDS}"

    def start(self) -> None:
        """Start it."""
        self._server.start()

    def kill(self) -> None:
        """Kill it and start it again."""
        self._server.kill()
        self._server.start()

    def count_left(self) -> Left:
        """Ask each stream."""
        ask = self._server.ask
        keys = [f"odp:events:{{{shard}}}" for shard in range(SHARDS)]
        groups = [
            ask("XPENDING", key, "odp-relay") for key in keys if ask("EXISTS", key)
        ]
        dead = [f"odp:events:dead:{{{shard}}}" for shard in range(SHARDS)]
        return Left(
            waiting=sum(ask("XLEN", key) for key in keys),
            leased=sum(group["pending"] for group in groups),
            dead=sum(ask("XLEN", key) for key in dead),
        )

    def end(self) -> None:
        """End it."""
        self._server.kill()


class Postgres:
    """One PostgreSQL, which recovers from its log."""

    def __init__(self, home: Path) -> None:
        self._server = PostgresServer(SAFE)
        self.url = self._server.url

    def start(self) -> None:
        """Start it, with the tables of a queue."""
        self._server.start()
        self._server.create_tables()

    def kill(self) -> None:
        """Kill the postmaster and start it again."""
        self._server.kill()
        self._server.start()

    def count_left(self) -> Left:
        """Count the rows."""
        return _count_rows(self._server)

    def end(self) -> None:
        """End it."""
        self._server.remove()


class PooledPostgres(Postgres):
    """One PostgreSQL behind PgBouncer, which pools transactions."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._pooler = PgBouncer(self._server)
        self.url = self._pooler.url

    def start(self) -> None:
        """Start both."""
        super().start()
        self._pooler.start()

    def end(self) -> None:
        """End both."""
        self._pooler.end()
        super().end()


class ReplicatedPostgres:
    """
    A primary, and a standby that confirms each commit and is promoted in its place.

    The killed server is thrown away, as a machine that does not return. A new standby
    is made in its place, and commits wait for it.
    """

    def __init__(self, home: Path) -> None:
        options = {**SAFE, "synchronous_standby_names": "*"}
        self._primary = PostgresServer(options)
        self._standby = PostgresServer(options)
        ports = (self._primary.port, self._standby.port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"postgresql://postgres@{hosts}/postgres"

    def start(self) -> None:
        """Start both, with the tables of a queue."""
        self._primary.start()
        self._start_standby()
        self._primary.create_tables()

    def kill(self) -> None:
        """Kill the primary, promote the standby, and start another standby."""
        self._primary.kill()
        assert self._standby.ask("SELECT pg_promote(true, 60)") == [(True,)]
        self._primary, self._standby = self._standby, self._primary
        shutil.rmtree(self._standby.data)
        self._start_standby()

    def _start_standby(self) -> None:
        self._standby.run(
            "pg_basebackup",
            *("-D", str(self._standby.data), "-h", "127.0.0.1"),
            *("-p", str(self._primary.port), "-U", "postgres"),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )
        self._standby.start()

    def count_left(self) -> Left:
        """Count the rows of the primary."""
        return _count_rows(self._primary)

    def end(self) -> None:
        """End both."""
        self._standby.remove()
        self._primary.remove()


def _count_rows(server: PostgresServer) -> Left:
    tables = ("odp_events", "odp_events_leases", "odp_events_dead")
    return Left(*(server.ask(f"SELECT count(*) FROM {name}")[0][0] for name in tables))


KINDS: dict[str, type[QueueServers]] = {
    "redis": Redis,
    "postgresql": Postgres,
    "pgbouncer": PooledPostgres,
    "replica": ReplicatedPostgres,
}
"""What ``--queue`` of the chaos program may name."""
