"""One spool file: a SQLite database of events that wait, and of dead letters.

In WAL mode with ``synchronous=NORMAL`` a commit survives the end of the process,
however it ends; a loss of power may undo the last ones (SQLite, "Write-Ahead Log").
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from .._lock import OwnedLock
from ._directory import Claim

# Not in a log call, which a time limit may cut off in the middle of it: that leaves
# Python's import lock held for good (CPython to 3.13).
try:
    import ctypes
except ImportError:  # not CPython, or built without it
    ctypes = None  # type: ignore[assignment]

VERSION = 1
"""Of the tables below, in ``PRAGMA user_version``."""

APPLICATION = 0x4F445053
"""``PRAGMA application_id``: the letters ODPS."""

ROW = 100
"""Bytes that a row takes besides its event, about."""

_PAGE = 4096

_TO_MOVE = 1000 * _PAGE
"""Bytes in the write-ahead log that are worth a checkpoint: SQLite's own measure."""

_LONGEST_LOG = 2000
"""Pages in it after which a commit has to make the checkpoint, if nobody else did."""

_LOG_KEPT = 9_000_000
"""Bytes of it that are kept for what comes next: to write over them is cheaper."""

_PATIENCE = 1.0
"""Seconds that who closes the file waits for a checkpoint to end."""

_SETUP = f"""
PRAGMA application_id = {APPLICATION};
BEGIN IMMEDIATE;
CREATE TABLE events (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE dead (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL,
    reason TEXT NOT NULL, buried REAL NOT NULL
);
PRAGMA user_version = {VERSION};
COMMIT;
"""
_AT_ONCE = 64
"""Rows in one statement; SQLite before 3.32 takes 999 values."""

_INSERTS = [
    "INSERT INTO events VALUES " + ", ".join(["(?, ?, ?)"] * count)
    for count in range(_AT_ONCE + 1)
]

SIZES = f"SELECT count(*), coalesce(sum(length(body)), 0) + {ROW} * count(*) FROM "


class SpoolError(Exception):
    """The file cannot be read or written; the message says why."""


class Unwritable(SpoolError):
    """Nothing can be written now: the disk is full, or forbids it."""


class Damaged(SpoolError):
    """The file is no database, or a broken one."""


class Foreign(SpoolError):
    """The file is a database of something else, or of a newer version."""


class Row(NamedTuple):
    """An event on disk."""

    number: int
    body: bytes
    sound: bool
    """Whether it is what was written."""


