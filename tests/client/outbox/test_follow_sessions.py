"""`outbox.follow_sessions`: transactions of SQLAlchemy's sessions without blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient, OutboxError, outbox
from odp_logging.emulator import Emulator

from ...postgresql import PostgresServer, needs_postgresql
from .conftest import Buy, check_balance, list_names, list_orders, list_sent

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from .shops import INSERT

pytestmark = needs_postgresql


@pytest.fixture
def engine(server: PostgresServer) -> Iterator[Any]:
    """An engine of SQLAlchemy."""
    url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
    made = sqlalchemy.create_engine(url)
    yield made
    made.dispose()


def order(session: Any, name: str) -> Any:
    """Store an order."""
    return session.execute(sqlalchemy.text(INSERT.format(name)))


def test_a_transaction_has_its_events(
    engine: Any, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """What is logged while the session has a transaction is committed with it."""
    make = sessionmaker(engine)
    outbox.follow_sessions(make)
    with make.begin() as session:
        buy("before any statement")
        order(session, "tea")
        buy("tea")
        assert list_names(server) == []
    buy("between")
    with pytest.raises(LookupError), make.begin() as session:
        order(session, "milk")
        buy("milk")
        raise LookupError
    with make() as session:
        order(session, "sugar")
        with pytest.raises(LookupError), session.begin_nested():
            buy("sugar, nested")
            raise LookupError
        buy("sugar")
        session.commit()
        buy("after")

    assert list_orders(server) == ["sugar", "tea"]
    assert list_names(server) == ["before any statement", "tea", "sugar"]
    assert list_sent(emulator, odp_client) == ["between", "after"]
    check_balance(odp_client)


def test_other_sessions_are_not_followed(
    engine: Any, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """Only those that were named are."""
    outbox.follow_sessions(sessionmaker(engine))
    with Session(engine) as session:
        order(session, "tea")
        buy("tea")
        session.commit()

    assert list_names(server) == []
    assert list_sent(emulator, odp_client) == ["tea"]


def test_a_scoped_session_is_followed(
    engine: Any, server: PostgresServer, buy: Buy
) -> None:
    """As Flask-SQLAlchemy has it."""
    session = scoped_session(sessionmaker(engine))
    outbox.follow_sessions(session)
    order(session, "tea")
    buy("tea")
    session.commit()
    session.remove()

    assert list_orders(server) == list_names(server) == ["tea"]


def test_the_commit_raises_after_a_failure(
    engine: Any, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """There is no block that could raise, so the commit does."""
    make = sessionmaker(engine)
    outbox.follow_sessions(make)
    server.ask("DROP TABLE odp_events")
    with pytest.raises(OutboxError, match="1 event"), make.begin() as session:
        order(session, "tea")
        buy("tea")
    with make.begin() as session:
        order(session, "milk")

    assert list_orders(server) == ["milk"]
    assert odp_client.stats.dropped == {"outbox": 1}


def test_a_failure_is_undone_alone(
    engine: Any,
    server: PostgresServer,
    buy: Buy,
    odp_client: OdpClient,
    emulator: Emulator,
) -> None:
    """With "continue" the order is committed, and the client sends the event."""
    make = sessionmaker(engine)
    outbox.follow_sessions(make, on_error="continue")
    server.ask("DROP TABLE odp_events")
    with make.begin() as session:
        order(session, "tea")
        buy("tea")

    assert list_orders(server) == ["tea"]
    assert list_sent(emulator, odp_client) == ["tea"]


def test_two_sessions_at_once(engine: Any, server: PostgresServer, buy: Buy) -> None:
    """The session that began last gets the events, whichever ends first."""
    make = sessionmaker(engine)
    outbox.follow_sessions(make)
    with make() as first, make() as second:
        order(first, "tea")
        order(second, "milk")
        buy("second")
        first.commit()
        buy("second again")
        order(first, "sugar")
        second.rollback()
        buy("first")
        first.commit()

    assert list_orders(server) == ["sugar", "tea"]
    assert list_names(server) == ["first"]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_asynchronous_sessions(
    server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any, driver: str
) -> None:
    """They write before a commit, and forget on a rollback or without a commit."""
    pytest.importorskip(driver)
    followed = sessionmaker()
    outbox.follow_sessions(followed)

    async def run() -> None:
        url = f"postgresql+{driver}://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        make = async_sessionmaker(engine, sync_session_class=followed)
        async with make.begin() as session:
            await order(session, "tea")
            buy("tea")
            with pytest.raises(LookupError):
                async with session.begin_nested():
                    buy("nested")
                    raise LookupError
        buy("between")
        with pytest.raises(LookupError):
            async with make.begin() as session:
                await order(session, "milk")
                buy("milk")
                raise LookupError
        async with make() as session:
            await order(session, "sugar")
            buy("sugar")
        await engine.dispose()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == ["tea"]
    assert list_sent(emulator, odp_client) == ["between"]
    assert odp_client.stats.dropped == {"rolled_back": 3}
    check_balance(odp_client)


def test_an_asynchronous_commit_raises_after_a_failure(
    server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """Nothing is committed."""
    followed = sessionmaker()
    outbox.follow_sessions(followed)
    server.ask("DROP TABLE odp_events")

    async def run() -> None:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        make = async_sessionmaker(engine, sync_session_class=followed)
        with pytest.raises(OutboxError):
            async with make.begin() as session:
                await order(session, "tea")
                buy("tea")
        await engine.dispose()

    asyncio.run(run())
    assert list_orders(server) == []
    assert odp_client.stats.dropped == {"outbox": 1}


@pytest.mark.skipif(
    psycopg.__version__ < "3.2", reason="this psycopg leaves a cancelled statement"
)
def test_an_asynchronous_commit_after_a_cancelled_one_raises(
    server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """It is not known whether the event was written, and PostgreSQL would roll back."""
    followed = sessionmaker()
    outbox.follow_sessions(followed)

    async def run() -> None:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        make = async_sessionmaker(engine, sync_session_class=followed)
        async with make() as session:
            await order(session, "tea")
            buy("tea")
            with server.connect(autocommit=False) as locking:
                locking.execute("LOCK TABLE odp_events")
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(session.commit(), 0.3)
            with pytest.raises(OutboxError, match="1 event"):
                await session.commit()
        await engine.dispose()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == []
    assert odp_client.stats.dropped == {"in_doubt": 1}
    check_balance(odp_client)


def test_events_after_the_commit_are_sent_as_usual(
    engine: Any, server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """A listener of after_commit logs them while the session still has it."""
    make = sessionmaker(engine)
    sqlalchemy.event.listen(make, "after_commit", lambda session: buy("after"))
    outbox.follow_sessions(make)
    with make.begin() as session:
        order(session, "tea")
        buy("tea")
    with make.begin() as session:
        order(session, "milk")
        buy("milk")

    assert list_orders(server) == ["milk", "tea"]
    assert list_names(server) == ["tea", "milk"]
    assert list_sent(emulator, odp_client) == ["after", "after"]
    assert odp_client.stats.dropped == {}
    check_balance(odp_client)


@pytest.mark.parametrize("name", ["after_commit", "before_commit"])
def test_events_around_an_asynchronous_commit_are_sent_as_usual(
    server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any, name: str
) -> None:
    """Those that are logged after the events of the transaction were written."""
    followed = sessionmaker()
    outbox.follow_sessions(followed)
    sqlalchemy.event.listen(followed, name, lambda session: buy("late"))

    async def run() -> None:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        make = async_sessionmaker(engine, sync_session_class=followed)
        async with make.begin() as session:
            await order(session, "tea")
            buy("tea")
        await engine.dispose()

    asyncio.run(run())
    assert list_orders(server) == list_names(server) == ["tea"]
    assert list_sent(emulator, odp_client) == ["late"]
    assert odp_client.stats.dropped == {}
    check_balance(odp_client)


def test_sessions_are_followed_once(engine: Any) -> None:
    """A second call is refused, for a scoped session or a base class as well."""
    make = sessionmaker(engine)
    outbox.follow_sessions(make)
    for sessions in make, scoped_session(make), make.class_, Session, make():
        with pytest.raises(ConfigurationError, match="was called before"):
            outbox.follow_sessions(sessions)
    outbox.follow_sessions(sessionmaker(engine))


def test_what_cannot_be_followed_is_refused(engine: Any) -> None:
    """The error says what to pass."""
    with pytest.raises(ConfigurationError, match="takes a sessionmaker"):
        outbox.follow_sessions(engine)
    with pytest.raises(ConfigurationError, match="sync_session_class=sessionmaker"):
        outbox.follow_sessions(async_sessionmaker(class_=AsyncSession))
