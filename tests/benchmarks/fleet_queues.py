"""The servers that `fleet` measures: what they hold, and what that takes of them.

Each is a server of our own on a free port of the loopback interface. CPU seconds of
PostgreSQL are those of all its processes, from /proc.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from odp_logging import OdpEvent

from ..postgresql import IS_INSTALLED as HAS_POSTGRESQL
from ..postgresql import MISSING as NO_POSTGRESQL
from ..postgresql import PostgresServer
from ..redis_server import IS_INSTALLED as HAS_REDIS
from ..redis_server import MISSING as NO_REDIS
from ..redis_server import RedisServer

SHARDS = 4


class Queue(ABC):
    """A server with an empty queue, which ends with the `with` block."""

    name: ClassVar[str]
    stored: ClassVar[str]
    """What its bytes per event are."""
    missing: ClassVar[str]
    """Why it cannot run here; empty if it can."""
    modes: ClassVar[tuple[str, ...]]
    """How it writes to the disk; the first is its default."""
    url: str

    @abstractmethod
    def use(self, mode: str) -> None:
        """Empty the queue and change to one of `modes`."""

    @abstractmethod
    def count_waiting(self) -> int:
        """Return how many events the queue holds, leased or not."""

    @abstractmethod
    def read_bytes(self) -> int:
        """Return the bytes that the server uses for its data."""

    @abstractmethod
    def read_log_bytes(self) -> int:
        """Return the bytes of its log so far; 0 where they are not told."""

    @abstractmethod
    def read_cpu(self) -> float:
        """Return the CPU microseconds of the server so far."""

    @abstractmethod
    def __enter__(self) -> Queue: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...


class RedisQueue(Queue):
    """One Redis, of which CPU and memory are what it says itself (``INFO``)."""

    name = "Redis"
    stored = "memory"
    missing = "" if HAS_REDIS else NO_REDIS
    modes = ("appendfsync everysec", "appendfsync always")

    def __init__(self, home: Path) -> None:
        # Rewriting its file would be a second process of Redis', in some runs.
        options = ("--auto-aof-rewrite-percentage", "0")
        self.server = RedisServer(home / "redis", *options)
        self.url = f"{self.server.url}?shards={SHARDS}"

    def use(self, mode: str) -> None:
        """Empty it; write its file through once a second or at each batch."""
        self.server.ask("FLUSHALL")
        self.server.ask("CONFIG", "SET", *mode.split())

    def count_waiting(self) -> int:
        """Return the lengths of the streams."""
        keys = [f"odp:events:{{{shard}}}" for shard in range(SHARDS)]
        return sum(int(self.server.ask("XLEN", key)) for key in keys)

    def read_bytes(self) -> int:
        """Return the bytes of memory that Redis has in use."""
        return int(self.server.ask("INFO", "memory")["used_memory"])

    def read_log_bytes(self) -> int:
        """Return 0: what its file has is not asked for."""
        return 0

    def read_cpu(self) -> float:
        """Return the CPU microseconds of Redis so far."""
        found = self.server.ask("INFO", "cpu")
        return 1e6 * float(found["used_cpu_user"] + found["used_cpu_sys"])

    def __enter__(self) -> RedisQueue:
        self.server.__enter__()
        self.use(self.modes[0])
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()


class PostgresQueue(Queue):
    """One PostgreSQL, which writes its log through at each commit."""

    name = "PostgreSQL"
    stored = "disk"
    missing = "" if HAS_POSTGRESQL else NO_POSTGRESQL
    modes = ("synchronous_commit on", "synchronous_commit off")

    def __init__(self, home: Path) -> None:
        self.server = PostgresServer({"fsync": "on", "full_page_writes": "on"})
        self.url = self.server.url

    def use(self, mode: str) -> None:
        """Empty the tables; write the log through at each commit or a moment later."""
        self.server.clear()
        self.server.create_tables()
        name, value = mode.split()
        self.server.ask(f"ALTER SYSTEM SET {name} = {value}")
        self.server.ask("SELECT pg_reload_conf()")

    def count_waiting(self) -> int:
        """Return the number of rows."""
        return int(self.server.ask("SELECT count(*) FROM odp_events")[0][0])

    def read_bytes(self) -> int:
        """Return the bytes of the table of events and its index."""
        statement = "SELECT pg_total_relation_size('odp_events')"
        return int(self.server.ask(statement)[0][0])

    def read_log_bytes(self) -> int:
        """Return the bytes of the write-ahead log so far."""
        statement = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
        return int(self.server.ask(statement)[0][0])

    def read_cpu(self) -> float:
        """Return the CPU microseconds of all processes, ended ones too."""
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        total = _read_ticks(self.server.pid, ended=True)
        for pid in children.read_text().split():
            try:
                total += _read_ticks(int(pid))
            except OSError:  # it has ended
                pass
        return 1e6 * total / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> PostgresQueue:
        self.server.__enter__()
        self.use(self.modes[0])
        return self

    def __exit__(self, *_: object) -> None:
        self.server.remove()


def _read_ticks(pid: int, *, ended: bool = False) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended else 13]))


def fill(url: str, count: int) -> int:
    """Hand over so many events, each with an identifier of its own; return bytes."""
    from odp_logging._config.queue_url import QueueUrl, parse_queue_url
    from odp_logging._runtime.secret import OpaqueSecret
    from odp_logging._stores.queue.engines import find_engine
    from odp_logging._stores.queue.store import QueueStore

    parsed = parse_queue_url(OpaqueSecret(url))
    assert isinstance(parsed, QueueUrl)
    engine = find_engine(parsed)
    engine.load()
    store, size = QueueStore(engine(parsed)), 0
    for first in range(0, max(0, count), 500):
        events = [_event(number) for number in range(first, min(first + 500, count))]
        assert not store.hand_over(events)
        size += sum(len(each.json) for each in events)
    store.close()
    return size


def _event(number: int) -> OdpEvent:
    return OdpEvent(
        "purchased",
        {"fs_user_id": f"u-{number}", "email": f"ada{number}@example.com"},
        data={"item": "shirt", "price": 50.0},
    )
