"""Read and write one spool file: a SQLite database of events and dead letters.

Used by the spool store, the scan for orphaned files and the commands. In WAL mode
with ``synchronous=NORMAL`` a commit survives any end of the process; a power loss may
undo the last commits (SQLite, "Write-Ahead Log").
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing

from .checkpoint import Checkpointer
from .connection import PAGE_BYTES, deny_all, open_spool, transaction
from .errors import (
    DamagedError,
    SpoolError,
    UnwritableError,
    translate_error,
    translate_errors,
)
from .file_lock import FileLock
from .schema import (
    EVENT_COLUMNS,
    ROW_OVERHEAD_BYTES,
    SELECT_SUMMARY,
    DeadLetterRow,
    Row,
    delete_rows,
    insert_dead_letter,
    parse_row,
    read_readable_rows,
    select_first,
    sum_row_bytes,
)

_VACUUM_AFTER_PAGES = 256
"""Up to this many free pages are kept; rewriting the file would cost more."""

_ROWS_PER_STATEMENT = 64
"""SQLite before 3.32 accepts at most 999 values in one statement."""

_INSERTS = [
    "INSERT INTO events VALUES " + ", ".join(["(?, ?, ?)"] * count)
    for count in range(_ROWS_PER_STATEMENT + 1)
]


class SpoolFile:
    """
    Stores the events of one file in the order of their numbers.

    Used by one thread at a time, except its `checkpointer`. The counts are in memory:
    `count` events of `size` bytes, `dead_count` dead letters of `dead_size` bytes.

    Args:
        file_lock: Lock on the file, held for as long as the file is open.

    Raises:
        SpoolError: It cannot be opened.
    """

    def __init__(self, file_lock: FileLock) -> None:
        self.file_lock = file_lock
        self.checkpointer = Checkpointer(file_lock)
        self._settled: set[int] = set()
        """Numbers of settled events that could not be deleted, as the disk was full."""
        self._first: int | None = None
        """Number of the oldest event, if it is known."""
        self._connection, summary = open_spool(file_lock.path)
        self.count, self.size, self.dead_count, self.dead_size = summary
        # Only now do all parts of the file exist.
        file_lock.record_file_identities()

    def read_counts(self) -> None:
        """Read the counts from the file."""
        execute = self._connection.execute
        if self._connection.in_transaction:
            execute("ROLLBACK")  # a signal handler's exception interrupted it
        self.count, self.size = execute(SELECT_SUMMARY + "events").fetchone()
        self.dead_count, self.dead_size = execute(SELECT_SUMMARY + "dead").fetchone()
        self._first = None
        self.count -= len(self._settled)

    def add(self, bodies: Sequence[bytes], first: int) -> None:
        """
        Write *bodies*, numbered from *first*, in one transaction.

        Raises:
            SpoolError: None was written.
        """
        size = 0
        values: list[int | bytes] = []
        for number, body in enumerate(bodies, first):
            values += (number, body, zlib.crc32(body))
            size += len(body) + ROW_OVERHEAD_BYTES
        if not bodies:
            return
        if len(bodies) <= _ROWS_PER_STATEMENT:
            # One statement, which is its own transaction: each call of SQLite releases
            # the GIL and has to wait until other threads release it again.
            try:
                self._connection.execute(_INSERTS[len(bodies)], values)
            except (sqlite3.Error, OverflowError) as error:
                raise translate_error(error) from None
        else:
            rows = zip(values[0::3], values[1::3], values[2::3], strict=True)
            with transaction(self._connection):
                self._connection.executemany(_INSERTS[1], rows)
        self.count += len(bodies)
        self.size += size
        self.checkpointer.log_bytes += size + PAGE_BYTES

    def copy_from(self, other: SpoolFile) -> None:
        """
        Write all rows of *other* by the same numbers, in one transaction.

        Raises:
            SpoolError: Nothing was written.
        """
        # Rows and not the file: its name may refer to another file by now.
        settled = other.settled
        with transaction(self._connection) as execute:
            for table, placeholders in (
                ("events", "?, ?, ?"),
                ("dead", "?, ?, ?, ?, ?"),
            ):
                for row in other._connection.execute(f"SELECT * FROM {table}"):
                    if table == "dead" or row[0] not in settled:
                        execute(f"INSERT INTO {table} VALUES ({placeholders})", row)
        with translate_errors():
            self.read_counts()
        self.checkpointer.log_bytes += self.total_bytes

    def restore(
        self, rows: Sequence[Row], letters: Sequence[DeadLetterRow] = ()
    ) -> None:
        """
        Write *rows* and dead *letters* by their numbers, in one transaction.

        Raises:
            SpoolError: None was written.
        """
        with transaction(self._connection) as execute:
            for row in rows:
                # -1 fits no body: a damaged event stays marked as damaged.
                checksum = zlib.crc32(row.body) if row.is_intact else -1
                execute(_INSERTS[1], (row.number, row.body, checksum))
            for letter in letters:
                execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?)", letter)
        with translate_errors():
            self.read_counts()
        self.checkpointer.log_bytes += self.size

    def clear(self) -> None:
        """
        Delete all rows: they were copied, and another process may own this file.

        Raises:
            SpoolError: Nothing was deleted.
        """
        with transaction(self._connection) as execute:
            execute("DELETE FROM events")
            execute("DELETE FROM dead")

    def read_all_readable(self) -> list[Row]:
        """Return the readable events, reading from both ends up to the damage."""
        return read_readable_rows(self._connection)[0]

    def read(self, limit: int, max_bytes: int | None = None) -> list[Row]:
        """
        Return the oldest events.

        Args:
            limit: Maximum number of events.
            max_bytes: Bytes of events after which reading stops.

        Raises:
            SpoolError: The file cannot be read.
        """
        self._delete_settled()
        events: list[Row] = []
        size = 0
        # The cursor is closed before anything is written: an open one would keep a
        # checkpoint from restarting the log.
        with translate_errors(), closing(self._connection.cursor()) as rows:
            rows.execute(
                f"SELECT {EVENT_COLUMNS} FROM events ORDER BY number LIMIT ?",
                (limit + len(self._settled),),
            )
            for number, body, checksum in rows:
                if number in self._settled:
                    continue
                events.append(parse_row(number, body, checksum))
                size += len(events[-1].body)
                if len(events) == limit or (max_bytes is not None and size > max_bytes):
                    break
        return events

    def settle(self, accepted: Sequence[Row], rejected: Mapping[Row, str]) -> None:
        """Delete the *accepted* rows; turn the *rejected* ones into dead letters."""
        rows = [*accepted, *rejected]
        self._first = None
        # Before the transaction: if it fails or is interrupted, the events are still on
        # disk, but must not be sent again.
        self._settled.update(row.number for row in rows)
        self.count -= len(rows)
        size = sum_row_bytes(rows)
        self.size -= size
        self.checkpointer.log_bytes += size + PAGE_BYTES
        try:
            with transaction(self._connection) as execute:
                for row, reason in rejected.items():
                    insert_dead_letter(
                        execute, row.number, row.body, reason, is_intact=row.is_intact
                    )
                if delete_rows(execute, "events", self._settled) < len(rows):
                    # Otherwise they would be sent repeatedly.
                    raise DamagedError("events in it cannot be deleted")
        except UnwritableError:
            return  # deleted before the next read; `_settled` has their numbers
        self._settled.clear()
        self.dead_count += len(rejected)
        self.dead_size += sum_row_bytes(rejected)

    def _delete_settled(self) -> None:
        """Delete rows that could not be deleted when settled, as the disk was full."""
        if not self._settled:
            return
        try:
            with transaction(self._connection) as execute:
                delete_rows(execute, "events", self._settled)
        except UnwritableError:
            return
        self._settled.clear()

    def add_dead_letters(self, bodies: Mapping[int, tuple[bytes, str]]) -> None:
        """
        Write dead letters in one transaction.

        Args:
            bodies: Body and reason, by number.

        Raises:
            SpoolError: None was written.
        """
        with transaction(self._connection) as execute:
            for number, (body, reason) in bodies.items():
                insert_dead_letter(execute, number, body, reason)
        self.dead_count += len(bodies)
        self.dead_size += sum(
            [len(body) + ROW_OVERHEAD_BYTES for body, _ in bodies.values()]
        )

    def evict(
        self, excess: int, *, after: int = 0, limit: int
    ) -> tuple[list[Row], int]:
        """
        Drop *excess* bytes: the oldest dead letters, then the oldest events.

        Args:
            after: Number up to which events stay, because they are being sent.
            limit: Maximum number of events, and of dead letters, to drop.

        Returns:
            The dropped events, and the number of dropped dead letters.

        Raises:
            SpoolError: Nothing was dropped.
        """
        with transaction(self._connection) as execute:
            letters = execute("SELECT number, length(body) FROM dead LIMIT ?", (limit,))
            dead_ids, dead_bytes = select_first(letters, excess)
            events = execute(
                "SELECT number, length(body) FROM events WHERE number > ?"
                " ORDER BY number LIMIT ?",
                (after, limit),
            )
            row_ids, _ = select_first(events, excess - dead_bytes)
            # One by one: a query for all of them could have too many values.
            query = f"SELECT {EVENT_COLUMNS} FROM events WHERE number = ?"
            rows = [
                parse_row(*execute(query, (number,)).fetchone()) for number in row_ids
            ]
            delete_rows(execute, "dead", dead_ids)
            delete_rows(execute, "events", row_ids)
        self._first = None
        self.count -= len(rows)
        self.size -= sum_row_bytes(rows)
        self.dead_count -= len(dead_ids)
        self.dead_size -= dead_bytes
        return rows, len(dead_ids)

    def find_first_number(self) -> int | None:
        """Return the number of the oldest event; None if there is none."""
        if not self.count:
            return None
        if self._first is None:
            with translate_errors():
                row_ids = self._connection.execute(
                    "SELECT number FROM events ORDER BY number LIMIT ?",
                    (len(self._settled) + 1,),
                ).fetchall()
            remaining = [n for (n,) in row_ids if n not in self._settled]
            self._first = remaining[0] if remaining else None
        return self._first

    def find_last_number(self) -> int:
        """Return the largest number in use; 0 if there is none."""
        with translate_errors():
            (number,) = self._connection.execute(
                "SELECT max(coalesce((SELECT max(number) FROM events), 0),"
                " coalesce((SELECT max(number) FROM dead), 0))"
            ).fetchone()
        return int(number)

    def count_valid_frames(self) -> int:
        """Return the number of frames of its write-ahead log that SQLite has read."""
        with translate_errors():
            _, frames, _ = self._connection.execute("PRAGMA wal_checkpoint").fetchone()
        return int(frames)

    @property
    def settled(self) -> frozenset[int]:
        """Numbers of settled events that could not be deleted yet."""
        return frozenset(self._settled)

    @property
    def total_bytes(self) -> int:
        """Bytes of all events and dead letters."""
        return self.size + self.dead_size

    def is_empty(self) -> bool:
        """Whether the file has neither events nor dead letters."""
        return not (self.count or self.dead_count or self._settled)

    def compact(self) -> None:
        """Release free pages to the file system if most of the file is free."""
        try:
            with translate_errors():
                execute = self._connection.execute
                pages = execute("PRAGMA page_count").fetchone()[0]
                unused = execute("PRAGMA freelist_count").fetchone()[0]
                if unused > max(pages // 2, _VACUUM_AFTER_PAGES):
                    execute("VACUUM")
        except SpoolError:
            pass  # disk full: the file keeps its size

    def close(self, *, keep_time: int = 0) -> None:
        """
        Close the file, remove it if it is empty, and release the ownership.

        Args:
            keep_time: Modification time in ns to set; 0 sets none.
        """
        try:
            self._delete_settled()
            is_empty = self.is_empty()
        except SpoolError:
            is_empty = False
        # The modification time after the database, which writes when it is closed.
        self.close_database()
        if keep_time and not is_empty:
            self.file_lock.set_modified_time(keep_time)
        self.file_lock.release(remove=is_empty)

    def remove(self) -> None:
        """Close the database, and delete the parts of the file that are still owned."""
        self.close_database()
        self.file_lock.release(remove=True)

    def close_database(self) -> None:
        """Close the database, and keep the ownership."""
        self.checkpointer.close()
        if not self.file_lock.owns_file_name() and self.file_lock.path.exists():
            return  # closing would delete the write-ahead log of another file
        try:
            self._connection.close()
        except sqlite3.Error:
            pass

    def close_inherited(self, *, is_idle: bool) -> None:
        """
        Close the lock in a forked child; the file and its database are the parent's.

        Args:
            is_idle: Whether no other thread was within SQLite at the fork.
        """
        self.file_lock.close()
        if is_idle:
            # A signal handler may fork while this thread writes. In the child, the
            # interrupted write would continue into the parent's file.
            deny_all(self._connection)
