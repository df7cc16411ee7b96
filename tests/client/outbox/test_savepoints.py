"""Savepoints of an `AsyncSession`, whose events wait for the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from odp_logging import OdpClient, outbox

from ...postgresql import PostgresServer, needs_postgresql
from .conftest import Buy, check_balance, list_names, list_orders

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

pytestmark = needs_postgresql


class Base(DeclarativeBase):
    """Of the mapped classes."""


class Order(Base):
    """An order of the shop."""

    __tablename__ = "orders"
    name: Mapped[str] = mapped_column(primary_key=True)


Use = Callable[[AsyncSession], Awaitable[None]]
Run = Callable[[Use], None]


@pytest.fixture(params=["block", "followed"])
def run(request: pytest.FixtureRequest, server: PostgresServer) -> Run:
    """A function that runs another with a session, in a block or a followed one."""
    followed = sessionmaker()
    if request.param == "followed":
        outbox.follow_sessions(followed)

    @asynccontextmanager
    async def open_session(engine: Any) -> AsyncIterator[AsyncSession]:
        make = async_sessionmaker(engine, sync_session_class=followed)
        async with make() as session:
            if request.param == "followed":
                yield session
            else:
                async with outbox(session):
                    yield session

    async def use_session(use: Use) -> None:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        async with open_session(engine) as session:
            await use(session)
        await engine.dispose()

    return lambda use: asyncio.run(use_session(use))


def test_a_flush_that_fails_in_a_savepoint_discards_its_events_only(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The events before the savepoint, and after it, are committed."""

    async def use(session: AsyncSession) -> None:
        session.add(Order(name="tea"))
        await session.flush()
        buy("tea")
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                buy("tea again")
                session.expunge_all()
                session.add(Order(name="tea"))
                await session.flush()
        buy("after")
        await session.commit()

    run(use)
    assert list_orders(server) == ["tea"]
    assert list_names(server) == ["tea", "after"]
    assert odp_client.stats.dropped == {"rolled_back": 1}
    check_balance(odp_client)


def test_events_after_a_failed_flush_are_gone_with_the_savepoint(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The savepoint has been rolled back when they are logged, and has not ended."""

    async def use(session: AsyncSession) -> None:
        session.add(Order(name="tea"))
        await session.flush()
        buy("tea")
        async with session.begin_nested() as savepoint:
            session.expunge_all()
            session.add(Order(name="tea"))
            with pytest.raises(IntegrityError):
                await session.flush()
            buy("gone")
            await savepoint.rollback()
        await session.commit()

    run(use)
    assert list_names(server) == ["tea"]
    assert odp_client.stats.dropped == {"rolled_back": 1}


def test_a_flush_that_fails_without_a_savepoint_discards_all_events(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The transaction is rolled back; the next one is committed."""

    async def use(session: AsyncSession) -> None:
        session.add(Order(name="tea"))
        buy("tea")
        await session.flush()
        session.expunge_all()
        session.add(Order(name="tea"))
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()
        session.add(Order(name="milk"))
        buy("milk")
        await session.commit()

    run(use)
    assert list_orders(server) == list_names(server) == ["milk"]
    assert odp_client.stats.dropped == {"rolled_back": 1}


def test_a_released_savepoint_is_gone_with_the_one_around_it(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """The events that are older than both are committed, in their order."""

    async def use(session: AsyncSession) -> None:
        session.add(Order(name="tea"))
        buy("tea")
        with pytest.raises(LookupError):
            async with session.begin_nested():
                buy("outer")
                async with session.begin_nested():
                    session.add(Order(name="milk"))
                    buy("inner")
                raise LookupError
        async with session.begin_nested():
            buy("released")
            async with session.begin_nested():
                buy("released, inner")
        buy("after")
        await session.commit()

    run(use)
    assert list_orders(server) == ["tea"]
    assert list_names(server) == ["tea", "released", "released, inner", "after"]
    assert odp_client.stats.dropped == {"rolled_back": 2}
    check_balance(odp_client)


@pytest.mark.parametrize("way", ["session", "transaction", "savepoint"])
def test_a_commit_with_open_savepoints_has_all_events(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient, way: str
) -> None:
    """SQLAlchemy releases the savepoints, and then commits."""

    async def use(session: AsyncSession) -> None:
        transaction = await session.begin()
        session.add(Order(name="tea"))
        buy("tea")
        outer = await session.begin_nested()
        buy("outer")
        await session.begin_nested()
        buy("middle")
        await session.begin_nested()
        buy("inner")
        if way == "savepoint":
            await outer.commit()
        await (session if way == "session" else transaction).commit()

    run(use)
    assert list_orders(server) == ["tea"]
    assert list_names(server) == ["tea", "outer", "middle", "inner"]
    assert odp_client.stats.dropped == {}
    check_balance(odp_client)


def test_a_savepoint_that_is_released_with_an_open_one_can_be_rolled_back(
    run: Run, server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """By the savepoint around it; the events before are committed."""

    async def use(session: AsyncSession) -> None:
        session.add(Order(name="tea"))
        buy("tea")
        outer = await session.begin_nested()
        buy("outer")
        middle = await session.begin_nested()
        buy("middle")
        await session.begin_nested()
        buy("inner")
        await middle.commit()
        buy("outer again")
        await outer.rollback()
        buy("after")
        await session.commit()

    run(use)
    assert list_names(server) == ["tea", "after"]
    assert odp_client.stats.dropped == {"rolled_back": 4}
