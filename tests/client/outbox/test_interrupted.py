"""Signal handlers and finalizers in the middle of a statement of an outbox."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from odp_logging import OdpClient, OutboxError, outbox
from odp_logging._client.outbox.sync import SyncOutbox

from ...postgresql import PostgresServer, needs_postgresql
from ...waiting import until
from .conftest import Buy, check_balance, list_names, list_orders

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

import psycopg

from .shops import Psycopg2Shop, SessionShop, Shop, SqlalchemyShop

pytestmark = needs_postgresql


class TimeLimit(Exception):
    """What the signal handler of a task queue raises."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the block after *seconds*."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def locked_table(server: PostgresServer) -> Iterator[Any]:
    """Let each insert of an event wait."""
    with server.connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE odp_events")
        yield connection


@pytest.mark.parametrize("kind", [Shop, SqlalchemyShop])
def test_a_time_limit_during_the_insert_is_raised(
    kind: type[Shop], server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """As in the application's own statements; the next transaction works."""
    shop = kind(server)
    block = outbox(shop.connection)
    with locked_table(server), pytest.raises(TimeLimit), time_limit(0.3), block:
        buy("tea")
    stats = odp_client.stats
    assert stats.dropped == {"in_doubt": 1}
    check_balance(odp_client)
    # psycopg leaves the connection of the cut statement unusable.
    shop.close()
    shop = kind(server)
    with outbox(shop.connection):
        shop.order("milk")
        buy("milk")
    shop.commit()
    shop.close()

    assert list_orders(server) == list_names(server) == ["milk"]


@pytest.mark.parametrize("kind", [Psycopg2Shop, SessionShop])
def test_a_time_limit_that_comes_after_the_insert(
    kind: type[Shop], server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """psycopg2 runs no signal handler while it waits, so the insert is done then."""
    shop = kind(server)
    with locked_table(server) as locking:
        timer = threading.Timer(0.6, locking.rollback)
        timer.start()
        with pytest.raises(TimeLimit), time_limit(0.3), outbox(shop.connection):
            buy("tea")
        timer.join()
    shop.rollback()
    shop.close()

    assert list_names(server) == []
    assert odp_client.stats.dropped == {"in_doubt": 1}
    check_balance(odp_client)


def test_a_time_limit_that_the_application_handles(
    server: PostgresServer, buy: Buy
) -> None:
    """Nothing is committed: it is not known whether the event was written."""
    shop = Psycopg2Shop(server)
    with locked_table(server) as locking, pytest.raises(OutboxError):
        timer = threading.Timer(0.6, locking.rollback)
        timer.start()
        with outbox(shop.connection):
            shop.order("tea")
            with pytest.raises(TimeLimit), time_limit(0.3):
                buy("tea")
            shop.commit()
    timer.join()
    shop.close()

    assert list_orders(server) == list_names(server) == []


@pytest.mark.skipif(
    psycopg.__version__ < "3.2", reason="a signal ends statements of this psycopg"
)
def test_an_event_of_a_signal_handler_within_a_statement(
    server: PostgresServer, odp_client: OdpClient, buy: Buy
) -> None:
    """It waits until the connection is free, and is then in the transaction."""
    shop = Shop(server)
    logged = []

    def log(number: int, frame: FrameType | None) -> None:
        buy("signal")
        logged.append(odp_client.stats.delivered)

    before = signal.signal(signal.SIGALRM, log)
    try:
        with outbox(shop.connection):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            shop.execute("SELECT pg_sleep(0.5)")
            until(lambda: logged, "the signal")
    finally:
        signal.signal(signal.SIGALRM, before)
    shop.commit()
    shop.close()

    assert logged == [0]
    assert list_names(server) == ["signal"]
    assert odp_client.stats.delivered == 1


def test_an_event_that_an_insert_logs_itself(
    server: PostgresServer, odp_client: OdpClient, buy: Buy, logger: logging.Logger
) -> None:
    """An event that is logged within the insert is written after it."""
    shop = Shop(server)
    notices: list[Any] = []

    def handle(notice: Any) -> None:
        notices.append(notice)
        if len(notices) == 1:
            buy("notice")

    shop.connection.add_notice_handler(handle)
    server.ask(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'row'; RETURN NEW; END $$;"
        "CREATE TRIGGER tell BEFORE INSERT ON odp_events"
        " FOR EACH ROW EXECUTE FUNCTION tell()"
    )
    with outbox(shop.connection):
        buy("tea")
    shop.commit()
    shop.close()

    assert list_names(server) == ["tea", "notice"]


def test_a_keyboard_interrupt_during_the_insert(
    server: PostgresServer, buy: Buy, odp_client: OdpClient
) -> None:
    """psycopg cancels the statement; the transaction can only be rolled back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    shop = Shop(server)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with locked_table(server), pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with outbox(shop.connection):
                shop.order("tea")
                buy("tea")
    finally:
        signal.signal(signal.SIGALRM, before)
    shop.commit()
    with outbox(shop.connection):
        shop.order("milk")
        buy("milk")
    shop.commit()
    shop.close()

    assert list_orders(server) == list_names(server) == ["milk"]
    check_balance(odp_client)


def test_the_traceback_of_a_time_limit_shows_no_event(
    server: PostgresServer, odp_client: OdpClient
) -> None:
    """Reports of errors with local variables have none of the library's insert."""
    shop = Shop(server)
    limit, block = time_limit(0.3), outbox(shop.connection)
    with locked_table(server), pytest.raises(TimeLimit) as raised, limit, block:
        odp_client.send_odp_event("bought", {"email": "secret@example.com"})
    shop.close()

    names = {frame.name for frame in raised.traceback}
    assert not names & {"insert", "execute"}


@contextmanager
def exception_at(instruction: int) -> Iterator[list[int]]:
    """Raise at an instruction of the outbox, as a signal handler may."""
    raised: list[int] = []
    left = instruction

    def enter(frame: FrameType, kind: str, argument: object) -> Any:
        if frame.f_code is not SyncOutbox._write_first.__code__:
            return None
        frame.f_trace_opcodes = True
        return count

    def count(frame: FrameType, kind: str, argument: object) -> Any:
        nonlocal left
        left -= kind == "opcode"
        if left == 0 and not raised:
            raised.append(frame.f_lineno)
            raise TimeLimit
        return count

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield raised
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_an_exception_at_any_instruction_loses_no_event(
    server: PostgresServer, buy: Buy, odp_client: OdpClient, on_error: Any
) -> None:
    """An order is committed with its event, or counted as one that may have none."""
    shop = Psycopg2Shop(server)
    instruction, in_doubt = 0, set()
    is_raised = True
    while is_raised:
        instruction += 1
        name = f"{instruction:03}"
        before = odp_client.stats.dropped.get("in_doubt", 0)
        try:
            with outbox(shop.connection, on_error=on_error):
                shop.order(name)
                try:
                    with exception_at(instruction) as raised:
                        buy(name)
                except TimeLimit:
                    pass
                is_raised = bool(raised)
            shop.commit()
        except OutboxError:
            shop.rollback()
        if odp_client.stats.dropped.get("in_doubt", 0) > before:
            in_doubt.add(name)
    shop.close()

    without_event = {*list_orders(server)} - {*list_names(server)}
    if instruction == 1:
        pytest.skip("this interpreter does not trace instructions")
    assert not {*list_names(server)} - {*list_orders(server)}
    assert without_event <= (in_doubt if on_error == "continue" else set())
