"""The errors of spool files, and the translation of SQLite's exceptions into them.

All modules of this folder that call SQLite use it. The callers of a spool file, the
store and the commands, catch `SpoolError` and do not know of `sqlite3`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class SpoolError(Exception):
    """The file cannot be read or written; the message gives the cause."""


class UnwritableError(SpoolError):
    """Writing fails at present, for example because the disk is full or read-only."""


class DamagedError(SpoolError):
    """The file is not a database, or a damaged one."""


class ForeignFileError(SpoolError):
    """The file is a database of another program or of another version."""


class UnsafeFileError(SpoolError):
    """The file differs from what this library writes, or takes too long to read."""


# Parts of SQLite's messages: error codes are attributes only since Python 3.11.
_TRANSIENT_MESSAGES = (
    "full",
    "readonly",
    "read-only",
    "unable to open",
    "locked",
    "busy",
    "disk I/O",
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate exceptions of SQLite into `SpoolError`."""
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        raise translate_error(error) from None


def translate_error(error: Exception) -> SpoolError:
    """Return the `SpoolError` for an exception of SQLite."""
    if isinstance(error, OverflowError):
        return UnwritableError("an event is larger than SQLite accepts")
    if isinstance(error, UnicodeError):
        return DamagedError("its text is not UTF-8")
    text = str(error)
    if text == "interrupted":  # by the progress handler of a read-only connection
        return UnsafeFileError("it takes too long to read")
    if text == "not authorized":  # by `SpoolFile.close_inherited`
        return UnwritableError(
            "it belongs to the process that this one was forked from"
        )
    # Other errors than OperationalError, such as DatabaseError, mean damage, whatever
    # their message contains.
    is_transient = isinstance(error, sqlite3.OperationalError) and any(
        part in text for part in _TRANSIENT_MESSAGES
    )
    return UnwritableError(text) if is_transient else DamagedError(text)
