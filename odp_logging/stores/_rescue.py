"""What can still be read of a damaged spool file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ._directory import Claim
from ._spoolfile import Row, row_of


def committed_frames(path: Path) -> int:
    """
    Return how many frames of the write-ahead log of *path* were committed.

    SQLite stops at the first damaged frame, and says nothing of those behind it. The
    format is that of SQLite's "Database File Format", section 4.
    """
    try:
        log = path.with_name(path.name + "-wal").read_bytes()
    except OSError:
        return 0
    if len(log) < _HEADER:
        return 0
    page, salt = int.from_bytes(log[8:12], "big"), log[16:24]
    if not 512 <= page <= 65536:
        return 0
    committed = 0
    places = range(_HEADER, len(log) - page - _FRAME + 1, page + _FRAME)
    for number, place in enumerate(places, 1):
        ours = log[place + 8 : place + 16] == salt  # not of an earlier use of the file
        if ours and log[place + 4 : place + 8] != b"\0\0\0\0":
            committed = number
    return committed


_HEADER, _FRAME = 32, 24


def rescue(claim: Claim) -> tuple[list[Row], str]:
    """
    Set a damaged file aside.

    Returns:
        The events that could still be read, and the file's new name.
    """
    rows = [row for row in _salvage(claim) if row.sound]
    try:
        return rows, claim.set_aside("damaged").name
    except OSError:
        return rows, claim.path.name


def _salvage(claim: Claim) -> list[Row]:
    found: dict[int, Row] = {}
    for order in ("ASC", "DESC"):  # from both ends, each up to the damage
        try:
            with closing(sqlite3.connect(claim.path, timeout=1.0)) as connection:
                # Else a file that was cut short is not read at all.
                connection.execute("PRAGMA writable_schema = ON")
                for row in connection.execute(
                    f"SELECT number, body, checksum FROM events ORDER BY number {order}"
                ):
                    if row[0] in found:
                        break
                    found[row[0]] = row_of(*row)
        except (sqlite3.Error, TypeError, ValueError):
            continue
    return [found[number] for number in sorted(found)]
