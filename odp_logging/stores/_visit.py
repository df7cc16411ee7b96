"""A look into a spool file that may belong to somebody else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._spoolfile import APPLICATION, SIZES, Foreign, delete, translated


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that ODP rejected, with its reason; `buried` in epoch seconds."""

    number: int
    body: bytes
    reason: str
    buried: float


class Glance:
    """
    A look at a spool file as it is at one moment: makes nothing, holds up nobody.

    Raises:
        SpoolError: It cannot be read, or is no spool file.
    """

    def __init__(self, path: Path) -> None:
        with translated():
            self._connection = _opened_to_read(path)
            try:
                # All that follows sees the file as it is at this first question.
                self._connection.execute("BEGIN")
                found = self._connection.execute("PRAGMA application_id").fetchone()
                if found[0] != APPLICATION:
                    raise Foreign("it is a database of another program")
            except BaseException:
                self._connection.close()
                raise

    def _ask(self, question: str, *values: object) -> list[Any]:
        with translated():
            return self._connection.execute(question, values).fetchall()

    def totals(self) -> tuple[int, int, int]:
        """Return how many events and dead letters are there, and their bytes."""
        ((count, size),) = self._ask(SIZES + "events")
        ((dead, more),) = self._ask(SIZES + "dead")
        return count, dead, size + more

    def numbers(self) -> set[int]:
        """Return the numbers of all events that wait."""
        return {row[0] for row in self._ask("SELECT number FROM events")}

    def dead_numbers(self) -> set[int]:
        """Return the numbers of all dead letters."""
        return {row[0] for row in self._ask("SELECT number FROM dead")}

    def event(self, number: int) -> bytes | None:
        """Return one event; None if there is none of that *number*."""
        found = self._ask("SELECT body FROM events WHERE number = ?", number)
        return found[0][0] if found else None

    def letter(self, number: int) -> tuple[bytes, str] | None:
        """Return the body and the reason of one dead letter."""
        found = self._ask("SELECT body, reason FROM dead WHERE number = ?", number)
        return (found[0][0], found[0][1]) if found else None

    def __enter__(self) -> Glance:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """
    Return a connection that makes no file, as opening a WAL database does otherwise.

    Beside a file that nobody has open there is no shared index, and nobody to share it
    with: what is there is all there is.
    """
    shared = path.with_name(f"{path.name}-shm").exists()
    logged = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro&readonly_shm=1" if shared else "mode=ro"
    if not shared and not logged:
        how = "mode=ro&immutable=1"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=0.5, isolation_level=None
    )


class Visit:
    """
    A look into a spool file that may belong to somebody else, a living process even.

    Raises:
        SpoolError: It cannot be read, or is no spool file.
    """

    def __init__(self, path: Path) -> None:
        with translated():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=2.0,
                isolation_level=None,
            )
            try:
                found = self._connection.execute("PRAGMA application_id").fetchone()
                self.count, self.size = self._ask("events")
                self.dead_count, self.dead_size = self._ask("dead")
            except BaseException:
                self._connection.close()
                raise
        if found[0] != APPLICATION:
            self._connection.close()
            raise Foreign("it is a database of another program")

    def _ask(self, table: str) -> tuple[int, int]:
        count, size = self._connection.execute(SIZES + table).fetchone()
        return count, size

    def first(self) -> bytes | None:
        """Return the oldest event; None if there is none."""
        with translated():
            row = self._connection.execute(
                "SELECT body FROM events ORDER BY number LIMIT 1"
            ).fetchone()
        return row[0] if row else None

    def events(self) -> Iterator[bytes]:
        """Yield all events, the oldest first."""
        with translated():
            rows = self._connection.execute("SELECT body FROM events ORDER BY number")
            for row in rows:
                yield row[0]

    def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters, the oldest first."""
        with translated():
            rows = self._connection.execute(
                "SELECT number, body, reason, buried FROM dead ORDER BY number"
            ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def exhume(self, numbers: Sequence[int]) -> None:
        """Forget the dead letters with *numbers*."""
        with translated():
            self._connection.execute("BEGIN IMMEDIATE")
            delete(self._connection.execute, "dead", numbers)
            self._connection.execute("COMMIT")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
