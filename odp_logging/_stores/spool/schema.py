"""The tables of a spool file, and how their rows are read and deleted.

The spool file, the reader of the commands and the recovery of damaged files use it. A
file may be damaged, or written by another program: nothing here trusts its content.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..._runtime.bounded_json import MAX_BYTES
from .errors import DamagedError, ForeignFileError, UnsafeFileError

VERSION = 1
"""Version of the tables below, stored in ``PRAGMA user_version``."""

APPLICATION = 0x4F445053
"""``PRAGMA application_id``: the letters ODPS."""

ROW_OVERHEAD_BYTES = 20
"""Approximate bytes of a row besides its event."""

# A checksum for each row, since SQLite has none. The column `buried` is `dead_since` in
# code: another name would be another version of the file.
_TABLES = {
    "events": """CREATE TABLE events (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL
)""",
    "dead": """CREATE TABLE dead (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL,
    reason TEXT NOT NULL, buried REAL NOT NULL
)""",
}

# One transaction: a crash in between leaves a file without tables, never with one.
CREATE_TABLES = f"""
PRAGMA application_id = {APPLICATION};
BEGIN IMMEDIATE;
{";".join(_TABLES.values())};
PRAGMA user_version = {VERSION};
COMMIT;
"""

_MAX_BODY_BYTES = MAX_BYTES
"""Longer bodies are not read, because longer JSON is not parsed."""

# Casts, because a damaged row may have any type. A body that is too long is read as
# an empty one.
BODY_COLUMN = (
    f"CASE WHEN length(body) <= {_MAX_BODY_BYTES} THEN CAST(body AS BLOB) ELSE x'' END"
)
EVENT_COLUMNS = f"number, {BODY_COLUMN}, coalesce(CAST(checksum AS INTEGER), -1)"

LETTER_COLUMNS = (
    f"{EVENT_COLUMNS}, coalesce(CAST(reason AS BLOB), x''),"
    " coalesce(CAST(buried AS REAL), 0)"
)

SELECT_SUMMARY = (
    "SELECT count(*),"
    f" coalesce(sum(length(body)), 0) + {ROW_OVERHEAD_BYTES} * count(*) FROM "
)


class FileSummary(NamedTuple):
    """Count and bytes of the events and of the dead letters in a file."""

    events: int = 0
    event_bytes: int = 0
    letters: int = 0
    letter_bytes: int = 0


class Row(NamedTuple):
    """An event on disk."""

    number: int
    body: bytes
    is_intact: bool
    """Whether the checksum fits the body."""


class DeadLetterRow(NamedTuple):
    """A dead letter on disk; `dead_since` in epoch seconds."""

    number: int
    body: bytes
    checksum: int
    reason: str
    dead_since: float


def verify_tables(connection: sqlite3.Connection) -> bool:
    """
    Whether the database has the tables of a spool; False if it has no tables.

    Raises:
        ForeignFileError: It belongs to another program or version.
        UnsafeFileError: It has tables, views or triggers that a spool does not have.
        DamagedError: A table is missing.
        sqlite3.Error: It cannot be read.
    """
    execute = connection.execute
    application = execute("PRAGMA application_id").fetchone()[0]
    version = execute("PRAGMA user_version").fetchone()[0]
    # A third entry is enough to refuse the file; a hostile one may have millions.
    entries = execute("SELECT type, name, sql FROM sqlite_master LIMIT 3").fetchall()
    if not entries and version == 0 and application in (0, APPLICATION):
        return False
    if application != APPLICATION:
        raise ForeignFileError("it is a database of another program")
    if version != VERSION:
        raise ForeignFileError(f"version {version} of it is not known here")
    for kind, name, sql in entries:
        # Views, triggers and generated columns could run code, or never end.
        is_own = kind == "table" and name in _TABLES
        if not is_own or not _is_same_sql(sql, _TABLES[name]):
            raise UnsafeFileError("its tables are not those of a spool")
    if len(entries) < len(_TABLES):
        raise DamagedError("a table is missing")
    return True


def _is_same_sql(sql: object, expected: str) -> bool:
    return isinstance(sql, str) and sql.split() == expected.split()


def read_summary(connection: sqlite3.Connection) -> FileSummary:
    """Return the counts and bytes of the spool file of *connection*."""
    execute = connection.execute
    return FileSummary(
        *execute(SELECT_SUMMARY + "events").fetchone(),
        *execute(SELECT_SUMMARY + "dead").fetchone(),
    )


def parse_row(number: int, body: Any, checksum: Any) -> Row:
    """Return the event of a row with `EVENT_COLUMNS`."""
    body = body if isinstance(body, bytes) else b""
    return Row(number, body, zlib.crc32(body) == checksum)


def parse_letter(
    number: int, body: bytes, checksum: int, reason: bytes, dead_since: float
) -> DeadLetterRow:
    """Return the dead letter of a row with `LETTER_COLUMNS`."""
    text = reason.decode(errors="replace")
    return DeadLetterRow(number, body, checksum, text, dead_since)


def read_readable_rows(
    connection: sqlite3.Connection,
) -> tuple[list[Row], list[DeadLetterRow], bool]:
    """Return the readable events and dead letters, and whether all are readable."""
    events = f"SELECT {EVENT_COLUMNS} FROM events ORDER BY number "
    letters = f"SELECT {LETTER_COLUMNS} FROM dead ORDER BY number "
    event_rows, all_events = _read_table(connection, events)
    letter_rows, all_letters = _read_table(connection, letters)
    return (
        [parse_row(*row) for row in event_rows],
        [parse_letter(*row) for row in letter_rows],
        all_events and all_letters,
    )


def _read_table(connection: sqlite3.Connection, query: str) -> tuple[list[Any], bool]:
    rows: dict[int, Any] = {}
    is_complete = True
    for order in ("ASC", "DESC"):  # from both ends, each up to the damage
        try:
            for row in connection.execute(query + order):
                if row[0] in rows:
                    break
                rows[row[0]] = row
        except (sqlite3.Error, TypeError, ValueError):
            is_complete = False
    return [rows[number] for number in sorted(rows)], is_complete


def sum_row_bytes(rows: Iterable[Row]) -> int:
    """Return the bytes of *rows*, as the limit counts them."""
    return sum([len(row.body) + ROW_OVERHEAD_BYTES for row in rows])


def select_first(rows: Iterable[tuple[int, int]], excess: int) -> tuple[list[int], int]:
    """
    Select the first of *rows*, number and length, that add up to *excess* bytes.

    Returns:
        Their numbers and bytes.
    """
    row_ids: list[int] = []
    selected = 0
    for number, length in rows:
        if selected >= excess:
            break
        selected += length + ROW_OVERHEAD_BYTES
        row_ids.append(number)
    return row_ids, selected


def insert_dead_letter(
    execute: Any, number: int, body: bytes, reason: str, *, is_intact: bool = True
) -> None:
    """Write a dead letter within the caller's transaction."""
    # -1 fits no body, so an event that was damaged stays marked as damaged.
    checksum = zlib.crc32(body) if is_intact else -1
    execute(
        "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)",
        (number, body, checksum, reason, time.time()),
    )


def delete_rows(execute: Any, table: str, row_ids: Iterable[int]) -> int:
    """
    Delete the rows with *row_ids*, with one statement per consecutive run.

    Returns:
        The number of deleted rows.
    """
    ordered = sorted(row_ids)
    count = start = 0
    for next_index, number in enumerate(ordered, 1):
        if next_index == len(ordered) or ordered[next_index] != number + 1:
            run = ordered[start], number
            cursor = execute(f"DELETE FROM {table} WHERE number BETWEEN ? AND ?", run)
            count += cursor.rowcount
            start = next_index
    return count
