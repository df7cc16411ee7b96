"""Outboxes that write each event within its log call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .base import BaseOutbox, InterruptedInsert, OnError, Outcome, Row
from .driver import State, find_driver
from .errors import format_database_error, is_raised_by_signal_handler

if TYPE_CHECKING:
    from .connections import Source
    from .driver import Driver


class SyncOutbox(BaseOutbox):
    """
    Writes each event at once, through the connection of *source*.

    A signal handler or a finalizer may log an event while the connection is in the
    middle of a statement. That event waits for the next one, or for `finish`.

    Exceptions that leave an insert lose their traceback: its frames hold the event.
    """

    def __init__(
        self, source: Source, table: str, account: str, on_error: OnError
    ) -> None:
        super().__init__(table, account, on_error)
        self._source = source
        self._waiting: deque[Row] = deque()
        self._is_writing = False

    def put(self, row: Row) -> None:
        """Write *row*, or keep it while the connection is in use."""
        self._waiting.append(row)
        self.write_waiting(is_final=False)

    def finish(self) -> None:
        """Write what waits; raise what a signal handler raises meanwhile."""
        try:
            self.write_waiting(is_final=True)
        except InterruptedInsert as interruption:
            raise interruption.error from None

    def discard(self, outcome: Outcome = Outcome.ROLLED_BACK) -> None:
        """Settle what waits with *outcome*: its transaction has ended."""
        while self._waiting:
            self._waiting.popleft().settle(outcome)

    def write_waiting(self, *, is_final: bool) -> None:
        """
        Write what waits.

        Args:
            is_final: Whether a row that cannot be written now is a failure.
        """
        if self._is_writing:  # this interrupted the loop below, which goes on
            return
        try:
            # Inside `try`: a signal handler may raise right after it.
            self._is_writing = True
            while self._waiting:
                if not self._write_first(is_final=is_final):
                    return
        finally:
            self._is_writing = False

    def _write_first(self, *, is_final: bool) -> bool:
        """Write the oldest row; return False if it has to wait."""
        row = raw = driver = None
        try:
            # Removed when it is settled: a signal handler may raise at any line.
            row = self._waiting[0]
            raw = self._source.open()
            driver = find_driver(raw)
            if driver is None:
                self._fail_first(row, f"its connection is a {type(raw).__name__}")
                return True
            state = driver.read_state(raw)
            if state is State.ACTIVE and not is_final:
                return False
            cause = STATE_ERRORS.get(state)
            if cause is not None:
                self._fail_first(row, cause)
            elif self.should_abort:
                driver.insert(raw, row.insert, row.parameters)
                self._remove(row)
                row.settle(Outcome.WRITTEN)
            else:
                driver.insert_in_savepoint(raw, row.insert, row.parameters)
                self._remove(row)
                row.settle(Outcome.WRITTEN)
        except Exception as error:
            if row is None or is_raised_by_signal_handler(error):
                self._interrupt(row, driver, raw)
                raise InterruptedInsert(error.with_traceback(None)) from None
            is_closed = driver is not None and driver.read_state(raw) is State.CLOSED
            cause = format_database_error(error, row.table, is_closed=is_closed)
            self._fail_first(row, cause)
            if driver is not None and self.should_abort:
                driver.abort(raw)
        except BaseException as error:  # KeyboardInterrupt, a time limit of gevent
            self._interrupt(row, driver, raw)
            raise error.with_traceback(None) from None
        return True

    def _fail_first(self, row: Row, cause: str) -> None:
        self._remove(row)
        self.fail(row, cause)

    def _remove(self, row: Row) -> None:
        """Remove *row*, the oldest one, unless that was done."""
        if self._waiting and self._waiting[0] is row:
            self._waiting.popleft()

    def _interrupt(self, row: Row | None, driver: Driver | None, raw: Any) -> None:
        """Count *row*, which may be written; see `Row.settle` if it was counted."""
        if row is None:
            return
        self._remove(row)
        row.settle(Outcome.IN_DOUBT)
        if self.should_abort:
            self.failures += 1
            if driver is not None:
                driver.abort(raw)


STATE_ERRORS: dict[State, str] = {
    State.ACTIVE: "the connection is in the middle of another statement",
    State.FAILED: "an earlier statement of the transaction had failed",
    State.CLOSED: "the connection is closed",
}
"""Why nothing can be written in a state of the connection."""
