"""Says in words why a database refused an event, without any value of it."""

from __future__ import annotations

from types import FrameType

from ..._stores.queue.postgresql.errors import format_state

_MESSAGES = {
    "25006": "the transaction is read-only",
    "25P02": "an earlier statement of the transaction had failed",
}
"""What a SQLSTATE means here, where the relays' words are about something else."""

_CLOSED = "the database closed the connection"


def format_database_error(
    error: BaseException, table: str, *, is_closed: bool = False
) -> str:
    """
    Return why the database refused an insert into *table*.

    Not the text of *error*, which may quote the statement with its values.

    Args:
        is_closed: Whether the connection is closed after the error.
    """
    # `sqlstate` in psycopg and asyncpg, `pgcode` in psycopg2.
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state in _MESSAGES:
        return _MESSAGES[str(state)]
    if state:
        return f"the database {format_state(str(state), table)}"
    return _CLOSED if is_closed else f"{type(error).__name__} was raised"


def is_raised_by_signal_handler(error: BaseException) -> bool:
    """
    Whether a signal handler raised *error*, as a time limit does.

    Python calls a handler with the number of the signal and the interrupted frame. No
    function that a database driver calls has a frame among its arguments.
    """
    traceback = error.__traceback__
    while traceback is not None:
        code, values = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
        if code.co_flags & _HAS_VARIABLE_ARGUMENTS:
            index = code.co_argcount + code.co_kwonlyargcount
            arguments += values.get(code.co_varnames[index]) or ()
        if any([type(value) is FrameType for value in arguments]):
            return True
        traceback = traceback.tb_next
    return False


_HAS_VARIABLE_ARGUMENTS = 0x04
"""Flag of the code of a function with ``*args``; see `inspect.CO_VARARGS`."""
