"""Runs the insert of an event on a connection of psycopg or psycopg2.

Neither library is imported here: the application that passes a connection has it. The
cursors are the libraries' own, because the application's may log statements with their
values, or use other placeholders.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any


class State(IntEnum):
    """The state of a connection, with the numbers of libpq."""

    IDLE = 0
    ACTIVE = 1
    """In the middle of a statement, which a signal handler may have interrupted."""
    IN_TRANSACTION = 2
    FAILED = 3
    """In a transaction that can only be rolled back."""
    CLOSED = 4


# One name for all: PostgreSQL uses the newest savepoint of a name.
SAVEPOINT = "odp_logging_outbox"

_ROLLBACK = f"ROLLBACK TO SAVEPOINT {SAVEPOINT}; RELEASE SAVEPOINT {SAVEPOINT}"

# There is no command for it. The alias explains the error in the server's log.
_ABORT = "SELECT 1/0 AS odp_logging_aborts_this_transaction"


class Driver(ABC):
    """The library of a connection. It has no state."""

    @abstractmethod
    def read_state(self, raw: Any) -> State:
        """Return the state of the connection *raw*, without I/O."""

    @abstractmethod
    def _open_cursor(self, raw: Any) -> AbstractContextManager[Any]:
        """Return a cursor that is closed by a ``with`` block."""

    def _open_client_cursor(self, raw: Any) -> AbstractContextManager[Any]:
        """Return a cursor that puts values into the text of a statement."""
        return self._open_cursor(raw)

    def insert(self, raw: Any, statement: str, parameters: Sequence[Any]) -> None:
        """Execute one statement."""
        with self._open_cursor(raw) as cursor:
            cursor.execute(statement, parameters)

    def insert_in_savepoint(
        self, raw: Any, statement: str, parameters: Sequence[Any]
    ) -> None:
        """Execute one statement; if it fails, undo it alone, and raise."""
        if raw.autocommit and self.read_state(raw) is State.IDLE:
            # A transaction of its own. A savepoint needs one that is open.
            self.insert(raw, statement, parameters)
            return
        # The values are part of the text, so that one request has all three statements.
        with self._open_client_cursor(raw) as cursor:
            try:
                cursor.execute(
                    f"SAVEPOINT {SAVEPOINT}; {statement}; RELEASE {SAVEPOINT}",
                    parameters,
                )
            except BaseException:
                if self.read_state(raw) is State.FAILED:
                    cursor.execute(_ROLLBACK)
                raise

    def abort(self, raw: Any) -> None:
        """Make the transaction fail, so that it can only be rolled back."""
        if self.read_state(raw) is State.IN_TRANSACTION:
            with self._open_cursor(raw) as cursor:
                try:
                    cursor.execute(_ABORT)
                except Exception:  # what it is for
                    pass


class Psycopg(Driver):
    """Connections of psycopg 3."""

    def read_state(self, raw: Any) -> State:
        """Return the state of the connection *raw*, without I/O."""
        if raw.closed:
            return State.CLOSED
        # psycopg holds this lock during a statement. A second statement of the same
        # thread, as of a signal handler, would wait for it for ever.
        if raw.lock.locked():
            return State.ACTIVE
        state = State(int(raw.pgconn.transaction_status))
        if state is State.ACTIVE and raw.pgconn.pipeline_status:
            return State.IN_TRANSACTION
        return state

    def _open_cursor(self, raw: Any) -> AbstractContextManager[Any]:
        cursor: AbstractContextManager[Any] = sys.modules["psycopg"].Cursor(raw)
        return cursor

    def _open_client_cursor(self, raw: Any) -> AbstractContextManager[Any]:
        cursor: AbstractContextManager[Any] = sys.modules["psycopg"].ClientCursor(raw)
        return cursor

    def insert_in_savepoint(
        self, raw: Any, statement: str, parameters: Sequence[Any]
    ) -> None:
        """Execute one statement; if it fails, undo it alone, and raise."""
        if raw.pgconn.pipeline_status:  # errors are raised at the pipeline's end
            self.insert(raw, statement, parameters)
        else:
            super().insert_in_savepoint(raw, statement, parameters)


class Psycopg2(Driver):
    """Connections of psycopg2."""

    def read_state(self, raw: Any) -> State:
        """Return the state of the connection *raw*, without I/O."""
        if raw.closed:
            return State.CLOSED
        if raw.isexecuting():  # only with a wait callback, as gevent's
            return State.ACTIVE
        return State(int(raw.info.transaction_status))

    def _open_cursor(self, raw: Any) -> AbstractContextManager[Any]:
        extensions = sys.modules["psycopg2.extensions"]
        cursor: AbstractContextManager[Any] = extensions.cursor(raw)
        return cursor


_PSYCOPG, _PSYCOPG2 = Psycopg(), Psycopg2()


def find_driver(raw: object) -> Driver | None:
    """Return the driver of a connection; None for one of another library."""
    if is_instance(raw, "psycopg", "Connection"):
        return _PSYCOPG
    if is_instance(raw, "psycopg2.extensions", "connection"):
        return _PSYCOPG2
    return None


def is_instance(value: object, module: str, name: str) -> bool:
    """Whether *value* is of a class of a module that may not be imported."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)
