"""A queue behind PgBouncer, which gives out its connections by transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from odp_logging import OdpClient
from odp_logging._cli.main import main

from ..pgbouncer import PgBouncer, needs_pgbouncer
from ..postgresql import needs_postgresql
from ..waiting import until
from .processes import RelayProcess, run_shop
from .queues import Queue

pytestmark = [needs_postgresql, needs_pgbouncer, pytest.mark.slow]


@pytest.fixture
def pooled(postgres) -> Iterator[Queue]:
    """A queue of which all clients together have two connections to the server."""
    with PgBouncer(postgres, connections=2) as pooler:
        queue = Queue(postgres, pooler.url)
        yield queue
        queue.close()


def test_applications_relays_and_commands_share_few_connections(
    pooled, emulator, capsys
):
    """Two relays with eight workers deliver all events; the commands answer."""
    words = ("--workers", "4")
    with (
        RelayProcess(pooled.url, emulator, *words) as one,
        RelayProcess(pooled.url, emulator, *words) as other,
    ):
        assert run_shop(pooled.url, 3000) == ""
        assert emulator.wait_for(unique=3000, timeout=60)
        until(pooled.is_empty, "the acknowledgements")

        def has_all_workers() -> bool:
            assert main(["relay", "status", "--from", pooled.url]) == 0
            return "8 workers" in capsys.readouterr().out

        until(has_all_workers, "the workers' registrations")
        for relay in (one, other):
            assert relay.end() == 0, relay.text
            assert len(relay.lines) == 2, relay.text  # its start and its end

    assert main(["dead", "list", "--from", pooled.url]) == 0


def test_a_waiting_relay_holds_no_connection_of_the_pool(pooled, emulator):
    """It polls: a session that listens would be lost at the end of its transaction."""
    with RelayProcess(pooled.url, emulator, "--workers", "4") as relay:
        pooled.fill(10)
        assert emulator.wait_for(unique=10, timeout=20)
        pooled.fill(10)
        until(pooled.is_empty, "the acknowledgements")
        rows = pooled.server.ask(
            "SELECT count(*), bool_or(state <> 'idle') FROM pg_stat_activity"
            " WHERE application_name = 'odp-logging'"
        )
        assert relay.end() == 0, relay.text

    assert rows[0][0] <= 2


def test_a_statement_timeout_of_the_server_is_reported_and_loses_nothing(
    postgres, emulator, caplog
):
    """A pooler passes no setting on, so the timeout of the role applies."""
    caplog.set_level(logging.WARNING, "odp_logging")
    words = "canceled a statement: statement_timeout, or by hand"
    postgres.ask("ALTER ROLE postgres SET statement_timeout = '300ms'")
    try:
        with (
            PgBouncer(postgres) as pooler,
            OdpClient(queue_url=pooler.url, handle_sigterm=False) as client,
            RelayProcess(pooler.url, emulator) as relay,
        ):
            with postgres.connect(autocommit=False) as migration:
                migration.execute("LOCK TABLE odp_events")
                for number in range(20):
                    client.send_odp_event("sold", {"fs_user_id": f"u{number}"})
                until(lambda: words in caplog.text, "the client's line")
                until(lambda: words in relay.text, "the relay's line")
            assert client.flush(60)
            assert emulator.wait_for(unique=20, timeout=60), relay.text
            assert relay.end() == 0, relay.text
            assert client.stats.dropped == {}
    finally:
        postgres.ask("ALTER ROLE postgres RESET statement_timeout")
