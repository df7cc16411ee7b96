"""The setting ``outbox="django"``: each atomic block is an outbox."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from odp_logging import OdpClient, OutboxError
from odp_logging.emulator import Emulator

from ...emulated import build_client
from ...postgresql import PostgresServer, needs_postgresql
from ...waiting import until
from .conftest import Buy, check_balance, list_names, list_orders, list_sent, make_buy

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")
pytest.importorskip("django")

import psycopg
from django.db import DatabaseError
from django.db.transaction import atomic, on_commit

from .shops import DjangoShop

pytestmark = needs_postgresql


@pytest.fixture
def shop(server: PostgresServer) -> Iterator[DjangoShop]:
    """A shop of Django's."""
    made = DjangoShop(server, autocommit=True)
    yield made
    made.close()


@pytest.fixture
def client(emulator: Emulator) -> Iterator[OdpClient]:
    """A client with the setting."""
    with build_client(emulator, outbox="django") as made:
        yield made


@pytest.fixture
def buy(client: OdpClient, logger: logging.Logger) -> Buy:
    """A function that logs the event of an order."""
    return make_buy(client, logger)


def test_an_atomic_block_has_its_events(
    shop: DjangoShop, server: PostgresServer, buy: Buy, client: OdpClient, emulator: Any
) -> None:
    """They are committed with it or gone with it; other events are sent as usual."""
    buy("before")
    with atomic():
        shop.order("tea")
        buy("tea")
        with pytest.raises(LookupError), atomic():
            buy("nested")
            raise LookupError
        assert list_names(server) == []
    with pytest.raises(LookupError), atomic():
        shop.order("milk")
        buy("milk")
        raise LookupError
    buy("after")

    assert list_orders(server) == list_names(server) == ["tea"]
    assert list_sent(emulator, client) == ["before", "after"]
    check_balance(client)


def test_the_end_of_the_block_raises_after_a_failure(
    shop: DjangoShop, server: PostgresServer, buy: Buy, client: OdpClient
) -> None:
    """Nothing is committed, and no function of on_commit is called."""
    called = []
    server.ask("ALTER TABLE odp_events RENAME TO gone")
    with pytest.raises(OutboxError, match="1 event") as raised, atomic():
        shop.order("tea")
        on_commit(lambda: called.append(1))
        buy("tea")
    server.ask("ALTER TABLE gone RENAME TO odp_events")
    with atomic():
        shop.order("milk")
        buy("milk")

    assert isinstance(raised.value, DatabaseError)
    assert not called
    assert list_orders(server) == list_names(server) == ["milk"]
    assert client.stats.dropped == {"outbox": 1}
    check_balance(client)


def test_a_failure_in_a_nested_block_can_be_handled(
    shop: DjangoShop, server: PostgresServer, buy: Buy
) -> None:
    """The savepoint raises at its end; the outer block may commit."""
    server.ask("DROP TABLE odp_events")
    with atomic():
        shop.order("tea")
        with pytest.raises(DatabaseError), atomic():
            shop.order("milk")
            buy("milk")
        shop.order("sugar")

    assert list_orders(server) == ["sugar", "tea"]


def test_a_failure_is_undone_alone(
    shop: DjangoShop,
    server: PostgresServer,
    emulator: Emulator,
    logger: logging.Logger,
) -> None:
    """With "django-continue" the order is committed, and the client sends the event."""
    server.ask("DROP TABLE odp_events")
    with build_client(emulator, outbox="django-continue") as client:
        buy = make_buy(client, logger)
        with atomic():
            shop.order("tea")
            buy("tea")

        assert list_orders(server) == ["tea"]
        assert list_sent(emulator, client) == ["tea"]
        check_balance(client)


needs_signals_in_statements = pytest.mark.skipif(
    psycopg.__version__ < "3.2", reason="a signal ends statements of this psycopg"
)


@contextmanager
def logging_signal(shop: DjangoShop, buy: Buy) -> Iterator[None]:
    """Log an event in a signal handler in the middle of a statement."""
    logged = []

    def log(number: int, frame: FrameType | None) -> None:
        buy("signal")
        logged.append(number)

    before = signal.signal(signal.SIGALRM, log)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        shop.execute("SELECT pg_sleep(0.5)")
        until(lambda: logged, "the signal")
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


