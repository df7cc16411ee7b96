"""An outbox: events are written in the transaction of the application."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import (
    OdpClient,
    OdpEvent,
    OutboxError,
    outbox,
)
from odp_logging.emulator import Emulator

from ...emulated import build_client, list_warnings
from ...postgresql import PostgresServer, needs_postgresql
from .conftest import (
    Buy,
    check_balance,
    list_bodies,
    list_names,
    list_orders,
    list_sent,
    make_buy,
)

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")


from .shops import SHOPS, DjangoShop, Shop

pytestmark = needs_postgresql


@pytest.fixture(params=SHOPS, ids=lambda shop: shop.__name__)
def kind(request: pytest.FixtureRequest) -> type[Shop]:
    """Each kind of shop."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def shop(kind: type[Shop], server: PostgresServer) -> Iterator[Shop]:
    """A shop of each kind."""
    made = kind(server)
    yield made
    made.close()


@pytest.fixture
def autocommit_shop(kind: type[Shop], server: PostgresServer) -> Iterator[Shop]:
    """A shop of each kind that commits each statement."""
    made = kind(server, autocommit=True)
    yield made
    made.close()


def test_an_event_is_committed_with_its_order(
    shop: Shop, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """It is a row once the transaction is committed, and not sent by the client."""
    with outbox(shop.connection):
        shop.order("tea")
        buy("tea")
        assert list_names(server) == []
    shop.commit()

    assert list_orders(server) == list_names(server) == ["tea"]
    assert list_sent(emulator, odp_client) == []
    assert odp_client.stats.accepted == odp_client.stats.delivered == 1
    assert server.ask("SELECT account, version FROM odp_events") == [("default", "1")]


def test_an_event_is_gone_with_its_order(
    shop: Shop, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """A rollback takes away the event as well."""
    with outbox(shop.connection):
        shop.order("tea")
        buy("tea")
    shop.rollback()

    assert list_orders(server) == list_names(server) == []
    assert list_sent(emulator, odp_client) == []
    check_balance(odp_client)


def test_a_savepoint_takes_its_events_with_it(
    kind: type[Shop], server: PostgresServer, buy: Buy
) -> None:
    """What was logged within a savepoint that is rolled back is gone, and no more."""
    shop = kind(server)
    with outbox(shop.connection):
        shop.order("tea")
        buy("tea")
        with pytest.raises(LookupError), shop.savepoint():
            shop.order("milk")
            buy("milk")
            raise LookupError
        with shop.savepoint():
            shop.order("sugar")
            buy("sugar")
    shop.commit()
    shop.close()

    assert list_orders(server) == ["sugar", "tea"]
    assert list_names(server) == ["tea", "sugar"]


def test_events_after_the_block_take_the_usual_way(
    shop: Shop, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """Before and after a block, the client sends events to ODP itself."""
    buy("before")
    with outbox(shop.connection):
        buy("within")
    buy("after")
    shop.commit()

    assert list_names(server) == ["within"]
    assert list_sent(emulator, odp_client) == ["before", "after"]
    check_balance(odp_client)


def test_a_failed_insert_aborts_the_transaction(
    shop: Shop, server: PostgresServer, buy: Buy, odp_client: OdpClient, caplog: Any
) -> None:
    """The log call returns, nothing is committed, and the block raises at its end."""
    server.ask("DROP TABLE odp_events")
    block = outbox(shop.connection)
    with pytest.raises(OutboxError, match="1 event could not be written"), block:
        shop.order("tea")
        buy("tea")
        with pytest.raises(shop.error):
            shop.order("milk")
    shop.rollback()
    shop.order("sugar")
    shop.commit()

    assert list_orders(server) == ["sugar"]
    assert odp_client.stats.dropped == {"outbox": 1}
    check_balance(odp_client)
    [line] = list_warnings(caplog)
    assert "the database has no table odp_events; create it" in line
    assert "secret" not in caplog.text


def test_a_commit_within_the_block_is_no_commit_after_a_failure(
    shop: Shop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """PostgreSQL rolls back without an error; the end of the block tells it."""
    server.ask("DROP TABLE odp_events")
    with pytest.raises(OutboxError), outbox(shop.connection):
        shop.order("tea")
        buy("tea")
        shop.commit()

    assert list_orders(server) == []
    assert odp_client.stats.dropped == {"outbox": 1}


def test_the_exception_of_the_application_is_not_replaced(
    shop: Shop, server: PostgresServer, buy: Buy
) -> None:
    """A block that raises anyway does not raise for its events."""
    server.ask("DROP TABLE odp_events")
    with pytest.raises(LookupError), outbox(shop.connection):
        buy("tea")
        raise LookupError


def test_a_failed_insert_is_undone_alone(
    shop: Shop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
    caplog: Any,
) -> None:
    """With "continue" the order is committed, and the client sends the event."""
    with outbox(shop.connection, on_error="continue"):
        buy("first")
        shop.order("tea")
        shop.commit()
        server.ask("DROP TABLE odp_events")
        buy("tea")
        shop.order("milk")
        buy("milk")
    shop.commit()

    assert list_orders(server) == ["milk", "tea"]
    assert list_sent(emulator, odp_client) == ["tea", "milk"]
    assert odp_client.stats.accepted == odp_client.stats.delivered == 3
    assert "It is sent as events outside of an outbox" in list_warnings(caplog)[0]


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_transaction_that_failed_before(
    shop: Shop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
    on_error: Any,
) -> None:
    """An event in a failed transaction is gone with it, or sent, as on_error says."""
    with pytest.raises(shop.error), outbox(shop.connection, on_error=on_error):
        try:
            shop.execute("SELECT 1/0")
        finally:
            buy("tea")
    shop.rollback()

    assert list_names(server) == []
    if on_error == "abort":
        assert odp_client.stats.dropped == {"outbox": 1}
    else:
        assert list_sent(emulator, odp_client) == ["tea"]
    check_balance(odp_client)


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_closed_connection(
    shop: Shop, buy: Buy, odp_client: OdpClient, emulator: Any, on_error: Any
) -> None:
    """The log call returns; the event is lost or sent, as on_error says."""
    shop.break_connection()
    try:
        with outbox(shop.connection, on_error=on_error):
            buy("tea")
    except OutboxError:
        assert on_error == "abort"
        assert odp_client.stats.dropped == {"outbox": 1}
    else:
        assert list_sent(emulator, odp_client) == ["tea"]
    check_balance(odp_client)


def test_a_read_only_transaction(
    kind: type[Shop], server: PostgresServer, buy: Buy, odp_client: Any, caplog: Any
) -> None:
    """An event cannot be written in it, which is said."""
    shop = kind(server)
    with pytest.raises(OutboxError), outbox(shop.connection):
        shop.execute("SET TRANSACTION READ ONLY")
        buy("tea")
    shop.rollback()
    shop.close()

    assert "the transaction is read-only" in list_warnings(caplog)[0]


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_without_a_transaction_each_event_is_committed_alone(
    autocommit_shop: Shop, server: PostgresServer, buy: Buy, on_error: Any
) -> None:
    """On a connection in autocommit mode an event is committed by its log call."""
    with outbox(autocommit_shop.connection, on_error=on_error):
        buy("tea")
        assert list_names(server) == ["tea"]
        buy("milk")

    assert list_names(server) == ["tea", "milk"]


def test_a_failure_without_a_transaction(
    autocommit_shop: Shop, server: PostgresServer, buy: Buy, odp_client: Any
) -> None:
    """There is nothing to abort; the end of the block tells it."""
    server.ask("DROP TABLE odp_events")
    with pytest.raises(OutboxError), outbox(autocommit_shop.connection):
        buy("tea")
        autocommit_shop.order("tea")

    assert list_orders(server) == ["tea"]


def test_blocks_can_be_nested(
    shop: Shop, server: PostgresServer, buy: Buy, kind: type[Shop]
) -> None:
    """The innermost block gets the events."""
    if kind is DjangoShop:
        pytest.skip("it has one connection")
    other = kind(server)
    with outbox(shop.connection):
        buy("outer")
        with outbox(other.connection):
            buy("inner")
        buy("outer again")
    other.commit()
    shop.rollback()
    other.close()

    assert list_names(server) == ["inner"]


def test_other_threads_are_not_part_of_the_block(
    shop: Shop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
    caplog: Any,
) -> None:
    """The connection is used in the thread of the block only, which is said."""
    with outbox(shop.connection):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=[buy, "other"])
        thread.start()
        thread.join()
        buy("own")
    shop.commit()

    assert list_names(server) == ["own"]
    assert list_sent(emulator, odp_client) == ["other"]
    assert "logged in another thread" in list_warnings(caplog)[0]


def test_every_input_is_part_of_the_block(
    shop: Shop, server: PostgresServer, odp_client: OdpClient
) -> None:
    """So are send_odp_event, identify and send."""
    with outbox(shop.connection):
        odp_client.send_odp_event("bought", {"email": "a@b.c"}, data={"n": "1"})
        odp_client.identify({"email": "a@b.c", "fs_user_id": "u1"})
        odp_client.send(OdpEvent("bought", {"email": "a@b.c"}, data={"n": "2"}))
    shop.commit()

    actions = [body["action"] for body in list_bodies(server)]
    assert actions == ["bought", "identified", "bought"]


def test_the_settings_of_the_client_apply(
    shop: Shop, server: PostgresServer, emulator: Emulator, logger: logging.Logger
) -> None:
    """Defaults and before_send are applied in the log call, once."""

    def change(event: OdpEvent) -> OdpEvent | None:
        if event.data["n"] == "hidden":
            return None
        data = {**event.data, "seen": event.data.get("seen", 0) + 1}
        return OdpEvent(event.action, event.identifiers, event.type, data)

    client = build_client(emulator, before_send=change, default_data={"city": "Bonn"})
    buy = make_buy(client, logger)
    with outbox(shop.connection, on_error="continue"):
        buy("tea")
        buy("hidden")
        shop.commit()
        server.ask("ALTER TABLE odp_events RENAME TO gone")
        buy("milk")
    shop.commit()

    [tea] = list_bodies(server, "gone")
    assert client.flush(10)
    [milk] = [entry["event"] for entry in emulator.events()]
    assert [tea["data"]["seen"], milk["data"]["seen"]] == [1, 1]
    assert tea["data"]["city"] == milk["data"]["city"] == "Bonn"
    assert client.stats.dropped == {"before_send": 1}
    check_balance(client)
    client.close()


def test_an_invalid_event_is_rejected_in_its_log_call(
    shop: Shop, server: PostgresServer, odp_client: OdpClient
) -> None:
    """It does not reach the database, and the transaction goes on."""
    with outbox(shop.connection):
        odp_client.send_odp_event("bought", {})
        shop.order("tea")
    shop.commit()

    assert list_orders(server) == ["tea"]
    assert sum(odp_client.stats.rejected.values()) == 1
    check_balance(odp_client)


def test_table_and_account_are_chosen(
    shop: Shop, server: PostgresServer, buy: Buy
) -> None:
    """They are arguments of the block."""
    server.ask("DROP SCHEMA IF EXISTS crm CASCADE; CREATE SCHEMA crm")
    server.create_tables("crm.events")
    with outbox(shop.connection, table="crm.events", account="eu"):
        buy("tea")
    shop.commit()

    assert list_names(server, "crm.events") == ["tea"]
    assert server.ask("SELECT account FROM crm.events") == [("eu",)]
