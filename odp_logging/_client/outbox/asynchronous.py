"""Outboxes for asynchronous connections: a log call cannot await, so it only collects.

What was collected is written at the end of the block; with an `AsyncSession` also
before each commit.
"""

from __future__ import annotations

import os
import sys
import threading
from abc import abstractmethod
from itertools import groupby
from typing import Any

from ..._runtime.text import format_count
from .base import BaseOutbox, OnError, Outcome, Row
from .connections import check_dialect, find_session_dialect
from .driver import SAVEPOINT, State, is_instance
from .errors import format_database_error, is_raised_by_signal_handler
from .sync import STATE_ERRORS

_ENDED = (
    "{events} belonged to a transaction that ended within an outbox block. They are"
    " sent as events outside of an outbox are. End the block before the commit"
)


class AsyncOutbox(BaseOutbox):
    """Collects events until `finish` writes them. `put` is thread-safe."""

    def __init__(self, table: str, account: str, on_error: OnError) -> None:
        super().__init__(table, account, on_error)
        self._waiting: list[tuple[Row, bool]] = []
        """The rows, and whether a transaction had begun when they were logged."""
        self._is_finished = False
        """Whether nothing is written any more."""
        # Re-entrant, because a signal handler may log while its thread holds the lock.
        self._lock = threading.RLock()
        """Guards the two above."""

    def put(self, row: Row) -> None:
        """Keep *row* until the end of the block; give it back after that."""
        is_in_transaction = self._is_in_transaction()
        with self._lock:
            is_finished = self._is_finished
            if not is_finished:
                self._waiting.append((row, is_in_transaction))
        if is_finished:  # another thread found this outbox before it was closed
            row.settle(Outcome.UNSENT)

    def _pop(self, start: int = 0, *, is_last: bool = False) -> list[Row]:
        """
        Return the waiting rows from index *start* on, and remove them.

        Args:
            is_last: Whether the outbox is finished with that.
        """
        return [row for row, _ in self._pop_waiting(start, is_last=is_last)]

    def _pop_waiting(self, start: int, *, is_last: bool) -> list[tuple[Row, bool]]:
        with self._lock:
            self._is_finished |= is_last
            waiting = self._waiting[start:]
            # A signal handler may have logged since the line above.
            del self._waiting[start : start + len(waiting)]
        return waiting

    def open(self) -> None:
        """Let this outbox get the events of this context, and follow the session."""
        self._is_finished = False
        self.start_listening()
        super().open()

    def _is_usable(self) -> bool:
        """Whether this process opened it: `put` only collects, in any thread."""
        return self._owner is not None and self._owner[0] == os.getpid()

    def start_listening(self) -> None:
        """Follow what the application does with the connection, where that works."""

    def stop_listening(self) -> None:
        """Undo `start_listening`."""

    @abstractmethod
    def _is_in_transaction(self) -> bool:
        """Whether the connection has a transaction, without I/O."""

    @abstractmethod
    async def _write(self, rows: list[Row]) -> None:
        """Write *rows* and settle them; may raise what the database raised."""

    async def finish(self, *, has_exception: bool) -> None:
        """
        Write the events of the block.

        Also if the block raises: the application may catch that and commit. If it rolls
        back, the events are gone with the rest.

        Args:
            has_exception: Whether an exception leaves the block.
        """
        self.stop_listening()
        waiting = self._pop_waiting(0, is_last=True)
        rows = [row for row, _ in waiting]
        try:
            if waiting and not self._is_in_transaction():
                rows = self._settle_ended(waiting, has_exception=has_exception)
            if rows:
                await self._write(rows)
        except BaseException as error:
            # Without the traceback, whose frames hold the events.
            if self._settle_after_error(error, rows):
                raise error.with_traceback(None) from None

    def _settle_ended(
        self, waiting: list[tuple[Row, bool]], *, has_exception: bool
    ) -> list[Row]:
        """Settle the rows of a transaction that has ended; return the others."""
        ended = [row for row, was_in_transaction in waiting if was_in_transaction]
        # An exception usually rolled it back. Otherwise it was probably committed.
        for row in ended:
            row.settle(Outcome.ROLLED_BACK if has_exception else Outcome.UNSENT)
        if ended and not has_exception:
            events = format_count(len(ended), "event")
            ended[0].warn("outbox:ended", _ENDED.format(events=events))
        return [row for row, was_in_transaction in waiting if not was_in_transaction]

    def _settle_after_error(self, error: BaseException, rows: list[Row]) -> bool:
        """
        Settle *rows*, which may be written, after *error*; see `Row.settle`.

        Returns:
            Whether to raise *error*: it is a cancellation, or was raised by a signal
            handler.
        """
        if isinstance(error, Exception) and not is_raised_by_signal_handler(error):
            for row in rows:
                self.fail(row, format_database_error(error, row.table))
            return False
        for row in rows:
            row.settle(Outcome.IN_DOUBT)
        if self.should_abort:
            self.failures += len(rows)
        return True


