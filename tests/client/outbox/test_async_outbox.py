"""Outboxes of asynchronous connections: written at the end of the block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient, OutboxError, outbox
from odp_logging.emulator import Emulator

from ...emulated import list_warnings
from ...postgresql import PostgresServer, needs_postgresql
from .conftest import (
    Buy,
    check_balance,
    end_connections,
    list_names,
    list_orders,
    list_sent,
)

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from .shops import INSERT

pytestmark = needs_postgresql


class AsyncShop:
    """
    A shop with an asynchronous connection.

    Args:
        connection: Of psycopg or SQLAlchemy.
        begin_nested: Opens a savepoint.
    """

    def __init__(self, connection: Any, begin_nested: Callable[[], Any]) -> None:
        self.connection = connection
        self.savepoint = begin_nested
        self.commit: Callable[[], Awaitable[None]] = connection.commit
        self.rollback: Callable[[], Awaitable[None]] = connection.rollback

    async def execute(self, statement: str) -> None:
        """Execute a statement of the application."""
        is_psycopg = isinstance(self.connection, psycopg.AsyncConnection)
        text = statement if is_psycopg else sqlalchemy.text(statement)
        await self.connection.execute(text)

    async def order(self, name: str) -> None:
        """Store an order."""
        await self.execute(INSERT.format(name))


@asynccontextmanager
async def open_psycopg(server: PostgresServer) -> AsyncIterator[AsyncShop]:
    """Open a shop with a connection of psycopg."""
    connection = await psycopg.AsyncConnection.connect(
        f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    )
    async with connection:
        yield AsyncShop(connection, connection.transaction)


@asynccontextmanager
async def open_connection(server: PostgresServer) -> AsyncIterator[AsyncShop]:
    """Open a shop with a connection of SQLAlchemy."""
    url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
    engine = create_async_engine(url, echo=True)
    async with engine.connect() as connection:
        yield AsyncShop(connection, connection.begin_nested)
    await engine.dispose()


@asynccontextmanager
async def open_session(server: PostgresServer) -> AsyncIterator[AsyncShop]:
    """Open a shop with a session of SQLAlchemy."""
    url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
    engine = create_async_engine(url, echo=True)
    async with AsyncSession(engine) as session:
        yield AsyncShop(session, session.begin_nested)
    await engine.dispose()


@asynccontextmanager
async def open_asyncpg(server: PostgresServer) -> AsyncIterator[AsyncShop]:
    """Open a shop with a session of SQLAlchemy on asyncpg."""
    pytest.importorskip("asyncpg")
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{server.port}/postgres"
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        yield AsyncShop(session, session.begin_nested)
    await engine.dispose()


OpenShop = Callable[[PostgresServer], Any]


@pytest.fixture(params=[open_psycopg, open_connection, open_session, open_asyncpg])
def open_shop(request: pytest.FixtureRequest) -> OpenShop:
    """A function that opens a shop of each kind."""
    return request.param  # type: ignore[no-any-return]


def test_events_are_committed_with_their_order(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """They are written at the end of the block, before the commit."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                await shop.order("tea")
                buy("tea")
                buy("tea again")
            assert list_names(server) == []
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == ["tea"]
    assert list_names(server) == ["tea", "tea again"]
    assert odp_client.stats.accepted == odp_client.stats.delivered == 2