@needs_signals_in_statements
def test_an_event_within_a_statement_is_written_at_the_commit(
    shop: DjangoShop, server: PostgresServer, buy: Buy, client: OdpClient
) -> None:
    """The connection cannot be used when a signal handler logs it."""
    with atomic():
        shop.order("tea")
        with logging_signal(shop, buy):
            assert client.stats.delivered == 0

    assert list_orders(server) == ["tea"]
    assert list_names(server) == ["signal"]
    assert client.stats.delivered == 1
    check_balance(client)


@needs_signals_in_statements
@pytest.mark.parametrize("is_closed", [False, True])
def test_an_event_within_a_statement_is_gone_with_a_rollback(
    shop: DjangoShop,
    server: PostgresServer,
    buy: Buy,
    client: OdpClient,
    is_closed: bool,
) -> None:
    """It is not written by the next transaction."""
    with pytest.raises(LookupError), atomic():
        shop.order("tea")
        with logging_signal(shop, buy):
            if is_closed:
                shop.connection.close()
            raise LookupError
    with atomic():
        shop.order("milk")
        buy("milk")

    assert list_orders(server) == list_names(server) == ["milk"]
    assert client.stats.dropped == {"rolled_back": 1}
    assert not {"commit", "rollback", "close"} & set(vars(shop.connection))
    check_balance(client)


@needs_signals_in_statements
def test_an_event_within_a_statement_that_cannot_be_written_at_the_commit(
    shop: DjangoShop, server: PostgresServer, buy: Buy, client: OdpClient
) -> None:
    """Nothing is committed."""
    server.ask("DROP TABLE odp_events")
    with pytest.raises(OutboxError, match="1 event"), atomic():
        shop.order("tea")
        with logging_signal(shop, buy):
            pass

    assert list_orders(server) == []
    assert client.stats.dropped == {"outbox": 1}
    check_balance(client)


class Wrapper:
    """A connection as a library that traces statements wraps it."""

    def __init__(self, wrapped: Any) -> None:
        self.__dict__["wrapped"] = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.wrapped, name, value)


def test_the_end_of_the_block_raises_if_nothing_was_sent(
    shop: DjangoShop, server: PostgresServer, buy: Buy, client: OdpClient
) -> None:
    """The transaction has not failed for PostgreSQL, and is not committed either."""
    called = []
    shop.execute("SELECT 1")
    shop.connection.connection = Wrapper(shop.connection.connection)
    with pytest.raises(OutboxError, match="1 event"), atomic():
        shop.order("tea")
        on_commit(lambda: called.append(1))
        buy("tea")
    shop.connection.connection = shop.connection.connection.wrapped
    with atomic():
        shop.order("milk")
        buy("milk")

    assert not called
    assert list_orders(server) == list_names(server) == ["milk"]
    assert client.stats.dropped == {"outbox": 1}
    check_balance(client)


def test_values_are_in_no_log_of_django(
    shop: DjangoShop, server: PostgresServer, buy: Buy, caplog: pytest.LogCaptureFixture
) -> None:
    """Django logs its statements for debugging, and ours are not among them."""
    caplog.set_level(logging.DEBUG)
    shop.connection.force_debug_cursor = True
    with atomic():
        shop.order("tea")
        buy("tea")
    kept = [query["sql"] for query in shop.connection.queries]
    shop.connection.force_debug_cursor = False

    assert list_names(server) == ["tea"]
    assert any("orders" in sql for sql in kept)
    assert not any("odp_events" in sql for sql in kept)
    assert "secret" not in caplog.text


def test_without_django_the_setting_does_nothing(
    emulator: Emulator, logger: logging.Logger
) -> None:
    """A program that does not use Django's databases sends as usual."""
    with build_client(emulator, outbox="django") as client:
        make_buy(client, logger)("tea")

        assert list_sent(emulator, client) == ["tea"]
