"""Open SQLite connections to spool files, and verify files before they are trusted.

A file in the directory may be damaged, or another program's, or made to block or to
run code. `verify` reads it without changing it; only then is it opened for writing.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .errors import DamagedError, UnsafeFileError, translate_errors
from .file_lock import PARTS
from .schema import CREATE_TABLES, FileSummary, read_summary, verify_tables
from .wal import is_header_intact

# Imported here and not in a log call: a signal handler's exception during an import
# leaves Python's import lock held for good (CPython up to 3.13).
try:
    import ctypes
except ImportError:  # not CPython, or built without it
    ctypes = None  # type: ignore[assignment]

PAGE_BYTES = 4096
"""SQLite's page size; each transaction adds at least one page to the log."""

AUTOCHECKPOINT_PAGES = 2000
"""Pages in the log after which SQLite makes the checkpoint within a commit."""

_WAL_SIZE_LIMIT_BYTES = 9_000_000
"""Bytes of the log that are kept after a checkpoint: overwriting is cheaper."""

_BUSY_TIMEOUT_SECONDS = 1.0
"""How long a log call waits for another process that reads or closes the file."""

_INSTRUCTIONS_PER_CHECK = 100_000
"""Instructions of SQLite's virtual machine between two checks of the limit."""

_MIN_INSTRUCTIONS = 10_000_000
_FILE_BYTES_PER_INSTRUCTION = 4
"""A row has 150 bytes or more and takes 10 instructions to count. One instruction
for 4 bytes allows 4 times as many as all scans of a file take."""


def open_spool(path: Path) -> tuple[sqlite3.Connection, FileSummary]:
    """
    Open the file at *path*, which this process owns; create its tables if it has none.

    Returns:
        The connection, which any thread may use, one at a time, and the file's sizes.

    Raises:
        SpoolError: It cannot be opened, or is no spool file.
    """
    # A read-only connection verifies it, so that files that are not spools stay
    # unchanged.
    summary = None if is_new_file(path) else verify(path)
    with translate_errors():
        connection = sqlite3.connect(
            path,
            # isolation_level=None: `transaction` begins transactions, and not Python.
            timeout=_BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    keep_open(connection)
    try:
        with translate_errors():
            _configure(connection)
            if summary is None:
                connection.executescript(CREATE_TABLES)
    except BaseException:
        connection.close()
        raise
    return connection, FileSummary() if summary is None else summary


def _configure(connection: sqlite3.Connection) -> None:
    execute = connection.execute
    execute("PRAGMA trusted_schema = OFF")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = NORMAL")
    # Overwrites delivered events with zeros in the file, though not in the log. The
    # cost is not measurable.
    execute("PRAGMA secure_delete = ON")
    execute(f"PRAGMA journal_size_limit = {_WAL_SIZE_LIMIT_BYTES}")
    execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[Any]:
    """
    Yield the connection's `execute`, within one transaction.

    Raises:
        SpoolError: Nothing was changed.
    """
    with translate_errors():
        if connection.in_transaction:
            # A signal handler's exception interrupted an earlier one.
            connection.execute("ROLLBACK")
        # Not deferred: a transaction that first reads, then writes, would fail at once
        # instead of waiting if another connection wrote in between.
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection.execute
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def open_writable(path: Path, timeout: float) -> sqlite3.Connection:
    """
    Return one more connection to an existing file; creates no file.

    Any thread may use it, one at a time.

    Args:
        timeout: Seconds to wait for another connection's transaction.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def open_read_only(path: Path, *, is_owned: bool = False) -> sqlite3.Connection:
    """
    Return a read-only connection that creates no file.

    Opening a WAL database usually creates the shared index (-shm). Without -shm and
    -wal no process has the file open, so it can be read as immutable.

    Args:
        is_owned: Whether this process owns the file, so the index may be rebuilt.

    Raises:
        UnsafeFileError: A part of it is no regular file.
        DamagedError: The start of its log is damaged.
        sqlite3.Error: It cannot be opened.
    """
    size = measure_regular(path)
    has_index = os.path.exists(f"{path}-shm")
    has_log = os.path.exists(f"{path}-wal")
    mode = "mode=ro"
    if has_index and not is_owned:
        mode = "mode=ro&readonly_shm=1"
        if not is_header_intact(path):
            # SQLite would retry for 10 seconds.
            raise DamagedError("the start of its write-ahead log")
    if not has_index and not has_log:
        mode = "mode=ro&immutable=1"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=0.5,
        isolation_level=None,
    )
    _limit_instructions(
        connection, _MIN_INSTRUCTIONS + size // _FILE_BYTES_PER_INSTRUCTION
    )
    # Functions that a file's schema calls are then restricted to harmless ones.
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _limit_instructions(connection: sqlite3.Connection, count: int) -> None:
    """Interrupt queries after *count* instructions: a hostile file may never end."""
    left = count // _INSTRUCTIONS_PER_CHECK

    def is_too_long() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    connection.set_progress_handler(is_too_long, _INSTRUCTIONS_PER_CHECK)


def measure_regular(path: Path) -> int:
    """
    Return the bytes on disk of the file at *path* and its log.

    Raises:
        UnsafeFileError: A part is not a regular file; opening a named pipe could block.
    """
    size = 0
    for part in PARTS:
        try:
            status = os.lstat(f"{path}{part}")
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFileError("a part of it is not a regular file")
        size += status.st_blocks * 512
    return size


def is_new_file(path: Path) -> bool:
    """Whether the file at *path* was created and not written to yet."""
    try:
        has_log = os.path.exists(f"{path}-wal")
        return os.stat(path).st_size == 0 and not has_log
    except OSError:
        return False


def verify(path: Path) -> FileSummary | None:
    """
    Return the sizes of the file at *path*; None if it is a database without tables.

    Raises:
        SpoolError: It is not a spool file, is damaged, or is unsafe to open.
    """
    with translate_errors(), closing(open_read_only(path, is_owned=True)) as connection:
        return read_summary(connection) if verify_tables(connection) else None


def keep_open(connection: sqlite3.Connection) -> None:
    """
    Leak a reference to *connection*, so that only an explicit close() closes it.

    SQLite forbids any use of an inherited connection in a forked child, even closing
    it, which Python would do when the child exits. Its descriptors may be other files
    by then (a daemon closes all), and a thread missing in the child may hold its mutex.
    """
    try:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    except AttributeError:  # not CPython
        pass


def deny_all(connection: sqlite3.Connection) -> None:
    """Let each further statement of *connection* fail with "not authorized"."""
    connection.set_authorizer(_deny)


def _deny(*action: object) -> int:
    return sqlite3.SQLITE_DENY
