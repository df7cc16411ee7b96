"""Each reason why the database refuses an event has a clear line, and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging import OdpClient, OutboxError, outbox
from odp_logging._client.outbox.base import Outcome, Row
from odp_logging._client.outbox.connections import DriverSource
from odp_logging._client.outbox.sync import SyncOutbox
from odp_logging._stores.queue.postgresql.schema import build_grants
from odp_logging._stores.queue.postgresql.statements import build_insert
from odp_logging._stores.queue.postgresql.tables import Tables

from ...emulated import list_warnings
from ...postgresql import PostgresServer, needs_postgresql
from .conftest import Buy, end_connections, list_names, list_orders

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

from .shops import Psycopg2Shop, Shop

pytestmark = needs_postgresql

KINDS = [Shop, Psycopg2Shop]


def place(shop: Shop, buy: Buy, before: str = "SELECT 1") -> None:
    """Place an order in an outbox, after a statement of the same transaction."""
    with pytest.raises(OutboxError), outbox(shop.connection):
        shop.execute(before)
        shop.order("tea")
        buy("tea")
    shop.rollback()
    shop.close()


def read_line(caplog: Any) -> str:
    """Return the line of the library, in which no value is."""
    [line] = list_warnings(caplog)
    assert "secret" not in line and "\n" not in line
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_without_the_right(
    kind: type[Shop], server: PostgresServer, buy: Buy, caplog: Any
) -> None:
    """The line names the command that prints the rights."""
    server.ask("DROP ROLE IF EXISTS clerk")
    server.ask("CREATE ROLE clerk")
    server.ask("GRANT INSERT ON orders TO clerk")
    place(kind(server), buy, "SET LOCAL ROLE clerk")

    assert "does not permit this user a statement" in read_line(caplog)
    assert list_orders(server) == []
    server.ask("DROP OWNED BY clerk; DROP ROLE clerk")


def test_the_rights_of_a_producer_are_enough(server: PostgresServer, buy: Buy) -> None:
    """A user needs no more than `odp-logging queue schema` grants to a producer."""
    server.ask("DROP ROLE IF EXISTS clerk")
    server.ask("CREATE ROLE clerk")
    server.ask("GRANT INSERT ON orders TO clerk")
    server.ask(build_grants(Tables("odp_events"), producer="clerk"))
    shop = Shop(server)
    with outbox(shop.connection):
        shop.execute("SET LOCAL ROLE clerk")
        shop.order("tea")
        buy("tea")
    shop.commit()
    shop.close()

    assert list_orders(server) == list_names(server) == ["tea"]
    server.ask("DROP OWNED BY clerk; DROP ROLE clerk")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("lock_timeout", "did not get a lock in time"),
        ("statement_timeout", "canceled a statement: statement_timeout"),
    ],
)
def test_a_timeout(
    kind: type[Shop],
    server: PostgresServer,
    buy: Buy,
    caplog: Any,
    setting: str,
    words: str,
) -> None:
    """A table that another transaction locks makes the insert wait."""
    with server.connect(autocommit=False) as locking:
        locking.execute("LOCK TABLE odp_events")
        place(kind(server), buy, f"SET LOCAL {setting} = '200ms'")

    assert words in read_line(caplog)
    assert list_orders(server) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_the_server_ends(
    kind: type[Shop], server: PostgresServer, buy: Buy, caplog: Any
) -> None:
    """Its transaction is gone, and so is the event."""
    shop = kind(server)
    with pytest.raises(OutboxError), outbox(shop.connection):
        shop.order("tea")
        end_connections(server)
        buy("tea")
    shop.close()

    # psycopg2 passes on no code of the error.
    line = read_line(caplog)
    assert "the database is starting or" in line or "closed the connection" in line
    assert list_orders(server) == list_names(server) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_that_the_server_does_not_see(
    kind: type[Shop], server: PostgresServer
) -> None:
    """If the library refuses a value, the transaction is made to fail nevertheless."""
    shop = kind(server)
    made = SyncOutbox(DriverSource(shop.connection), "odp_events", "a", "abort")
    outcomes: list[Outcome] = []
    lines: list[str] = []

    def warn(kind: str, text: str) -> None:
        lines.append(text)

    insert = build_insert("odp_events")
    row = Row("odp_events", insert, ("a\0", 1, "1", b"{}"), outcomes.append, warn)
    shop.order("tea")
    made.put(row)
    shop.commit()
    shop.close()

    assert outcomes == [Outcome.DROPPED]
    assert len(lines) == made.failures == 1
    assert list_orders(server) == []


def test_the_counts_of_a_client_hold(
    server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """Written, lost and sent events add up, over several transactions."""
    shop = Shop(server)
    for number in range(30):
        on_error: Any = "continue" if number % 2 else "abort"
        try:
            with outbox(shop.connection, on_error=on_error):
                buy("first")
                if number % 3 == 0:
                    shop.execute("SET LOCAL search_path = pg_catalog")
                buy("second")
            shop.commit()
        except OutboxError:
            shop.rollback()
    shop.close()
    assert odp_client.flush(10)

    # Of ten transactions with a failure, five continue and send the second event.
    stats = odp_client.stats
    assert stats.accepted == 60
    assert stats.dropped == {"outbox": 5}
    assert stats.delivered == 55
    assert len(list_names(server)) == 60 - 10 - 5