class SpoolFile:
    """
    The events of one file, in the order of their numbers.

    Used by one thread at a time. The books are in memory: `count` events of `size`
    bytes, `dead_size` bytes of dead letters.

    Args:
        claim: Ours for as long as the file is open.

    Raises:
        SpoolError: It cannot be opened.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.count = self.size = self.dead_count = self.dead_size = 0
        self._settled: set[int] = set()
        self._first: int | None = None
        self.moving = OwnedLock()
        """Held during a checkpoint."""
        self._mover: sqlite3.Connection | None = None
        self._logged = 0
        self._shut = False
        with translated():
            self._connection = sqlite3.connect(
                claim.path, timeout=1.0, isolation_level=None, check_same_thread=False
            )
        _keep_for_ever(self._connection)
        try:
            with translated():
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        ask = self._connection.execute
        ask("PRAGMA journal_mode = WAL")
        ask("PRAGMA synchronous = NORMAL")
        ask(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
        ask(f"PRAGMA wal_autocheckpoint = {_LONGEST_LOG}")
        version = ask("PRAGMA user_version").fetchone()[0]
        empty = not ask("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and empty:
            self._connection.executescript(_SETUP)
        elif ask("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise Foreign("it is a database of another program")
        elif version != VERSION:
            raise Foreign(f"version {version} of it is not known here")
        self.recount()

    def recount(self) -> None:
        """Read the books from the file."""
        ask = self._connection.execute
        if self._connection.in_transaction:  # an exception of a signal handler came
            ask("ROLLBACK")
        self.count, self.size = ask(SIZES + "events").fetchone()
        self.dead_count, self.dead_size = ask(SIZES + "dead").fetchone()
        self._first = None
        self.count -= len(self._settled)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with translated():
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def add(self, bodies: Sequence[bytes], first: int) -> None:
        """
        Write *bodies*, numbered from *first*: all, or none.

        Raises:
            SpoolError: None was written.
        """
        size = 0
        values: list[int | bytes] = []
        for number, body in enumerate(bodies, first):
            values += (number, body, zlib.crc32(body))
            size += len(body) + ROW
        if not bodies:
            return
        if len(bodies) <= _AT_ONCE:
            # One statement, and a transaction by itself: each call of SQLite lets other
            # threads have the interpreter, and comes back when they let go of it.
            try:
                self._connection.execute(_INSERTS[len(bodies)], values)
            except (sqlite3.Error, OverflowError) as error:
                raise in_our_words(error) from None
        else:
            rows = zip(values[0::3], values[1::3], values[2::3], strict=True)
            with self._transaction():
                self._connection.executemany(_INSERTS[1], rows)
        self.count += len(bodies)
        self.size += size
        self._logged += size + _PAGE

    def read(self, limit: int) -> list[Row]:
        """
        Return the oldest events, *limit* at most.

        Raises:
            SpoolError: The file cannot be read.
        """
        self._forget_settled()
        with translated():
            rows = self._connection.execute(
                "SELECT number, body, checksum FROM events ORDER BY number LIMIT ?",
                (limit + len(self._settled),),
            ).fetchall()
        fresh = [row_of(*row) for row in rows if row[0] not in self._settled]
        return fresh[:limit]

    def settle(self, gone: Sequence[Row], buried: Mapping[Row, str]) -> None:
        """Forget the rows that are *gone*, and bury those with a reason."""
        rows = [*gone, *buried]
        self._first = None
        self._settled.update(row.number for row in rows)
        self.count -= len(rows)
        size = sum([len(row.body) + ROW for row in rows])
        self.size -= size
        self._logged += size + _PAGE
        try:
            with self._transaction() as ask:
                for row, reason in buried.items():
                    _bury(ask, row.number, row.body, reason, sound=row.sound)
                delete(ask, "events", self._settled)
        except Unwritable:
            return  # known to be settled; tried again before the next read
        self._settled.clear()
        self._count_dead(buried.keys())

    def _forget_settled(self) -> None:
        """Delete what could not be deleted when it was settled: the disk was full."""
        if not self._settled:
            return
        try:
            with self._transaction() as ask:
                delete(ask, "events", self._settled)
        except Unwritable:
            return
        self._settled.clear()

    def checkpoint(self) -> None:
        """
        Move what was committed from the log into the file, if it is worth it.

        Any thread may do it while another one commits: it waits for the disk, which a
        log call had better not. On a connection of its own, for a connection serves one
        at a time.
        """
        if self._logged >= _TO_MOVE:
            self._logged = 0
            self.moving.run(self._move)

    def _move(self) -> None:
        if self._shut:  # perhaps somebody else's file by now
            return
        try:
            if self._mover is None:
                place = f"{self.claim.path.absolute().as_uri()}?mode=rw"
                self._mover = sqlite3.connect(
                    place, uri=True, isolation_level=None, check_same_thread=False
                )
                _keep_for_ever(self._mover)
            self._mover.execute("PRAGMA wal_checkpoint").fetchone()
        except sqlite3.Error:
            pass  # what is wrong with the file, who writes to it will be told
        if self._shut:  # meanwhile, by one who has not waited for us
            self._close_mover()

    def bury(self, bodies: Mapping[int, tuple[bytes, str]]) -> None:
        """
        Write dead letters, by number their body and reason.

        Raises:
            SpoolError: None was written.
        """
        with self._transaction() as ask:
            for number, (body, reason) in bodies.items():
                _bury(ask, number, body, reason)
        self.dead_count += len(bodies)
        self.dead_size += sum([len(body) + ROW for body, _ in bodies.values()])

    def _count_dead(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.dead_count += 1
            self.dead_size += len(row.body) + ROW

    def shrink(self, excess: int, after: int) -> tuple[list[Row], int]:
        """
        Drop *excess* bytes: the oldest dead letters, then the oldest events.

        Args:
            after: Number up to which events stay: they are on their way.

        Returns:
            The events that were dropped, and how many dead letters were.

        Raises:
            SpoolError: Nothing was dropped.
        """
        with self._transaction() as ask:
            dead = _oldest(ask("SELECT number, length(body) FROM dead"), excess)
            excess -= sum([length + ROW for _, length in dead])
            rows = ask(
                "SELECT number, length(body) FROM events WHERE number > ?"
                " ORDER BY number",
                (after,),
            )
            numbers = [number for number, _ in _oldest(rows, excess)]
            gone = []
            for number in numbers:
                row = "SELECT number, body, checksum FROM events WHERE number = ?"
                gone.append(row_of(*ask(row, (number,)).fetchone()))
            delete(ask, "dead", [number for number, _ in dead])
            delete(ask, "events", numbers)
        self._first = None
        self.count -= len(gone)
        self.size -= sum([len(row.body) + ROW for row in gone])
        self.dead_count -= len(dead)
        self.dead_size -= sum([length + ROW for _, length in dead])
        return gone, len(dead)

    def first(self) -> int | None:
        """Return the number of the oldest event; None if there is none."""
        if not self.count:
            return None
        if self._first is None:
            with translated():
                numbers = self._connection.execute(
                    "SELECT number FROM events ORDER BY number LIMIT ?",
                    (len(self._settled) + 1,),
                ).fetchall()
            left = [number for (number,) in numbers if number not in self._settled]
            self._first = left[0] if left else None
        return self._first

    def last(self) -> int:
        """Return the largest number in use; 0 if there is none."""
        with translated():
            found = self._connection.execute(
                "SELECT max(coalesce((SELECT max(number) FROM events), 0),"
                " coalesce((SELECT max(number) FROM dead), 0))"
            ).fetchone()
        return int(found[0])

    def frames(self) -> int:
        """Return how many frames of its write-ahead log SQLite has read."""
        with translated():
            found = self._connection.execute("PRAGMA wal_checkpoint").fetchone()
        return int(found[1])

    @property
    def settled(self) -> frozenset[int]:
        """Numbers of events that have left, and could not be deleted."""
        return frozenset(self._settled)

    def is_void(self) -> bool:
        """Whether the file holds nothing that anybody could want."""
        return not (self.count or self.dead_count or self._settled)

    def close(self) -> None:
        """Close the file, remove it if it is void, and let go of the claim."""
        try:
            self._forget_settled()
            void = self.is_void()
        except SpoolError:
            void = False
        self.shut()
        self.claim.release(remove=void)

    def shut(self) -> None:
        """Close the file, and keep the claim."""
        self._shut = True
        self.moving.run(self._close_mover, _PATIENCE)
        try:
            self._connection.close()
        except sqlite3.Error:
            pass

    def _close_mover(self) -> None:
        mover, self._mover = self._mover, None
        if mover is not None:
            mover.close()

    def abandon(self) -> None:
        """Leave the file to the parent, in a forked child."""
        self.claim.forget()


def _keep_for_ever(connection: sqlite3.Connection) -> None:
    """
    Have nobody close *connection* but us.

    SQLite forbids a forked child to do anything with what it inherits, even to close
    it, which Python would at the child's end: its files may be others by then (a daemon
    closes all), and a thread that the child does not have may hold its mutex.
    """
    try:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    except AttributeError:  # not CPython
        pass


def _oldest(rows: Iterable[tuple[int, int]], excess: int) -> list[tuple[int, int]]:
    """Return as many of *rows*, number and length, as make up *excess* bytes."""
    found = []
    for number, length in rows:
        if excess <= 0:
            break
        excess -= length + ROW
        found.append((number, length))
    return found


def delete(ask: Any, table: str, numbers: Iterable[int]) -> None:
    """Delete the rows with *numbers*: mostly one run of them, in one statement."""
    ordered = sorted(numbers)
    start = 0
    for place, number in enumerate(ordered, 1):
        if place == len(ordered) or ordered[place] != number + 1:
            run = ordered[start], number
            ask(f"DELETE FROM {table} WHERE number BETWEEN ? AND ?", run)
            start = place


def _bury(
    ask: Any, number: int, body: bytes, reason: str, *, sound: bool = True
) -> None:
    checksum = zlib.crc32(body) if sound else -1
    ask(
        "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)",
        (number, body, checksum, reason, time.time()),
    )


def row_of(number: int, body: Any, checksum: Any) -> Row:
    body = body if isinstance(body, bytes) else str(body).encode(errors="replace")
    return Row(number, body, zlib.crc32(body) == checksum)


_NOT_NOW = ("full", "readonly", "read-only", "unable to open", "locked", "busy")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLite raises into what this file says."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        raise in_our_words(error) from None


def in_our_words(error: Exception) -> SpoolError:
    """Return what this file raises for what SQLite raised."""
    if isinstance(error, OverflowError):
        return Unwritable("an event is larger than SQLite takes")
    text = str(error)
    passing = isinstance(error, sqlite3.OperationalError) and any(
        word in text for word in (*_NOT_NOW, "disk I/O")
    )
    return Unwritable(text) if passing else Damaged(text)
