"""The engine for PostgreSQL through PgBouncer in transaction mode."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.postgresql.engine import PostgresEngine
from odp_logging._stores.queue.store import QueueStore

from ...postgresql import PostgresServer, needs_postgresql
from ...redis_server import find_free_port
from ...waiting import PATIENCE, until
from ..contract import QueueStoreContract, event, numbers
from .contract import QueueEngineContract, build_message
from .redis_stores import parse_url

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "pgbouncer is not installed; on Debian: apt-get install pgbouncer"

if BINARY is None and os.environ.get("CI") == "true":
    raise RuntimeError(f"{MISSING}; CI tests against it")

pytestmark = [
    needs_postgresql,
    pytest.mark.skipif(BINARY is None, reason=MISSING),
]

SETTINGS = """\
[databases]
postgres = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = {home}/log
"""


@pytest.fixture(scope="module")
def pooler_port(postgres_server: PostgresServer) -> Iterator[int]:
    """The port of a pooler with two connections to the server."""
    home = Path(tempfile.mkdtemp(prefix="odp-pooler-"))
    port = find_free_port()
    settings = home / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(server=postgres_server.port, port=port, home=home)
    )
    owner = None
    if os.geteuid() == 0:  # it refuses to run as root
        owner = "nobody"
        shutil.chown(home, owner)
    assert BINARY is not None
    process = subprocess.Popen(
        [BINARY, str(settings)],
        user=owner,
        group=None if owner is None else pwd.getpwnam(owner).pw_gid,
        extra_groups=None if owner is None else [],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, (home / "log").read_text()
        try:
            with postgres_server.connect(port=port, user="postgres", dbname="postgres"):
                return True
        except Exception:
            return False

    try:
        until(answers, "the pooler")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(home, ignore_errors=True)


def build_pooled_engine(port: int) -> PostgresEngine:
    """Return an engine that reaches the server through the pooler."""
    PostgresEngine.load()
    return PostgresEngine(parse_url(f"postgresql://postgres@127.0.0.1:{port}/postgres"))


class TestContract(QueueStoreContract, QueueEngineContract):
    @pytest.fixture(autouse=True)
    def _pooler(self, postgres: PostgresServer, pooler_port: int) -> None:
        self.port = pooler_port

    def make_engine(self) -> PostgresEngine:
        """Return an engine for the queue of this test."""
        return build_pooled_engine(self.port)

    def make(self) -> QueueStore:
        """Return a store with the queue of this test."""
        return QueueStore(self.make_engine(), batch_size=10)


def test_a_session_of_the_server_keeps_no_setting_and_no_channel(postgres, pooler_port):
    """The pooler gives it to other applications, which would get both."""
    engine = build_pooled_engine(pooler_port)
    store = QueueStore(engine, batch_size=10, wait=0.01)
    store.hand_over([event(number) for number in range(3)])
    batch = store.take()
    store.settle(batch, Delivery(3))
    found = store.take()
    with postgres.connect(port=pooler_port) as other:
        rows = other.execute(
            "SELECT current_setting('synchronous_commit'),"
            " current_setting('enable_sort'), current_setting('statement_timeout'),"
            " (SELECT count(*) FROM pg_listening_channels())"
        ).fetchall()
    store.close()

    assert numbers(batch.events) == [0, 1, 2] and not found.events
    assert rows == [("on", "on", "0", 0)]


def test_more_workers_than_sessions_share_them(postgres, pooler_port):
    """Six workers over two sessions lease each event once."""
    engines = [build_pooled_engine(pooler_port) for _ in range(6)]
    engines[0].publish([build_message(f"u{n}", n) for n in range(60)], None)
    bodies = []
    for _ in range(3):
        for engine in engines:
            held = engine.lease(4, 0.0, 1_000_000)
            bodies += [found.message.body for found in held]
            engine.acknowledge(held, [])
    for engine in engines:
        engine.close()

    assert len(bodies) == len(set(bodies)) == 60


def test_a_pooler_without_the_database_is_reported(pooler_port):
    """By what it refuses."""
    engine = PostgresEngine(
        parse_url(f"postgresql://postgres@127.0.0.1:{pooler_port}/none")
    )
    with pytest.raises(QueueError, match="has a pooler that does not know the"):
        engine.read_depth()
