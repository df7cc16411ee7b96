"""A look into a spool file that may belong to somebody else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._spoolfile import APPLICATION, SIZES, Foreign, delete, translated


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that ODP rejected, with its reason; `buried` in epoch seconds."""

    number: int
    body: bytes
    reason: str
    buried: float


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
