"""Limit the bytes that ended processes have left in a spool, ``spool_max_bytes``.

The scan for orphaned files enforces the limit before it opens a file to send from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from . import directory as _directory
from .errors import SpoolError
from .file import SpoolFile
from .opener import FileOpener
from .ownership import OwnershipLock, claim_file, claim_orphans
from .schema import Row
from .warnings import SpoolWarnings

MAX_DROPPED_PER_SCAN = 1000
"""Limits memory: dropped events are kept in memory until `on_drop` was called."""


class OrphanQuota:
    """
    Drops the oldest events of orphaned files that exceed the limit together.

    Args:
        max_bytes: Bytes of events and dead letters in these files.
    """

    def __init__(
        self, max_bytes: int, opener: FileOpener, warnings: SpoolWarnings
    ) -> None:
        self.is_dropping = False
        """Whether `enforce` has more to drop than it does in one call."""
        self._max_bytes = max_bytes
        self._opener = opener
        self._warnings = warnings
        self._measured: dict[str, tuple[tuple[int, ...], int]] = {}
        """State on disk and bytes of each file that was opened to be measured."""

    def is_possibly_exceeded(self, paths: Iterable[Path]) -> bool:
        """Whether the files are larger than the limit; the events may be less."""
        # Cheap: no file is opened. In a write-ahead log one event may take a page.
        sizes = [_directory.measure_file(path) for path in paths]
        return sum(sizes) > self._max_bytes

    def enforce(self, paths: Sequence[Path]) -> list[Row]:
        """Drop at most `MAX_DROPPED_PER_SCAN` events of *paths*; return them."""
        # Each file is released once it was measured: its lock is not held while others
        # are opened, which may take long.
        sizes = dict(self._measure(ownership) for ownership in claim_orphans(paths))
        excess = sum(sizes.values()) - self._max_bytes
        dropped: list[Row] = []
        dropped_letters = 0
        self.is_dropping = False
        for path in sizes:
            if excess <= 0 or self.is_dropping:
                break
            file = self._reopen(path)
            if file is None:
                continue  # taken by another process meanwhile, or set aside
            before = file.total_bytes
            limit = MAX_DROPPED_PER_SCAN - len(dropped)
            rows, letters = _try_to_shrink(file, excess, limit)
            excess -= before - file.total_bytes
            dropped += rows
            dropped_letters += letters
            self.is_dropping = excess > 0 and len(dropped) >= MAX_DROPPED_PER_SCAN
            _close_unchanged(file)
        if dropped or dropped_letters:
            self._warnings.report_full_of_orphans(len(dropped), dropped_letters)
        return dropped

    def _measure(self, ownership: OwnershipLock) -> tuple[Path, int]:
        """
        Return the file's path and the bytes of its events; release the file.

        Its write-ahead log, in which one event may take a page, is checkpointed.
        """
        path = ownership.path
        state = _directory.read_file_state(path)
        measured = self._measured.get(path.name)
        if measured is not None and measured[0] == state:
            ownership.close()
            return path, measured[1]
        file = self._opener.open(ownership)
        if file is None:
            return path, 0
        file.compact()
        size = file.total_bytes
        _close_unchanged(file)
        path = file.ownership.path  # another path, if the file was damaged
        self._measured[path.name] = _directory.read_file_state(path), size
        return path, size

    def _reopen(self, path: Path) -> SpoolFile | None:
        ownership = claim_file(path)
        return self._opener.open(ownership) if ownership is not None else None


def _try_to_shrink(file: SpoolFile, excess: int, limit: int) -> tuple[list[Row], int]:
    try:
        return file.shrink(excess, limit=limit)
    except SpoolError:
        return [], 0


def _close_unchanged(file: SpoolFile) -> None:
    """Close *file*; keep its modification time, which gives the sending order."""
    path = file.ownership.path
    modified = _directory.read_file_state(path)[0]
    file.close(keep_time=modified)
