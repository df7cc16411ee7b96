"""Threads that log while the outbox of an asynchronous connection ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from odp_logging import OdpEvent, outbox
from odp_logging.emulator import Emulator

from ...emulated import build_client
from ...postgresql import PostgresServer, needs_postgresql
from .conftest import check_balance, list_names, list_orders, list_sent, make_buy

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from .shops import INSERT

pytestmark = needs_postgresql


class Gate:
    """A `before_send` that holds the event ``late`` between two steps of its call."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, event: OdpEvent) -> OdpEvent:
        """Return *event*, once the gate is open if it is the late one."""
        if event.data["n"] == "late":
            self.reached.set()
            assert self.opened.wait(10)
        return event


@pytest.mark.parametrize("kind", ["block", "followed"])
def test_an_event_of_a_thread_that_comes_too_late_is_sent_as_usual(
    server: PostgresServer, emulator: Emulator, logger: logging.Logger, kind: str
) -> None:
    """The thread found the outbox before it ended, and gives the event to it after."""
    gate = Gate()
    client = build_client(emulator, before_send=gate)
    buy = make_buy(client, logger)

    async def log_late() -> Any:
        late = asyncio.create_task(asyncio.to_thread(buy, "late"))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        return late

    async def use_block() -> None:
        connection = await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
        )
        async with connection:
            async with connection.transaction(), outbox(connection):
                await connection.execute(INSERT.format("tea"))
                buy("tea")
                late = await log_late()
            gate.opened.set()
            await late

    async def use_followed() -> None:
        followed = sessionmaker()
        outbox.follow_sessions(followed)
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        make = async_sessionmaker(engine, sync_session_class=followed)
        async with make.begin() as session:
            await session.execute(sqlalchemy.text(INSERT.format("tea")))
            buy("tea")
            late = await log_late()
        gate.opened.set()
        await late
        await engine.dispose()

    asyncio.run(use_block() if kind == "block" else use_followed())
    assert list_orders(server) == list_names(server) == ["tea"]
    assert list_sent(emulator, client) == ["late"]
    assert client.stats.accepted == client.stats.delivered == 2
    check_balance(client)
    client.close()


def test_events_of_many_threads_are_all_written(
    server: PostgresServer, emulator: Emulator, logger: logging.Logger
) -> None:
    """Commits of the session and log calls of threads happen at the same time."""
    client = build_client(emulator)
    buy = make_buy(client, logger)

    def log(number: int) -> None:
        for index in range(100):
            buy(f"{number}-{index}")

    async def run() -> None:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
        engine = create_async_engine(url)
        async with async_sessionmaker(engine)() as session, outbox(session):
            threads = [
                asyncio.create_task(asyncio.to_thread(log, number))
                for number in range(4)
            ]
            while not all([thread.done() for thread in threads]):
                await session.execute(sqlalchemy.text("SELECT 1"))
                await session.commit()
            await session.execute(sqlalchemy.text("SELECT 1"))
            await session.commit()
        await engine.dispose()

    asyncio.run(run())
    assert client.flush(10)
    sent = list_sent(emulator, client)
    assert len({*list_names(server), *sent}) == 400
    assert len(list_names(server)) + len(sent) == 400
    assert client.stats.accepted == client.stats.delivered == 400
    client.close()
