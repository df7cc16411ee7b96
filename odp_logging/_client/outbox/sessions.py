"""Follows the transactions of SQLAlchemy's sessions by the events of sessions."""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakSet

from ...exceptions import ConfigurationError
from .asynchronous import SqlalchemyAsyncOutbox, write_rows
from .base import BaseOutbox, OnError, Outcome
from .connections import SessionSource, check_dialect, find_session_dialect
from .driver import is_instance
from .sync import SyncOutbox

_KEY = "odp_logging.outbox"
"""Key in `Session.info` of the outbox that follows the session's transaction."""


class AsyncSessionOutbox(SqlalchemyAsyncOutbox):
    """
    For an `AsyncSession`: also writes before a commit, and forgets on a rollback.

    These events of a session run where SQLAlchemy can await. So savepoints, and commits
    within a block, mean the same as with a synchronous session. Nothing is written when
    a savepoint is released: the one around it may still be rolled back, with the rows
    that are older than both.
    """

    def __init__(
        self, target: Any, table: str, account: str, on_error: OnError
    ) -> None:
        super().__init__(target, table, account, on_error)
        self._row_counts: dict[Any, int] = {}
        """How many rows were waiting when each open savepoint began."""
        self._released: Any = None
        """The savepoint that is being released."""

    def start_listening(self) -> None:
        """Follow the session's transactions."""
        event = _load_events()
        for name, function in self._list_listeners():
            event.listen(self._target.sync_session, name, function)

    def stop_listening(self) -> None:
        """Undo `start_listening`."""
        event = _load_events()
        for name, function in self._list_listeners():
            event.remove(self._target.sync_session, name, function)

    def _list_listeners(self) -> list[tuple[str, Any]]:
        return [
            ("before_commit", self.write_before_commit),
            ("after_transaction_create", self.record_savepoint),
            ("after_commit", self.end_commit),
            ("after_soft_rollback", self.rollback),
        ]

    def record_savepoint(self, session: Any, transaction: Any) -> None:
        """Remember which rows are older than a savepoint."""
        if transaction.nested:
            self._row_counts[transaction] = len(self._waiting)

    def rollback(self, session: Any, transaction: Any) -> None:
        """Forget the rows of a transaction, or of a savepoint, that is rolled back."""
        # A flush is a subtransaction. If it fails, SQLAlchemy rolls back to the
        # innermost savepoint around it, or the transaction if it is in none.
        savepoint = _find_savepoint(transaction)
        start = 0 if savepoint is None else self._row_counts.get(savepoint, 0)
        if savepoint is transaction:  # it has ended, too
            self._row_counts.pop(transaction, None)
        for row in self._pop(start):
            row.settle(Outcome.ROLLED_BACK)

    def write_before_commit(self, session: Any) -> None:
        """
        Write the rows before a commit.

        Raises:
            OutboxError: The commit would be a rollback.
        """
        if self._is_release(session.get_nested_transaction()):
            return
        rows = self._pop()
        # Rows that are logged from now on are younger than every open savepoint.
        self._row_counts = dict.fromkeys(self._row_counts, 0)
        if rows:
            try:
                write_rows(self, session.connection(), rows)
            except BaseException as error:
                if self._settle_after_error(error, rows):
                    raise error.with_traceback(None) from None
        self.raise_failure()

    def _is_release(self, savepoint: Any) -> bool:
        """
        Whether a savepoint is about to be released, and not the transaction committed.

        SQLAlchemy does not tell which. To commit a transaction, or a savepoint, with
        open savepoints in it, it asks for that first and then for each of these.

        Args:
            savepoint: The innermost one that is open.
        """
        if savepoint is None:
            return False
        if savepoint is not self._released:
            self._released = savepoint
            return True
        # The second time: the first time was for one around it, perhaps not the next.
        self._released = _find_savepoint(savepoint.parent)
        return self._released is not None

    def end_commit(self, session: Any) -> None:
        """
        Count the rows of a released savepoint to the transaction around it.

        Rows that wait although the transaction was committed were logged too late to be
        written, as by a listener before the commit. The client sends them.
        """
        savepoint = session.get_nested_transaction()
        if savepoint is not None:
            self._row_counts.pop(savepoint, None)
            return
        for row in self._pop():
            row.settle(Outcome.UNSENT)


def _find_savepoint(transaction: Any) -> Any:
    """Return the innermost savepoint that *transaction* is, or is in, or None."""
    while transaction is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


class _FollowedOutbox(AsyncSessionOutbox):
    """For a followed session, the one behind an `AsyncSession`."""

    def start_listening(self) -> None:
        """Do nothing: `follow_sessions` listens to all sessions."""

    def close(self) -> None:
        """Let the outbox that was open before get the events; give back late ones."""
        super().close()
        for row in self._pop(is_last=True):
            row.settle(Outcome.UNSENT)


