"""What an outbox takes and refuses, and what it shares with the rest of a client."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
import sqlite3
import traceback
import weakref
from pathlib import Path
from typing import Any

import pytest
import structlog

from odp_logging import (
    ConfigurationError,
    OdpClient,
    OdpProcessor,
    OutboxError,
    outbox,
)
from odp_logging._client.outbox.base import read_outbox
from odp_logging.emulator import Emulator
from odp_logging.testing import capture

from ...emulated import build_client, list_warnings
from ...postgresql import PostgresServer, needs_postgresql
from .conftest import Buy, list_bodies, list_names, list_sent, make_buy

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from .shops import Shop

pytestmark = needs_postgresql


def refuse(connection: Any, match: str, **options: Any) -> None:
    """Check that outbox() itself raises, with one line."""
    with pytest.raises(ConfigurationError, match=match) as raised:
        outbox(connection, **options)
    assert "\n" not in str(raised.value)


def test_other_databases_are_refused(server: PostgresServer) -> None:
    """The error names what was passed, and is raised before the block."""
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, Session(engine) as session:
        refuse(connection, "needs a PostgreSQL database, .* is for sqlite")
        refuse(session, "needs a PostgreSQL database, .* is for sqlite")
    engine.dispose()
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        refuse(plain, "outbox cannot use a sqlite3.Connection. Pass a connection of")
    refuse(engine, "outbox cannot use a sqlalchemy.engine.base.Engine. Pass")
    refuse(None, "outbox cannot use a builtins.NoneType")
    url = f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/postgres"
    asynchronous = AsyncSession(create_async_engine(url))
    refuse(asynchronous.sync_session, "needs the AsyncSession or AsyncConnection")


def test_wrong_arguments_are_refused(server: PostgresServer) -> None:
    """Their names and good values are in the error."""
    shop = Shop(server)
    refuse(shop.connection, "table is a name such as", table="a b")
    for account in ("", "a b", "a\0", 5):
        refuse(shop.connection, "account= as the relays' queue_url", account=account)
    refuse(shop.connection, 'on_error="abort" or "continue"', on_error="stop")
    block = outbox(shop.connection)
    with block, pytest.raises(ConfigurationError, match="call outbox"), block:
        pass
    shop.close()


def test_no_value_is_in_a_traceback_or_repr(server: PostgresServer, buy: Buy) -> None:
    """Tracebacks that show local variables show no event."""
    shop = Shop(server)
    server.ask("DROP TABLE odp_events")
    with pytest.raises(OutboxError) as raised, outbox(shop.connection):
        buy("tea")
    shop.close()

    frames = traceback.TracebackException.from_exception(
        raised.value, capture_locals=True
    )
    assert "secret" not in "".join(frames.format())
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_a_queue_url_names_table_and_account(
    server: PostgresServer, logger: logging.Logger
) -> None:
    """Those of the client count before those of the block; no key is needed."""
    server.create_tables("shop_events")
    url = server.build_url("table=shop_events&account=eu")
    client = OdpClient(queue_url=url, handle_sigterm=False)
    buy = make_buy(client, logger)
    shop = Shop(server)
    with outbox(shop.connection, table="others", account="us"):
        buy("tea")
    shop.commit()
    shop.close()
    buy("milk")
    assert client.close(10)

    assert list_names(server, "shop_events") == ["tea", "milk"]
    assert server.ask("SELECT DISTINCT account FROM shop_events") == [("eu",)]
    assert client.stats.accepted == client.stats.delivered == 2


def test_debug_says_what_became_of_an_event(
    server: PostgresServer, emulator: Emulator, logger: logging.Logger, caplog: Any
) -> None:
    """With the setting debug there is a line for each event, without its values."""
    caplog.set_level(logging.DEBUG, "odp_logging")
    shop = Shop(server)
    with build_client(emulator, debug=True) as client:
        buy = make_buy(client, logger)
        with outbox(shop.connection):
            buy("tea")
    shop.close()

    assert "outbox: 1 event written: fullstack/purchased" in list_warnings(caplog)
    assert "secret" not in caplog.text


def test_tests_capture_events_instead(server: PostgresServer, buy: Buy) -> None:
    """In `odp_logging.testing.capture` nothing is written to an outbox."""
    shop = Shop(server)
    with capture() as events, outbox(shop.connection):
        buy("tea")
    shop.commit()
    shop.close()

    events.assert_one(action="purchased")
    assert list_names(server) == []


def test_an_outbox_that_was_closed_elsewhere_is_forgotten(
    server: PostgresServer, buy: Buy, odp_client: OdpClient, emulator: Any
) -> None:
    """A block may end in another context than it began in, as in some frameworks."""
    shop = Shop(server)
    block = outbox(shop.connection)
    block.__enter__()
    contextvars.copy_context().run(block.__exit__, None, None, None)
    buy("tea")
    shop.close()

    assert list_sent(emulator, odp_client) == ["tea"]
    assert read_outbox() is None


def test_a_block_that_raised_can_be_used_again(
    server: PostgresServer, buy: Buy
) -> None:
    """It does not raise for the events of the transaction before."""
    server.ask("ALTER TABLE odp_events RENAME TO gone")
    shop = Shop(server)
    block = outbox(shop.connection)
    with pytest.raises(LookupError), block:
        buy("tea")
        raise LookupError
    shop.rollback()
    server.ask("ALTER TABLE gone RENAME TO odp_events")
    with block:
        buy("milk")
    shop.commit()
    shop.close()

    assert list_names(server) == ["milk"]


def test_blocks_that_overlap_are_not_kept(server: PostgresServer, buy: Buy) -> None:
    """Each one ends after the next one has begun, as sessions may."""
    shop = Shop(server)
    ended = []
    last = outbox(shop.connection)
    last.__enter__()
    for number in range(5):
        following = outbox(shop.connection)
        following.__enter__()
        buy(str(number))
        ended.append(weakref.ref(read_outbox()))
        last.__exit__(None)
        last = following
    gc.collect()
    alive = [reference() is not None for reference in ended]
    last.__exit__(None)
    shop.commit()
    shop.close()

    assert list_names(server) == ["0", "1", "2", "3", "4"]
    assert alive == [False, False, False, True, True]


def test_structlog_takes_part(server: PostgresServer, odp_client: OdpClient) -> None:
    """An event of structlog is written as well."""
    structlog.configure(
        processors=[
            OdpProcessor(client=odp_client),
            structlog.processors.KeyValueRenderer(),
        ],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    log = structlog.get_logger()
    shop = Shop(server)
    with outbox(shop.connection):
        log.info("sold", odp_action="bought", odp_identifiers={"email": "a@b.c"})
    shop.commit()
    shop.close()

    assert [body["action"] for body in list_bodies(server)] == ["bought"]


@pytest.mark.parametrize(
    "settings",
    [
        {"background": False},
        {"overflow": "block"},
        {"spool": "spool"},
        {"spool": "spool", "durability": "crash"},
        {"redact": ["n"]},
        {"hash_identifiers": ["email"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_the_outbox_is_independent_of_where_events_wait(
    server: PostgresServer,
    emulator: Emulator,
    logger: logging.Logger,
    tmp_path: Path,
    settings: dict[str, Any],
    on_error: Any,
) -> None:
    """Whatever the client does with other events, those of the block are rows."""
    if "spool" in settings:
        settings = {**settings, "spool": tmp_path / "spool"}
    shop = Shop(server)
    with build_client(emulator, **settings) as client:
        buy = make_buy(client, logger)
        with outbox(shop.connection, on_error=on_error):
            buy("tea")
            shop.commit()
            if on_error == "continue":
                server.ask("ALTER TABLE odp_events RENAME TO gone")
                buy("milk")
        shop.commit()
        shop.close()

        assert client.flush(10)
        table = "gone" if on_error == "continue" else "odp_events"
        [row] = list_bodies(server, table)
        sent = [entry["event"] for entry in emulator.events()]
        assert len(sent) == (on_error == "continue")
        assert client.stats.accepted == client.stats.delivered == 1 + len(sent)
        if "hash_identifiers" in settings:
            assert "@" not in str([row, *sent])
        if "redact" in settings:
            assert row["data"]["n"] != "tea"


def test_two_keys_for_one_account_are_told(
    server: PostgresServer, emulator: Emulator, caplog: Any
) -> None:
    """Relays would deliver the events of both clients to one account of ODP."""
    clients = [
        OdpClient(key, api_host=emulator.url, handle_sigterm=False)
        for key in ("key-of-the-first", "key-of-the-second")
    ]
    server.create_tables("of_two_accounts")
    shop = Shop(server)
    with outbox(shop.connection, table="of_two_accounts"):
        for client in clients:
            client.send_odp_event("bought", {"email": "a@b.c"})
    shop.close()
    for client in clients:
        client.close()

    [line] = list_warnings(caplog)
    assert "write to the account 'default' of the table of_two_accounts" in line
    assert "key-of" not in line
