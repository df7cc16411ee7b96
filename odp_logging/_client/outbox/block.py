"""`outbox`: the block in which events are written through a connection."""

from __future__ import annotations

from typing import Any

from ..._flusher.loading import load_sending_modules
from ..._stores.queue.postgresql.statements import build_insert
from ..._stores.queue.postgresql.tables import DEFAULT_TABLE
from ..._stores.queue.url_options import parse_name
from ...exceptions import ConfigurationError
from .asynchronous import AsyncOutbox, find_async_outbox
from .base import DEFAULT_ACCOUNT, BaseOutbox, OnError
from .connections import ADVICE, find_source
from .sync import SyncOutbox


# Lower case, because it is used like a function, as `contextlib.suppress` is.
class outbox:
    """
    Write the events of a ``with`` block in a transaction of the application.

        with connection.transaction():
            with odp_logging.outbox(connection):
                connection.execute("INSERT INTO orders ...")
                logger.info("purchase", extra=event("purchased", {"email": email}))

    The events of every client of this process that are logged in the block, by this
    thread or task, are rows of the queue's table in the same transaction: committed
    with it, and gone if it, or their savepoint, is rolled back. Relays deliver them,
    see ``odp-logging relay``. A client's ``queue_url`` names its table and account.

    A log call raises nothing, whatever the database answers. The connection must be
    used in one thread at a time. With an asynchronous connection write ``async with``;
    the events are written at the end of the block, so end it before the commit.

    Args:
        connection: A connection of psycopg or psycopg2, a `Session` or `Connection` of
            SQLAlchemy, Django's ``connection``, or an asynchronous one of psycopg or
            SQLAlchemy.
        table: Table of the queue, for clients without a ``queue_url`` of PostgreSQL;
            by default ``odp_events``.
        account: Account of the events, likewise; by default ``default``.
        on_error: If an event cannot be written: ``abort`` lets the transaction fail,
            ``continue`` undoes the insert alone and sends the event in the usual way.

    Raises:
        ConfigurationError: The connection is not one to PostgreSQL, or an argument
            cannot be used.
        OutboxError: At the end of the block: events could not be written, and the
            transaction cannot be committed.
    """

    __module__ = "odp_logging"

    def __init__(
        self,
        connection: Any,
        *,
        table: str | None = None,
        account: str | None = None,
        on_error: OnError = "abort",
    ) -> None:
        arguments = _check(table, account, on_error)
        self._outbox: BaseOutbox
        source = find_source(connection)
        if source is not None:
            self._outbox = SyncOutbox(source, *arguments)
        else:
            found = find_async_outbox(connection, *arguments)
            if found is None:
                raise ConfigurationError(
                    f"outbox cannot use a {_format_type(connection)}. {ADVICE}"
                )
            self._outbox = found

    def __enter__(self) -> None:
        if not isinstance(self._outbox, SyncOutbox):
            raise ConfigurationError(
                "outbox has an asynchronous connection; write `async with`"
            )
        self._open()

    def __exit__(self, kind: object, *error: object) -> None:
        opened = self._outbox
        assert isinstance(opened, SyncOutbox)
        opened.close()
        opened.finish()
        if kind is None:
            opened.raise_failure()

    async def __aenter__(self) -> None:
        if not isinstance(self._outbox, AsyncOutbox):
            raise ConfigurationError(
                "outbox has a connection that is not asynchronous; write `with`"
            )
        self._open()

    async def __aexit__(self, kind: object, *error: object) -> None:
        opened = self._outbox
        assert isinstance(opened, AsyncOutbox)
        opened.close()
        # Closed before: an event that is logged meanwhile would come after the last
        # write.
        await opened.finish(has_exception=kind is not None)
        if kind is None:
            opened.raise_failure()

    def _open(self) -> None:
        if self._outbox.is_open():
            raise ConfigurationError(
                "this outbox is open already; call outbox() for each block"
            )
        load_sending_modules()  # what builds events: a log call must import nothing
        self._outbox.open()

    @staticmethod
    def follow_sessions(
        sessions: Any,
        *,
        table: str | None = None,
        account: str | None = None,
        on_error: OnError = "abort",
    ) -> None:
        """
        Make each transaction of SQLAlchemy's *sessions* an outbox, without blocks.

            Session = sessionmaker(engine)
            odp_logging.outbox.follow_sessions(Session)

        An event that is logged while a session of this thread or task has begun a
        transaction is part of that. A session that is closed without a commit takes its
        events with it, also if it only read.

        Args:
            sessions: A `sessionmaker`, a class of sessions or a `scoped_session`. For
                `AsyncSession` the `sessionmaker` that is its ``sync_session_class``.
            table, account, on_error: As for a block. The commit raises `OutboxError`.

        Raises:
            ConfigurationError: *sessions* or an argument cannot be used.
        """
        from .sessions import follow_sessions

        arguments = _check(table, account, on_error)
        load_sending_modules()
        follow_sessions(sessions, *arguments)


def _check(
    table: str | None, account: str | None, on_error: Any
) -> tuple[str, str, OnError]:
    table = DEFAULT_TABLE if table is None else table
    account = DEFAULT_ACCOUNT if account is None else account
    try:
        build_insert(table)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"outbox got a {error}") from None
    try:
        parse_name(account)
    except (TypeError, ValueError):
        raise ConfigurationError(
            "outbox takes account= as the relays' queue_url has it: letters, digits and"
            " . : - _"
        ) from None
    if on_error not in ("abort", "continue"):
        raise ConfigurationError('outbox takes on_error="abort" or "continue"')
    return table, account, on_error


def _format_type(connection: object) -> str:
    kind = type(connection)
    return f"{kind.__module__}.{kind.__qualname__}"
