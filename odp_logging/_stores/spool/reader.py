"""Read spool files that another process may own, for the commands.

Nothing here acquires a file: events are only read, and dead letters deleted. The
commands may so look into a spool while a process writes to it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from ..._runtime.lock import monotonic
from .connection import open_read_only, open_writable, transaction
from .errors import UnwritableError, translate_errors
from .schema import (
    BODY_COLUMN,
    LETTER_COLUMNS,
    DeadLetterRow,
    FileSummary,
    delete_rows,
    parse_letter,
    read_summary,
    verify_tables,
)

_OPEN_TIMEOUT_SECONDS = 1.0
"""How long opening a file is retried while its owner may be closing it."""

_DELETE_TIMEOUT_SECONDS = 2.0
"""How long deleting dead letters waits for the owner's transaction."""

SnapshotType = TypeVar("SnapshotType", bound="SpoolSnapshot")


class SpoolSnapshot:
    """
    Reads a spool file as it was when opened; creates no file and blocks no writer.

    Raises:
        SpoolError: It cannot be read, or is no spool file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with translate_errors():
            self._connection = open_read_only(path)
            try:
                # The transaction makes all later queries see the same state. In WAL
                # mode it blocks no writer.
                self._connection.execute("BEGIN")
                self._has_tables = verify_tables(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def _query(self, query: str, *values: object) -> list[Any]:
        if not self._has_tables:
            return []
        with translate_errors():
            return self._connection.execute(query, values).fetchall()

    def read_totals(self) -> tuple[int, int, int]:
        """Return the numbers of events and of dead letters, and the bytes of both."""
        summary = self.read_summary()
        size = summary.event_bytes + summary.letter_bytes
        return summary.events, summary.letters, size

    def read_summary(self) -> FileSummary:
        """Return the numbers and bytes of events and dead letters."""
        with translate_errors():
            return read_summary(self._connection) if self._has_tables else FileSummary()

    def read_row_ids(self) -> set[int]:
        """Return the numbers of all unsent events."""
        return {row[0] for row in self._query("SELECT number FROM events")}

    def read_dead_ids(self) -> set[int]:
        """Return the numbers of all dead letters."""
        return {row[0] for row in self._query("SELECT number FROM dead")}

    def read_event(self, number: int) -> bytes | None:
        """Return the body of event *number*; None if it is not in the file."""
        rows = self._query(f"SELECT {BODY_COLUMN} FROM events WHERE number = ?", number)
        return rows[0][0] if rows else None

    def read_dead_letter(self, number: int) -> tuple[bytes, str] | None:
        """Return body and reason of dead letter *number*; None if it is not there."""
        query = f"SELECT {LETTER_COLUMNS} FROM dead WHERE number = ?"
        letters = [parse_letter(*row) for row in self._query(query, number)]
        return (letters[0].body, letters[0].reason) if letters else None

    def __enter__(self: SnapshotType) -> SnapshotType:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()


class SpoolReader(SpoolSnapshot):
    """
    Reads a spool file that a living process may own; retries while it is being closed.

    Raises:
        SpoolError: It cannot be read, or is no spool file.
    """

    def __init__(self, path: Path) -> None:
        deadline = monotonic() + _OPEN_TIMEOUT_SECONDS
        while True:
            try:
                super().__init__(path)
                break
            except UnwritableError:
                # Its owner may be closing it, which removes the -wal and -shm files.
                if monotonic() > deadline or not path.exists():
                    raise
            threading.Event().wait(0.02)
        try:
            self.count, self.size, self.dead_count, self.dead_size = self.read_summary()
        except BaseException:
            self._connection.close()
            raise

    def read_first_event(self) -> bytes | None:
        """Return the body of the oldest event; None if there is none."""
        rows = self._query(f"SELECT {BODY_COLUMN} FROM events ORDER BY number LIMIT 1")
        return rows[0][0] if rows else None

    def read_dead_letters(self) -> list[DeadLetterRow]:
        """Return all dead letters, the oldest first."""
        rows = self._query(f"SELECT {LETTER_COLUMNS} FROM dead ORDER BY number")
        return [parse_letter(*row) for row in rows]

    def delete_dead_letters(self, dead_ids: Sequence[int]) -> None:
        """Delete the dead letters with *dead_ids*."""
        with translate_errors():
            # Another connection: that of the snapshot is read-only and within a
            # transaction.
            connection = open_writable(self._path, _DELETE_TIMEOUT_SECONDS)
            with closing(connection):
                connection.execute("PRAGMA trusted_schema = OFF")
                # As in the owner's connection: the setting is not stored in the file.
                connection.execute("PRAGMA secure_delete = ON")
                with transaction(connection) as execute:
                    delete_rows(execute, "dead", dead_ids)
