"""The setting ``outbox="django"``: each atomic block of Django is an outbox."""

from __future__ import annotations

import sys
from typing import Any

from .base import BaseOutbox, OnError, Row, make_outbox_error
from .connections import DjangoSource
from .driver import State, find_driver
from .sync import SyncOutbox


class DjangoRule:
    """
    Finds the database of Django that is in an atomic block.

    If several are, it is the one with the alias ``default``, or the first of the
    settings. Connections that this thread has not used are not touched.

    Args:
        table, account, on_error: As for `BaseOutbox`.
    """

    def __init__(self, table: str, account: str, on_error: OnError) -> None:
        self._arguments = table, account, on_error

    def find(self) -> BaseOutbox | None:
        """Return an outbox for the current atomic block; None outside of one."""
        module: Any = sys.modules.get("django.db")
        if module is None:
            return None
        try:
            opened = module.connections.all(initialized_only=True)
        except Exception:  # Django has no settings yet
            return None
        for connection in sorted(opened, key=_is_not_default):
            if connection.in_atomic_block and connection.vendor == "postgresql":
                return _AtomicOutbox(connection, *self._arguments)
        return None


def _is_not_default(connection: Any) -> bool:
    return bool(connection.alias != "default")


class _AtomicOutbox(SyncOutbox):
    """An outbox for one event in an atomic block."""

    def __init__(
        self, connection: Any, table: str, account: str, on_error: OnError
    ) -> None:
        super().__init__(DjangoSource(connection), table, account, on_error)
        self._django = connection

    def put(self, row: Row) -> None:
        """
        Write *row*; if that fails, let the outermost block raise at its end.

        If the connection is in the middle of a statement, *row* waits for that end.
        """
        try:
            super().put(row)
        finally:
            if self.failures or self._waiting:
                _find_end(self._django).add(self)


class _TransactionEnd:
    """
    What is done when a transaction of Django ends: replaces methods of *connection*.

    PostgreSQL turns the commit of a failed transaction into a ROLLBACK without an
    error, and Django would call the functions of `on_commit` then. A savepoint that is
    released raises by itself.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._outboxes: list[_AtomicOutbox] = []
        self._has_unknown_failure = False
        """Whether an event was lost without a statement that failed."""
        self._original_methods = {
            name: vars(connection).get(name) for name in ("commit", "rollback", "close")
        }
        for name in self._original_methods:
            setattr(connection, name, getattr(self, name))

    def add(self, outbox: _AtomicOutbox) -> None:
        """Let *outbox* write what waits in it, and the commit raise if it failed."""
        self._outboxes.append(outbox)
        if outbox.failures and self._read_state() not in (State.FAILED, State.CLOSED):
            self._has_unknown_failure = True

    def commit(self) -> None:
        """
        Write what waits, and commit.

        Raises:
            OutboxError: Events could not be written; nothing was committed.
        """
        self._restore()
        failures = self._count_failures()
        try:
            for outbox in self._outboxes:
                outbox.finish()
        finally:
            self._discard()
        is_new = self._count_failures() > failures
        if is_new or self._has_unknown_failure or self._read_state() is State.FAILED:
            self._abort()
            raise make_outbox_error(self._count_failures(), _build_error_class())
        self._connection.commit()

    def rollback(self) -> None:
        """Forget what waits, and roll back."""
        self._restore()
        self._discard()
        self._connection.rollback()

    def close(self) -> None:
        """Forget what waits, and close the connection."""
        self._restore()
        self._discard()
        self._connection.close()

    def _restore(self) -> None:
        """Let the connection have the methods of its class again."""
        for name, before in self._original_methods.items():
            if before is None:
                delattr(self._connection, name)
            else:
                setattr(self._connection, name, before)

    def _discard(self) -> None:
        for outbox in self._outboxes:
            outbox.discard()

    def _count_failures(self) -> int:
        return sum([outbox.failures for outbox in self._outboxes])

    def _read_state(self) -> State | None:
        raw = self._connection.connection
        driver = find_driver(raw)
        return None if driver is None else driver.read_state(raw)

    def _abort(self) -> None:
        """Let a second call of commit() commit nothing, where that is possible."""
        raw = self._connection.connection
        driver = find_driver(raw)
        if driver is not None:
            driver.abort(raw)


def _find_end(connection: Any) -> _TransactionEnd:
    """Return the end of the current transaction of *connection*."""
    known = getattr(vars(connection).get("commit"), "__self__", None)
    return known if isinstance(known, _TransactionEnd) else _TransactionEnd(connection)


def _build_error_class() -> Any:
    """Return a class that Django also knows, so that it rolls back."""
    from ...exceptions import OutboxError

    module: Any = sys.modules["django.db"]
    return type("OutboxError", (OutboxError, module.DatabaseError), {})
