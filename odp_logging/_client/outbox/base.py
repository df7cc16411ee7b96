"""What every outbox has in common, and which one a log call uses.

An outbox writes events through a connection of the application, in its transaction.
The client asks `find_outbox` for each event; `block` and the integrations open them.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from typing import Any, Literal, NamedTuple

from ..._runtime.text import format_count
from ...exceptions import OutboxError

OnError = Literal["abort", "continue"]
"""What becomes of the transaction if an event cannot be written."""

Warn = Callable[[str, str], object]

DEFAULT_ACCOUNT = "default"


class Outcome(Enum):
    """What became of an event that an outbox was given."""

    WRITTEN = "written"
    """It is in the transaction of the application."""
    UNSENT = "unsent"
    """It was not written; the client sends it as an event without an outbox."""
    DROPPED = "outbox"
    """It was not written, and the transaction cannot be committed."""
    ROLLED_BACK = "rolled_back"
    """It belongs to a transaction that was rolled back before it was written."""
    IN_DOUBT = "in_doubt"
    """An exception interrupted the insert."""


class Row(NamedTuple):
    """
    An event to be written.

    Args:
        table: Name of the table, for messages.
        insert: The SQL of the insert, with placeholders ``%s``.
        parameters: Values for the placeholders.
        settle: Called with the outcome; only the first call counts. Raises nothing.
        warn: Writes a log line; called with its kind and its text.
    """

    table: str
    insert: str
    parameters: tuple[Any, ...]
    settle: Callable[[Outcome], object]
    warn: Warn

    def __repr__(self) -> str:
        return "<Row>"  # the parameters hold the event


class InterruptedInsert(BaseException):
    """Wraps what a signal handler of the application raised during an insert."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class BaseOutbox(ABC):
    """
    Writes the events of one thread, and of the tasks that it runs, until it is closed.

    A subclass that only collects may allow other threads of the same context, which
    structlog and `asyncio.to_thread` start.

    Args:
        table: Name of the table, for clients without a ``queue_url`` that names one.
        account: Name of the account, likewise.
        on_error: What happens if an event cannot be written.
    """

    def __init__(self, table: str, account: str, on_error: OnError) -> None:
        self.table = table
        self.account = account
        self.should_abort = on_error == "abort"
        self.failures = 0
        """Events that were not written, where that aborts the transaction."""
        self._parent: BaseOutbox | None = None
        self._owner: tuple[int, int] | None = None
        """Process and thread that opened it; None while it is closed."""

    @abstractmethod
    def put(self, row: Row) -> None:
        """
        Write *row*, or keep it to be written later; raises no errors of the database.

        Raises:
            InterruptedInsert: A signal handler raised during the insert.
        """

    def open(self) -> None:
        """Let this outbox get the events of this context."""
        self.failures = 0  # a block that raised may be used again
        self._parent = _find_open()
        self._owner = _read_owner()
        _current.set(self)

    def close(self) -> None:
        """Let the outbox that was open before get the events again."""
        self._owner = None
        # Blocks that overlap would keep all earlier ones in memory.
        while self._parent is not None and not self._parent.is_open():
            self._parent = self._parent._parent
        # Another context has its own value: there, `find_outbox` skips a closed outbox.
        if _current.get() is self:
            _current.set(self._parent)

    def is_open(self) -> bool:
        """Whether it was opened and not closed."""
        return self._owner is not None

    def raise_failure(self) -> None:
        """
        Raise if an event of the transaction could not be written.

        PostgreSQL turns a COMMIT after a failed statement into a ROLLBACK, without an
        error. So the application would not learn that nothing was committed.

        Raises:
            OutboxError: With the number of events.
        """
        count, self.failures = self.failures, 0
        if count:
            raise make_outbox_error(count)

    def _is_usable(self) -> bool:
        """Whether this thread may use it."""
        return self._owner == _read_owner()

    def fail(self, row: Row, cause: str) -> None:
        """Report that *row* could not be written, and settle it."""
        if self.should_abort:
            self.failures += 1
            row.settle(Outcome.DROPPED)
            row.warn(
                "outbox:abort",
                f"an event could not be written to the outbox: {cause}. The event is"
                " lost with its transaction, which cannot be committed any more",
            )
        else:
            row.settle(Outcome.UNSENT)
            row.warn(
                "outbox:continue",
                f"an event could not be written to the outbox: {cause}. It is sent as"
                " events outside of an outbox are, whether or not the transaction is"
                " committed",
            )


def make_outbox_error(count: int, kind: type[OutboxError] = OutboxError) -> OutboxError:
    """Return the error for *count* events that could not be written."""
    return kind(
        f"{format_count(count, 'event')} could not be written to the outbox, so that a"
        ' transaction was rolled back; the logger "odp_logging" has the cause. Run the'
        ' transaction again, or set on_error="continue" to commit without them'
    )


_current: ContextVar[BaseOutbox | None] = ContextVar("odp_outbox", default=None)

read_outbox = _current.get
"""Return the outbox that was opened last in this context; it may be closed."""


def find_outbox(warn: Warn) -> BaseOutbox | None:
    """
    Return the innermost open outbox of this context; None to use no outbox.

    Args:
        warn: Writes a log line if the thread may not use it.
    """
    found = _find_open()
    if found is None or found._is_usable():
        return found
    warn(
        "outbox:thread",
        "an event was logged in another thread or process than the one that opened its"
        " outbox. It is sent as events outside of an outbox are. Log it in the thread"
        " that uses the connection",
    )
    return None


def _find_open() -> BaseOutbox | None:
    """Return the innermost open outbox of this context; forget closed ones."""
    first = found = _current.get()
    while found is not None and not found.is_open():
        found = found._parent
    if found is not first:  # it was closed in another context
        _current.set(found)
    return found


def _read_owner() -> tuple[int, int]:
    # Looked up at each call: gevent replaces get_ident by one that tells greenlets
    # apart. The process, because a forked child has a copy of the context.
    return os.getpid(), threading.get_ident()
