"""Recover events from a damaged spool file and its write-ahead log.

Used by the store for its own file and by the scan for orphaned ones. The database is
rebuilt in a second file from the pages of the log, and read from there: with SQLite as
far as it can, then page by page. Each row has its own checksum, so a wrong correction
cannot pass.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .connection import open_read_only
from .errors import SpoolError, translate_errors
from .file_lock import FileLock
from .pages import PageReader, read_leaf
from .schema import DeadLetterRow, Row, read_readable_rows, verify_tables
from .wal import Frame, WriteAheadLog


class RecoveredRows(NamedTuple):
    """Events and dead letters that could be recovered."""

    rows: list[Row]
    letters: list[DeadLetterRow]


def recover_file(file_lock: FileLock, valid: int = 0) -> tuple[RecoveredRows, str]:
    """
    Read a damaged file, then rename it.

    Args:
        valid: Frames at the start of its log that SQLite has found intact.

    Returns:
        The readable rows, and the file's new name.
    """
    recovered = _read_damaged(file_lock.path, valid)
    try:
        return recovered, file_lock.rename_with_suffix("damaged").name
    except OSError:
        return recovered, file_lock.path.name


def _read_damaged(path: Path, valid: int) -> RecoveredRows:
    log = WriteAheadLog(path)
    image = path.with_name(f"{path.name}.rescue")
    rows: dict[int, Row] = {}
    letters: dict[int, DeadLetterRow] = {}
    try:
        for frames in _build_versions(log.read_frames(valid)):
            _build_image(path, frames, image, log.page_size)
            version = _read_image(image, log.page_size)
            # Rows of earlier, better versions win.
            valid_rows = {row.number: row for row in version.rows if row.is_intact}
            rows = {**valid_rows, **rows}
            letters = {**{row.number: row for row in version.letters}, **letters}
    except OSError:
        pass  # disk full: return the rows found so far
    finally:
        image.unlink(missing_ok=True)
    return RecoveredRows(
        [rows[number] for number in sorted(rows)],
        [letters[number] for number in sorted(letters)],
    )


def _build_versions(frames: list[Frame]) -> list[list[Frame]]:
    """Return the frame lists to try: the best one first."""
    # First with the best version of each page, then with other corrections, then
    # without the damaged frames, so that older versions of those pages are read.
    versions = [frames]
    for index, frame in enumerate(frames):
        for content in frame.candidates:
            other = frame._replace(content=content)
            versions.append([*frames[:index], other, *frames[index + 1 :]])
    if not all(frame.is_intact for frame in frames):
        versions.append([frame for frame in frames if frame.is_intact])
    return versions


def _build_image(path: Path, frames: list[Frame], image: Path, size: int) -> None:
    """Write the database of *path* with the pages of *frames* to *image*."""
    image.unlink(missing_ok=True)
    # O_EXCL and O_NOFOLLOW: events are never written to a file that another user made.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(image, flags, 0o600), "wb") as file:
        with open(path, "rb") as database:
            shutil.copyfileobj(database, file)
        pages = file.tell() // size
        page_counts = [
            frame.commit for frame in frames if frame.commit and frame.is_intact
        ]
        pages = page_counts[-1] if page_counts else pages
        for frame in frames:
            if 1 <= frame.page <= pages:
                file.seek((frame.page - 1) * size)
                file.write(frame.content)
        file.truncate(pages * size)
        # Header fields: not in WAL mode (18), database size in pages (28).
        for offset, content in ((18, b"\1\1"), (28, pages.to_bytes(4, "big"))):
            if pages:
                file.seek(offset)
                file.write(content)


def _read_image(image: Path, size: int) -> RecoveredRows:
    """
    Return the rows of the database *image*.

    If SQLite cannot read all of it, or must not, each page is parsed here.
    """
    rows: list[Row] = []
    letters: list[DeadLetterRow] = []
    try:
        with translate_errors(), closing(open_read_only(image)) as connection:
            # Otherwise SQLite refuses to read a truncated file.
            connection.execute("PRAGMA writable_schema = ON")
            if verify_tables(connection):
                rows, letters, is_complete = read_readable_rows(connection)
                if is_complete:
                    return RecoveredRows(rows, letters)
    except SpoolError:
        pass
    _add_rows_of_pages(image, size, rows, letters)
    return RecoveredRows(rows, letters)


def _add_rows_of_pages(
    image: Path, size: int, rows: list[Row], letters: list[DeadLetterRow]
) -> None:
    """Parse all pages of *image*, and add the rows that SQLite has not read."""
    row_ids = {row.number for row in rows}
    dead_ids = {letter.number for letter in letters}
    with open(image, "rb") as file:
        reader = PageReader(file.fileno(), size)
        for page in range(1, reader.page_count):  # the first one has no rows
            for row in read_leaf(reader.read(page), reader):
                if isinstance(row, DeadLetterRow):
                    if row.number not in dead_ids:
                        letters.append(row)
                elif row.number not in row_ids:
                    rows.append(row)
