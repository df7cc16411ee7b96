"""Shops that store orders in PostgreSQL, one for each library an outbox works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import psycopg2
import sqlalchemy
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connection as django_connection
from django.db import connections, transaction
from django.db.utils import Error as DjangoError
from sqlalchemy.orm import Session

from ...postgresql import PostgresServer

INSERT = "INSERT INTO orders (name) VALUES ('{}')"


class Shop:
    """
    A shop with a connection of psycopg.

    Args:
        server: Has the table ``orders``.
        options: For the connection.
    """

    error: type[Exception] = psycopg.Error

    def __init__(self, server: PostgresServer, **options: Any) -> None:
        self.server = server
        self.connection: Any = self.connect(**options)

    @property
    def dsn(self) -> str:
        """What the libraries of PostgreSQL call a connection string."""
        return f"host=127.0.0.1 port={self.server.port} user=postgres dbname=postgres"

    def connect(self, **options: Any) -> Any:
        """Return a new connection."""
        return psycopg.connect(self.dsn, **options)

    def execute(self, statement: str) -> None:
        """Execute a statement of the application."""
        self.connection.cursor().execute(statement)

    def order(self, name: str) -> None:
        """Store an order."""
        self.execute(INSERT.format(name))

    def commit(self) -> None:
        """Commit the transaction."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll back the transaction."""
        self.connection.rollback()

    def savepoint(self) -> AbstractContextManager[Any]:
        """Return a block that is undone alone if it raises."""
        return self.connection.transaction()

    def break_connection(self) -> None:
        """Close the connection beneath the library."""
        self.connection.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Psycopg2Shop(Shop):
    """A shop with a connection of psycopg2."""

    error = psycopg2.Error

    def connect(self, **options: Any) -> Any:
        """Return a new connection."""
        connection = psycopg2.connect(self.dsn)
        for name, value in options.items():
            setattr(connection, name, value)
        return connection

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo the block alone if it raises."""
        self.execute("SAVEPOINT block")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO SAVEPOINT block")
            raise
        self.execute("RELEASE SAVEPOINT block")


class SqlalchemyShop(Shop):
    """A shop with a connection of SQLAlchemy."""

    driver = "psycopg"
    error = sqlalchemy.exc.SQLAlchemyError

    def connect(self, **options: Any) -> Any:
        """Return a new connection."""
        # Echoed: no value of an event may be logged by that.
        self.engine = sqlalchemy.create_engine(
            f"postgresql+{self.driver}://postgres@127.0.0.1:{self.server.port}/postgres",
            echo=True,
        )
        if options.pop("autocommit", False):
            options["isolation_level"] = "AUTOCOMMIT"
        if options.pop("read_only", False):
            options["postgresql_readonly"] = True
        self.engine = self.engine.execution_options(**options)
        return self.open()

    def open(self) -> Any:
        """Return a connection of the engine."""
        return self.engine.connect()

    def execute(self, statement: str) -> None:
        """Execute a statement of the application."""
        self.connection.execute(sqlalchemy.text(statement))

    def savepoint(self) -> AbstractContextManager[Any]:
        """Return a block that is undone alone if it raises."""
        return self.connection.begin_nested()

    def break_connection(self) -> None:
        """Close the driver's connection."""
        connection = self.connection
        if isinstance(connection, Session):
            connection = connection.connection()
        connection.connection.driver_connection.close()

    def close(self) -> None:
        """Close the connection and the pool."""
        try:
            self.connection.close()
        except sqlalchemy.exc.SQLAlchemyError:  # broken before
            pass
        self.engine.dispose()


class SessionShop(SqlalchemyShop):
    """A shop with a session of SQLAlchemy, on psycopg2."""

    driver = "psycopg2"

    def open(self) -> Any:
        """Return a session."""
        return Session(self.engine)


class DjangoShop(Shop):
    """A shop with Django's connection, within an atomic block or without one."""

    error = DjangoError

    def connect(self, **options: Any) -> Any:
        """Use the server as the database of Django."""
        if not django_settings.configured:
            django_settings.configure(USE_TZ=True)
        apps.populate([])
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": str(self.server.port),
        }
        self._close_all()
        configured = connections.configure_settings({"default": database})
        connections.__dict__["settings"] = configured
        if options.pop("read_only", False):
            option = "-c default_transaction_read_only=on"
            configured["default"]["OPTIONS"] = {"options": option}
        django_connection.set_autocommit(options.pop("autocommit", False))
        return django_connection

    def execute(self, statement: str) -> None:
        """Execute a statement of the application."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def savepoint(self) -> AbstractContextManager[Any]:
        """Return a block that is undone alone if it raises."""
        return transaction.atomic()

    def break_connection(self) -> None:
        """Close the driver's connection."""
        self.connection.ensure_connection()
        self.connection.connection.close()

    def close(self) -> None:
        """Forget the database."""
        self._close_all()
        del connections.__dict__["settings"]

    def _close_all(self) -> None:
        if "settings" in connections.__dict__:
            for opened in connections.all(initialized_only=True):
                opened.close()
                del connections[opened.alias]


SHOPS = [Shop, Psycopg2Shop, SqlalchemyShop, SessionShop, DjangoShop]