class PsycopgAsyncOutbox(AsyncOutbox):
    """For an `AsyncConnection` of psycopg."""

    def __init__(
        self, connection: Any, table: str, account: str, on_error: OnError
    ) -> None:
        super().__init__(table, account, on_error)
        self._connection = connection

    def _is_in_transaction(self) -> bool:
        return not self._connection.closed and self._read_state() != State.IDLE

    def _read_state(self) -> State:
        if self._connection.closed:
            return State.CLOSED
        return State(int(self._connection.pgconn.transaction_status))

    async def _write(self, rows: list[Row]) -> None:
        cause = STATE_ERRORS.get(self._read_state())
        if cause is not None:
            for row in rows:
                self.fail(row, cause)
        elif self.should_abort:
            await self._write_many(rows)
        else:
            for row in rows:
                await self._write_one(row)

    async def _write_many(self, rows: list[Row]) -> None:
        async with sys.modules["psycopg"].AsyncCursor(self._connection) as cursor:
            for insert, group in groupby(rows, lambda row: row.insert):
                chunk = list(group)
                await cursor.executemany(insert, [row.parameters for row in chunk])
                for row in chunk:
                    row.settle(Outcome.WRITTEN)

    async def _write_one(self, row: Row) -> None:
        """Write one row in a savepoint, or in a transaction of its own."""
        connection = self._connection
        is_autocommit = connection.autocommit and self._read_state() is State.IDLE
        statement = row.insert
        if not is_autocommit:
            statement = f"SAVEPOINT {SAVEPOINT}; {row.insert}; RELEASE {SAVEPOINT}"
        # The values are part of the text: one request has all three statements.
        async with sys.modules["psycopg"].AsyncClientCursor(connection) as cursor:
            try:
                await cursor.execute(statement, row.parameters)
            except sys.modules["psycopg"].Error as error:
                if self._read_state() is State.FAILED:
                    await cursor.execute(
                        f"ROLLBACK TO {SAVEPOINT}; RELEASE {SAVEPOINT}"
                    )
                self.fail(row, format_database_error(error, row.table))
            else:
                row.settle(Outcome.WRITTEN)


class SqlalchemyAsyncOutbox(AsyncOutbox):
    """
    For an `AsyncConnection` or an `AsyncSession` of SQLAlchemy.

    Args:
        target: One of these.
    """

    def __init__(
        self, target: Any, table: str, account: str, on_error: OnError
    ) -> None:
        super().__init__(table, account, on_error)
        self._target = target

    def _is_in_transaction(self) -> bool:
        return bool(self._target.in_transaction())

    async def _write(self, rows: list[Row]) -> None:
        await self._target.run_sync(self._write_in_greenlet, rows)

    def _write_in_greenlet(self, target: Any, rows: list[Row]) -> None:
        """Write *rows* through *target*, SQLAlchemy's object behind the asyncio one."""
        if hasattr(target, "connection") and is_instance(
            target, "sqlalchemy.orm", "Session"
        ):
            connection = target.connection()
        else:
            connection = target
            if not connection.in_transaction():
                # SQLAlchemy begins one for its own statements only, and this is the
                # driver's.
                connection.begin()
        write_rows(self, connection, rows)


def write_rows(outbox: BaseOutbox, connection: Any, rows: list[Row]) -> None:
    """Write *rows* through the driver's adapter of a `Connection` of SQLAlchemy."""
    # Not connection.execute(): with echo=True that logs the values.
    cursor = connection.connection.cursor()
    is_numeric = connection.dialect.paramstyle.startswith("numeric")
    try:
        for row in rows:
            insert = _convert_paramstyle(row.insert) if is_numeric else row.insert
            if outbox.should_abort:
                cursor.execute(insert, row.parameters)
                row.settle(Outcome.WRITTEN)
            else:
                _write_in_savepoint(outbox, cursor, insert, row)
    finally:
        cursor.close()


def _write_in_savepoint(outbox: BaseOutbox, cursor: Any, insert: str, row: Row) -> None:
    cursor.execute(f"SAVEPOINT {SAVEPOINT}")
    try:
        cursor.execute(insert, row.parameters)
    except Exception as error:
        cursor.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        if is_raised_by_signal_handler(error):
            raise
        outbox.fail(row, format_database_error(error, row.table))
    else:
        row.settle(Outcome.WRITTEN)
    cursor.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")


def _convert_paramstyle(statement: str) -> str:
    """Return *statement* with ``$1``, ``$2`` and so on, as asyncpg has them."""
    first, *rest = statement.split("%s")
    return first + "".join(f"${index}{part}" for index, part in enumerate(rest, 1))


def find_async_outbox(
    connection: Any, table: str, account: str, on_error: OnError
) -> AsyncOutbox | None:
    """
    Return an outbox for an asynchronous connection; None for another object.

    Raises:
        ConfigurationError: An outbox cannot use its database or driver.
    """
    if is_instance(connection, "psycopg", "AsyncConnection"):
        return PsycopgAsyncOutbox(connection, table, account, on_error)
    asyncio = "sqlalchemy.ext.asyncio"
    if is_instance(connection, asyncio, "AsyncConnection"):
        check_dialect(connection.dialect, is_async=True)
        return SqlalchemyAsyncOutbox(connection, table, account, on_error)
    if is_instance(connection, asyncio, "async_scoped_session"):
        connection = connection()
    if is_instance(connection, asyncio, "AsyncSession"):
        from .sessions import AsyncSessionOutbox

        check_dialect(find_session_dialect(connection), is_async=True)
        return AsyncSessionOutbox(connection, table, account, on_error)
    return None