def follow_sessions(
    sessions: Any,
    table: str,
    account: str,
    on_error: OnError,
) -> None:
    """
    Give each transaction of some sessions an outbox; see `outbox.follow_sessions`.

    Raises:
        ConfigurationError: *sessions* are not sessions of SQLAlchemy, or are followed
            already.
    """
    target = _find_target(sessions)
    _check_not_followed(target)
    event = _load_events()

    def start(session: Any, transaction: Any) -> None:
        if transaction.parent is None:
            if _KEY not in session.info:
                opened = _make_outbox(session, table, account, on_error)
                session.info[_KEY] = opened
                opened.open()
        else:
            _call(session, "record_savepoint", transaction)

    def commit(session: Any) -> None:
        if not _call(session, "write_before_commit"):
            found: BaseOutbox | None = session.info.get(_KEY)
            if isinstance(found, SyncOutbox):
                found.finish()
                found.raise_failure()

    def end_commit(session: Any) -> None:
        found: BaseOutbox | None = session.info.get(_KEY)
        if found is not None and session.get_nested_transaction() is None:
            found.close()  # what other listeners log now is not part of it
            if isinstance(found, SyncOutbox):
                found.discard(Outcome.UNSENT)
        _call(session, "end_commit")

    def rollback(session: Any, transaction: Any) -> None:
        _call(session, "rollback", transaction)

    def end(session: Any, transaction: Any) -> None:
        if transaction.parent is None:
            rollback(session, transaction)  # closed without a commit
            found: BaseOutbox | None = session.info.pop(_KEY, None)
            if found is not None:
                found.close()
            if isinstance(found, SyncOutbox):
                found.discard()

    event.listen(target, "after_transaction_create", start)
    event.listen(target, "before_commit", commit)
    # Ahead of the application's listeners: what those log is outside the transaction.
    event.listen(target, "after_commit", end_commit, insert=True)
    event.listen(target, "after_soft_rollback", rollback)
    event.listen(target, "after_transaction_end", end)


def _call(session: Any, method: str, *arguments: Any) -> bool:
    """Call a method of the outbox of an asynchronous session, if it is one."""
    found = session.info.get(_KEY)
    if not isinstance(found, AsyncSessionOutbox):
        return False
    getattr(found, method)(session, *arguments)
    return True


def _make_outbox(
    session: Any, table: str, account: str, on_error: OnError
) -> BaseOutbox:
    dialect = find_session_dialect(session)
    if dialect is not None and dialect.is_async:
        check_dialect(dialect, is_async=True)
        return _FollowedOutbox(session, table, account, on_error)
    return SyncOutbox(SessionSource(session), table, account, on_error)


def _find_target(sessions: Any) -> Any:
    orm, asyncio = "sqlalchemy.orm", "sqlalchemy.ext.asyncio"
    if is_instance(sessions, asyncio, "async_sessionmaker"):
        selected = sessions.kw.get("sync_session_class")
        if selected is None:
            raise ConfigurationError(
                "follow_sessions would follow every session of this process: give the"
                " async_sessionmaker sync_session_class=sessionmaker(), and pass that"
                " sessionmaker"
            )
        sessions = selected
    base = getattr(sys.modules.get(orm), "Session", None)
    is_class = isinstance(sessions, type) and base and issubclass(sessions, base)
    if (
        is_class
        or is_instance(sessions, orm, "sessionmaker")
        or is_instance(sessions, orm, "scoped_session")
        or is_instance(sessions, orm, "Session")
    ):
        return sessions
    raise ConfigurationError(
        "follow_sessions takes a sessionmaker, a class of sessions or a scoped_session"
        f" of SQLAlchemy, not {type(sessions).__name__}"
    )


_followed: WeakSet[Any] = WeakSet()
"""Classes of sessions, and sessions, that are followed."""


def _check_not_followed(target: Any) -> None:
    """
    Remember that the sessions of *target* are followed.

    Two followers would handle each rollback twice: the second one as if it was a
    rollback of the whole transaction.

    Raises:
        ConfigurationError: All or some of them are followed already.
    """
    factory = getattr(target, "session_factory", target)  # of a scoped_session
    sessions = getattr(factory, "class_", factory)  # of a sessionmaker
    if any([_is_part(sessions, known) for known in _followed]):
        raise ConfigurationError(
            "follow_sessions was called before for these sessions, a base class or a"
            " subclass of theirs; call it once, where the sessionmaker is made"
        )
    _followed.add(sessions)


def _is_part(first: Any, second: Any) -> bool:
    """Whether one of two classes of sessions, or sessions, includes the other."""
    if isinstance(first, type) and isinstance(second, type):
        return issubclass(first, second) or issubclass(second, first)
    if isinstance(first, type):
        return isinstance(second, first)
    return isinstance(first, second) if isinstance(second, type) else first is second


def _load_events() -> Any:
    from importlib import import_module

    return import_module("sqlalchemy.event")
