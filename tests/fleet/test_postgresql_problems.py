"""A PostgreSQL that refuses statements: one clear line on each side, and no loss."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from odp_logging import OdpClient
from odp_logging._cli.main import main
from odp_logging._stores.queue.postgresql.schema import build_grants
from odp_logging._stores.queue.postgresql.tables import Tables

from ..postgresql import PostgresServer, needs_postgresql
from ..stores.queue.test_postgresql_errors import small_disk as small_disk
from ..waiting import until
from .processes import RelayProcess

pytestmark = [needs_postgresql, pytest.mark.slow]

ROLES = ("shop", "relay")
GRANTS = build_grants(Tables(), producer="shop", relay="relay")


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server with a role for applications and one for relays."""
    postgres.ask("DROP ROLE IF EXISTS shop; DROP ROLE IF EXISTS relay")
    postgres.ask(f"CREATE ROLE shop LOGIN; CREATE ROLE relay LOGIN; {GRANTS}")
    yield postgres
    postgres.ask("DROP OWNED BY shop, relay; DROP ROLE shop, relay")


@contextmanager
def drop_table(server: PostgresServer) -> Iterator[None]:
    """Drop the table of events; create it again with the command."""
    server.ask("DROP TABLE odp_events")
    yield
    assert main(["queue", "apply", server.url]) == 0
    server.ask(GRANTS)


@contextmanager
def revoke_rights(server: PostgresServer) -> Iterator[None]:
    """Take the rights on the table of events away; grant them again."""
    server.ask("REVOKE ALL ON odp_events FROM shop, relay")
    yield
    server.ask(GRANTS)


@contextmanager
def end_connections(server: PostgresServer) -> Iterator[None]:
    """End all connections and permit no new ones; permit them again."""
    limit = (
        "ALTER ROLE shop CONNECTION LIMIT {0}; ALTER ROLE relay CONNECTION LIMIT {0}"
    )
    server.ask(limit.format(0))
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename IN ('shop', 'relay')"
    )
    yield
    server.ask(limit.format(-1))


@contextmanager
def lock_table(server: PostgresServer) -> Iterator[None]:
    """Lock the table of events, as a migration does; end the transaction."""
    with server.connect(autocommit=False) as migration:
        migration.execute("LOCK TABLE odp_events")
        yield


@contextmanager
def refuse_writes(server: PostgresServer) -> Iterator[None]:
    """Make all new sessions read-only, as on a standby; and end the others."""
    change = "ALTER ROLE shop {0}; ALTER ROLE relay {0}"
    server.ask(change.format("SET default_transaction_read_only = on"))
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename IN ('shop', 'relay')"
    )
    server.ask(end)
    yield
    server.ask(change.format("RESET default_transaction_read_only"))
    server.ask(end)


class Problem(NamedTuple):
    """A problem in a `with` block, and what both sides have to say about it."""

    start: Callable[[PostgresServer], Any]
    words: str
    needs_new_relay: bool = False
    """Whether a relay with a connection first says that this was closed."""


PROBLEMS = [
    Problem(
        drop_table,
        "has no table odp_events; create it with odp-logging queue apply URL",
    ),
    Problem(revoke_rights, "does not permit this user a statement"),
    Problem(end_connections, "accepts no more connections; increase its", True),
    Problem(lock_table, "gave no answer within 5 s"),
    Problem(refuse_writes, "is a standby or read-only; use the address of", True),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda one: one.start.__name__)
def test_a_problem_is_reported_on_both_sides_and_loses_nothing(
    roles, emulator, caplog, problem
):
    """Events wait in the application and in the table, and arrive afterwards."""
    caplog.set_level(logging.WARNING, "odp_logging")
    with ExitStack() as stack:

        def start_relay() -> RelayProcess:
            relay_url = roles.build_url(user="relay")
            relay = RelayProcess(relay_url, emulator, "--workers", "2")
            return stack.enter_context(relay)

        relay = start_relay()
        url = roles.build_url(user="shop")
        client = stack.enter_context(OdpClient(queue_url=url, handle_sigterm=False))
        _send(client, range(20))
        assert client.flush(20)
        assert emulator.wait_for(unique=20, timeout=20)
        if problem.needs_new_relay:
            assert relay.end() == 0, relay.text
        with problem.start(roles):
            if problem.needs_new_relay:
                relay = start_relay()
            _send(client, range(20, 40))
            until(lambda: problem.words in caplog.text, "the client's line")
            until(lambda: problem.words in relay.text, "the relay's line")
        assert client.flush(60)
        assert emulator.wait_for(unique=40, timeout=60), relay.text
        assert relay.end() == 0, relay.text
        stats = client.stats

    where = f"postgresql://127.0.0.1:{roles.port}/postgres?table=odp_events"
    assert f"the queue {where} {problem.words}" in caplog.text
    assert f"the queue {where} {problem.words}" in relay.text
    assert "Traceback" not in caplog.text + relay.text
    assert (stats.dropped, stats.rejected) == ({}, {})
    assert roles.ask("SELECT count(*) FROM odp_events") == [(0,)]
    assert roles.ask("SELECT count(*) FROM odp_events_dead") == [(0,)]


def _send(client: OdpClient, numbers: range, **data: str) -> None:
    for number in numbers:
        client.send_odp_event("sold", {"fs_user_id": f"u{number}"}, data=data)


def test_a_full_disk_loses_nothing(small_disk, emulator, caplog):
    """Relays need space, too, for leases. Once there is some, all events arrive."""
    caplog.set_level(logging.WARNING, "odp_logging")
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB"}
    with PostgresServer(settings, directory=small_disk) as server, ExitStack() as stack:
        server.create_tables()
        client = stack.enter_context(
            OdpClient(queue_url=server.url, handle_sigterm=False)
        )
        sent = 0
        while "has no disk space left" not in caplog.text:
            assert sent < 20_000
            noise = base64.b64encode(os.urandom(9000)).decode()
            _send(client, range(sent, sent + 100), noise=noise)
            client.flush(2)
            sent += 100
        with RelayProcess(server.url, emulator, "--workers", "2") as relay:
            until(lambda: "has no disk space left" in relay.text, "the relay's line")
            subprocess.run(
                ["mount", "-o", "remount,size=200m", str(small_disk)], check=True
            )
            assert client.flush(60), caplog.text + relay.text
            assert emulator.wait_for(unique=sent, timeout=60), relay.text
            until(
                lambda: server.ask("SELECT count(*) FROM odp_events") == [(0,)],
                "an empty queue",
            )
            assert relay.end() == 0, relay.text
        assert (client.stats.dropped, client.stats.rejected) == ({}, {})
