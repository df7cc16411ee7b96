"""Make the WAL checkpoints of a spool file outside of log calls.

A checkpoint moves pages from the write-ahead log to the database file and waits for the
disk. `SpoolFile` reports what it writes; the flusher thread makes the checkpoint after
it has settled a batch.
"""

from __future__ import annotations

import sqlite3

from ..._runtime.lock import OwnedLock
from .connection import PAGE_BYTES, keep_open, open_writable
from .file_lock import FileLock

_CHECKPOINT_AFTER_BYTES = 1000 * PAGE_BYTES
"""Bytes in the log after which to checkpoint; SQLite's own default. Below
`connection.AUTOCHECKPOINT_PAGES`, so that a commit rarely has to make one."""

_BUSY_TIMEOUT_SECONDS = 5.0
"""How long a checkpoint waits for a lock of another connection; Python's default."""

_CLOSE_TIMEOUT_SECONDS = 1.0
"""How long closing the file waits for a running checkpoint."""


class Checkpointer:
    """
    Makes a checkpoint once enough was written to the log.

    It has a connection of its own, because a connection serves one thread at a time and
    log calls go on writing.

    Args:
        file_lock: Lock on the file.
    """

    def __init__(self, file_lock: FileLock) -> None:
        self.lock = OwnedLock()
        """Held during a checkpoint; a fork waits for it."""
        self.log_bytes = 0
        """Bytes written since the last checkpoint, added by the spool file. No method
        adds them, since each log call in crash mode writes."""
        self._file_lock = file_lock
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    def run_if_needed(self) -> None:
        """Make a checkpoint if the log is large enough. Thread-safe."""
        if self.log_bytes >= _CHECKPOINT_AFTER_BYTES:
            self.log_bytes = 0
            self.lock.run(self._run)

    def _run(self) -> None:
        if self._is_closed:  # another process may own the file by now
            return
        if not self._file_lock.owns_file_name():
            return  # the name refers to another file
        try:
            if self._connection is None:
                self._connection = open_writable(
                    self._file_lock.path, _BUSY_TIMEOUT_SECONDS
                )
                keep_open(self._connection)
            self._connection.execute("PRAGMA wal_checkpoint").fetchone()
        except sqlite3.Error:
            pass  # the next write reports what is wrong with the file
        if self._is_closed:  # meanwhile; `close` has not waited
            self._close_connection()

    def close(self) -> None:
        """Close the connection; a running checkpoint closes it when it ends."""
        # Set before the lock is acquired, so that a checkpoint that is still running
        # after the timeout sees it.
        self._is_closed = True
        self.lock.run(self._close_connection, _CLOSE_TIMEOUT_SECONDS)

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
