"""A server with the tables of a queue and of a shop, and a handler that sends to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odp_logging import OdpClient, OdpHandler, event
from odp_logging.emulator import Emulator

from ...emulated import build_client
from ...postgresql import PostgresServer, postgres, postgres_server

__all__ = ["postgres", "postgres_server"]

Buy = Callable[[str], None]


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server with the tables of the queue and the table of the shop's orders."""
    postgres.ask("CREATE TABLE orders (name text PRIMARY KEY)")
    yield postgres
    end_connections(postgres)  # those of a test that failed hold locks


def end_connections(server: PostgresServer) -> None:
    """End all connections to *server*."""
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


@pytest.fixture
def odp_client(emulator: Emulator) -> Iterator[OdpClient]:
    """A client that sends events outside of an outbox to the emulator."""
    with build_client(emulator) as made:
        yield made


@pytest.fixture
def buy(odp_client: OdpClient, logger: logging.Logger) -> Buy:
    """A function that logs the event of an order."""
    return make_buy(odp_client, logger)


def make_buy(client: OdpClient, logger: logging.Logger, **options: Any) -> Buy:
    """Return a function that logs the event of an order through *client*."""
    logger.addHandler(OdpHandler(client=client, **options))

    def buy(name: str) -> None:
        logger.info(
            "purchase",
            extra=event("purchased", {"email": "secret@example.com"}, data={"n": name}),
        )

    return buy


def list_orders(server: PostgresServer) -> list[str]:
    """Return the names of the committed orders."""
    return [name for (name,) in server.ask("SELECT name FROM orders ORDER BY name")]


def list_bodies(server: PostgresServer, table: str = "odp_events") -> list[Any]:
    """Return the committed events, the oldest first."""
    rows = server.ask(f"SELECT convert_from(body, 'UTF8') FROM {table} ORDER BY id")
    return [json.loads(body) for (body,) in rows]


def list_names(server: PostgresServer, table: str = "odp_events") -> list[str]:
    """Return the orders whose events are committed, the oldest first."""
    return [body["data"]["n"] for body in list_bodies(server, table)]


def list_sent(emulator: Emulator, client: OdpClient) -> list[str]:
    """Return the orders whose events the client sent to ODP itself."""
    assert client.flush(10)
    return [entry["event"]["data"]["n"] for entry in emulator.events()]


def check_balance(client: OdpClient) -> None:
    """Check the sum that holds at every moment."""
    stats = client.stats
    lost = sum(stats.rejected.values()) + sum(stats.dropped.values())
    assert stats.accepted == stats.delivered + lost + stats.pending + stats.spooled