def test_events_are_gone_with_their_order(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """A rollback after the block takes them away."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                await shop.order("tea")
                buy("tea")
            await shop.rollback()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == []
    check_balance(odp_client)


def test_an_exception_that_the_application_handles(
    open_shop: OpenShop, server: PostgresServer, buy: Buy
) -> None:
    """The events of a block that raises are written: the order may be committed."""

    async def run() -> None:
        async with open_shop(server) as shop:
            with pytest.raises(LookupError):
                async with outbox(shop.connection):
                    await shop.order("tea")
                    buy("tea")
                    raise LookupError
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == ["tea"]


def test_a_block_within_a_savepoint(
    open_shop: OpenShop, server: PostgresServer, buy: Buy
) -> None:
    """A savepoint that has a block of its own takes its events with it."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                await shop.order("tea")
                buy("tea")
                with pytest.raises(LookupError):
                    async with shop.savepoint(), outbox(shop.connection):
                        await shop.order("milk")
                        buy("milk")
                        raise LookupError
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == ["tea"]


@pytest.mark.parametrize("open_shop", [open_session, open_asyncpg])
def test_a_session_needs_no_block_for_a_savepoint(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """Savepoints and commits of a session within a block mean what they always do."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                await shop.order("tea")
                buy("tea")
                with pytest.raises(LookupError):
                    async with shop.savepoint():
                        await shop.order("milk")
                        buy("milk")
                        raise LookupError
                async with shop.savepoint():
                    await shop.order("sugar")
                    buy("sugar")
                await shop.commit()
                assert list_names(server) == ["tea", "sugar"]
                await shop.order("gone")
                buy("gone")
                await shop.rollback()
                buy("salt")
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == ["sugar", "tea"]
    assert list_names(server) == ["tea", "sugar", "salt"]
    assert odp_client.stats.dropped == {"rolled_back": 2}
    check_balance(odp_client)


@pytest.mark.parametrize("open_shop", [open_psycopg, open_connection])
def test_a_commit_within_the_block_is_too_early(
    open_shop: OpenShop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
    caplog: Any,
) -> None:
    """The client sends the events of a transaction that ended, and says so."""

    async def run() -> None:
        async with open_shop(server) as shop, outbox(shop.connection):
            await shop.order("tea")
            buy("tea")
            await shop.commit()

    asyncio.run(run())
    assert list_names(server) == []
    assert list_sent(emulator, odp_client) == ["tea"]
    [line] = list_warnings(caplog)
    assert "1 event belonged to a transaction that ended" in line


@pytest.mark.parametrize("open_shop", [open_psycopg, open_connection])
def test_a_rollback_by_an_exception_within_the_block(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The events of a transaction that an exception ended are gone with it."""

    async def run() -> None:
        async with open_shop(server) as shop:
            with pytest.raises(LookupError):
                async with outbox(shop.connection):
                    await shop.order("tea")
                    buy("tea")
                    await shop.rollback()
                    raise LookupError

    asyncio.run(run())
    assert list_names(server) == []
    assert odp_client.stats.dropped == {"rolled_back": 1}


def test_a_failed_insert_aborts_the_transaction(
    open_shop: OpenShop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    caplog: Any,
) -> None:
    """The block raises at its end, and nothing is committed."""
    server.ask("DROP TABLE odp_events")

    async def run() -> None:
        async with open_shop(server) as shop:
            with pytest.raises(OutboxError, match="2 events could not be written"):
                async with outbox(shop.connection):
                    await shop.order("tea")
                    buy("tea")
                    buy("milk")
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == []
    assert odp_client.stats.dropped == {"outbox": 2}
    check_balance(odp_client)
    assert "the database has no table odp_events; create it" in list_warnings(caplog)[0]
    assert "secret" not in caplog.text


def test_a_failed_insert_is_undone_alone(
    open_shop: OpenShop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
) -> None:
    """With "continue" the order is committed, and the client sends the event."""
    server.ask("DROP TABLE odp_events")

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection, on_error="continue"):
                await shop.order("tea")
                buy("tea")
                buy("milk")
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == ["tea"]
    assert list_sent(emulator, odp_client) == ["tea", "milk"]
    check_balance(odp_client)


def test_events_are_written_in_savepoints(
    open_shop: OpenShop, server: PostgresServer, buy: Buy
) -> None:
    """With on_error="continue" and without a failure, all are in the transaction."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection, on_error="continue"):
                buy("tea")
                buy("milk")
            await shop.commit()

    asyncio.run(run())
    assert list_names(server) == ["tea", "milk"]


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_transaction_that_failed_before(
    open_shop: OpenShop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    on_error: Any,
) -> None:
    """The exception of the application leaves the block; nothing is written."""

    async def run() -> None:
        async with open_shop(server) as shop:
            with pytest.raises(Exception, match="division by zero"):
                async with outbox(shop.connection, on_error=on_error):
                    buy("tea")
                    await shop.execute("SELECT 1/0")
            await shop.rollback()

    asyncio.run(run())
    assert list_names(server) == []
    check_balance(odp_client)


def test_a_closed_connection(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The events are counted as lost, and the block raises."""

    async def run() -> None:
        async with open_shop(server) as shop:
            with pytest.raises(OutboxError):
                async with outbox(shop.connection):
                    await shop.order("tea")
                    buy("tea")
                    end_connections(server)

    # SQLAlchemy reports the broken connection itself.
    try:
        asyncio.run(run())
    except sqlalchemy.exc.SQLAlchemyError:
        pass
    assert list_orders(server) == list_names(server) == []
    assert odp_client.stats.dropped == {"outbox": 1}


def test_tasks_of_a_block_are_part_of_it(
    open_shop: OpenShop,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
) -> None:
    """So are tasks that were started in it, until it ends; other tasks are not."""

    async def log(name: str) -> None:
        buy(name)

    async def log_late(ended: asyncio.Event) -> None:
        await ended.wait()
        buy("late")

    async def run() -> None:
        ended = asyncio.Event()
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                late = asyncio.create_task(log_late(ended))
                await asyncio.gather(log("tea"), log("milk"))
            await shop.commit()
            ended.set()
            await late

    asyncio.run(run())
    assert list_names(server) == ["tea", "milk"]
    assert list_sent(emulator, odp_client) == ["late"]


def test_a_task_that_is_cancelled(
    open_shop: OpenShop, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """Its events are written; they are committed only if the application does that."""

    async def place(shop: AsyncShop, logged: asyncio.Event) -> None:
        async with outbox(shop.connection):
            await shop.order("tea")
            buy("tea")
            logged.set()
            await asyncio.Event().wait()

    async def run() -> None:
        async with open_shop(server) as shop:
            logged = asyncio.Event()
            task = asyncio.create_task(place(shop, logged))
            await logged.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await shop.commit()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == ["tea"]
    check_balance(odp_client)


def test_with_and_async_with_are_not_mixed_up(
    open_shop: OpenShop, server: PostgresServer, logger: logging.Logger
) -> None:
    """An asynchronous connection needs `async with`, which the error says."""

    async def run() -> None:
        async with open_shop(server) as shop:
            block = outbox(shop.connection)
            with pytest.raises(ConfigurationError, match="write `async with`"), block:
                pass

    asyncio.run(run())


def test_threads_of_the_context_are_part_of_the_block(
    open_shop: OpenShop, server: PostgresServer, buy: Buy
) -> None:
    """So are those of asyncio.to_thread, and structlog's `await log.ainfo(...)`."""

    async def run() -> None:
        async with open_shop(server) as shop:
            async with outbox(shop.connection):
                await shop.order("tea")
                await asyncio.to_thread(buy, "tea")
            await shop.commit()

    asyncio.run(run())
    assert list_names(server) == ["tea"]
