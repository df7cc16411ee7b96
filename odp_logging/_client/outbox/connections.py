"""Recognizes what an application passes to `outbox`, and finds the connection in it.

The classes are looked up in ``sys.modules``: an application that passes an object of a
library has imported it.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

from ...exceptions import ConfigurationError
from .driver import find_driver, is_instance

ADVICE = (
    "Pass a connection of psycopg or psycopg2, a Session or Connection of SQLAlchemy,"
    " or Django's connection"
)


class Source(Protocol):
    """Where the connection of an outbox comes from, for each event again."""

    def open(self) -> Any:
        """
        Return the connection of psycopg or psycopg2, with its transaction begun.

        Raises an exception of the library if there is none.
        """


class DriverSource:
    """A connection of psycopg or psycopg2 itself."""

    def __init__(self, connection: Any) -> None:
        if getattr(connection, "async_", 0):
            raise ConfigurationError(
                "outbox cannot use a psycopg2 connection that was made with"
                " async_=True; open one without it"
            )
        self._connection = connection

    def open(self) -> Any:
        """Return the connection; its first statement begins the transaction."""
        return self._connection


class SessionSource:
    """A `Session` of SQLAlchemy, or a `scoped_session`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        check_dialect(find_session_dialect(session), is_async=False)

    def open(self) -> Any:
        """Return the driver's connection of the session's transaction."""
        return unwrap(self._session.connection())


class ConnectionSource:
    """A `Connection` of SQLAlchemy."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        check_dialect(connection.dialect, is_async=False)

    def open(self) -> Any:
        """Return the driver's connection; begin a transaction as a statement does."""
        if not self._connection.in_transaction():
            self._connection.begin()
        return unwrap(self._connection)


class DjangoSource:
    """Django's ``connection``, or one of its ``connections``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        if connection.vendor != "postgresql":
            raise ConfigurationError(
                f"outbox needs a PostgreSQL database, and the connection"
                f" {connection.alias!r} of Django is for {connection.vendor}"
            )

    def open(self) -> Any:
        """Return the driver's connection, as Django uses it in this thread."""
        self._connection.validate_thread_sharing()
        self._connection.ensure_connection()
        return self._connection.connection


def find_source(connection: Any) -> Source | None:
    """
    Return the source of a connection that is not asynchronous; None for another object.

    Raises:
        ConfigurationError: It is of a kind that an outbox cannot use.
    """
    if find_driver(connection) is not None:
        return DriverSource(connection)
    if is_instance(connection, "sqlalchemy.orm", "Session") or is_instance(
        connection, "sqlalchemy.orm", "scoped_session"
    ):
        return SessionSource(connection)
    if is_instance(connection, "sqlalchemy.engine", "Connection"):
        return ConnectionSource(connection)
    if is_instance(
        connection, "django.db.backends.base.base", "BaseDatabaseWrapper"
    ) or is_instance(connection, "django.utils.connection", "ConnectionProxy"):
        return DjangoSource(connection)
    return None


def find_session_dialect(session: Any) -> Any:
    """Return the dialect of a session; None if it depends on the mapped class."""
    try:
        return session.get_bind().dialect
    except sys.modules["sqlalchemy.exc"].UnboundExecutionError:
        return None


def check_dialect(dialect: Any, *, is_async: bool) -> None:
    """
    Check that an outbox can use the database and the driver of SQLAlchemy's *dialect*.

    Raises:
        ConfigurationError: It cannot.
    """
    if dialect is None:
        return
    if dialect.name != "postgresql":
        raise ConfigurationError(
            f"outbox needs a PostgreSQL database, and this engine of SQLAlchemy is for"
            f" {dialect.name}"
        )
    if dialect.is_async and not is_async:
        raise ConfigurationError(
            "outbox needs the AsyncSession or AsyncConnection of this engine, which is"
            " asynchronous, and `async with`"
        )
    known = ("psycopg", "asyncpg") if is_async else ("psycopg", "psycopg2")
    if dialect.driver.removesuffix("_async") not in known:
        raise ConfigurationError(
            f"outbox needs the driver {' or '.join(known)}, and this engine of"
            f" SQLAlchemy uses {dialect.driver}"
        )


def unwrap(connection: Any) -> Any:
    """Return the driver's connection of a `Connection` of SQLAlchemy."""
    return connection.connection.driver_connection
