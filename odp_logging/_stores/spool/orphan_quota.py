"""Limit the bytes that ended processes have left in a spool, ``spool_max_bytes``.

The scan for orphaned files enforces the limit before it opens a file to send from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from . import directory as _directory
from .errors import SpoolError
from .file import SpoolFile
from .file_lock import FileLock, claim_file, claim_orphans
from .opener import FileOpener
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
        self.has_excess = False
        """Whether `enforce` has more to drop than it does in one call."""
        self._max_bytes = max_bytes
        self._opener = opener
        self._warnings = warnings
        self._size_cache: dict[str, tuple[tuple[int, ...], int]] = {}
        """State on disk and bytes of each file that was opened to be measured."""

    def is_possibly_exceeded(self, paths: Iterable[Path]) -> bool:
        """Whether the files are larger than the limit; the events may be less."""
        # Cheap: no file is opened. In a write-ahead log one event may take a page.
        total = sum([_directory.get_file_size(path) for path in paths])
        return total > self._max_bytes

    def enforce(self, paths: Sequence[Path]) -> list[Row]:
        """Drop at most `MAX_DROPPED_PER_SCAN` events of *paths*; return them."""
        # Each file is released once it was measured: its lock is not held while others
        # are opened, which may take long.
        size_by_path = dict(
            self._read_size(file_lock) for file_lock in claim_orphans(paths)
        )
        excess = sum(size_by_path.values()) - self._max_bytes
        dropped: list[Row] = []
        dropped_letters = 0
        self.has_excess = False
        for path in size_by_path:
            if excess <= 0 or self.has_excess:
                break
            file = self._reopen(path)
            if file is None:
                continue  # taken by another process meanwhile, or set aside
            before = file.total_bytes
            limit = MAX_DROPPED_PER_SCAN - len(dropped)
            rows, letters = _try_to_evict(file, excess, limit)
            excess -= before - file.total_bytes
            dropped += rows
            dropped_letters += letters
            self.has_excess = excess > 0 and len(dropped) >= MAX_DROPPED_PER_SCAN
            _close_and_keep_time(file)
        if dropped or dropped_letters:
            self._warnings.report_full_of_orphans(len(dropped), dropped_letters)
        return dropped

    def _read_size(self, file_lock: FileLock) -> tuple[Path, int]:
        """
        Return the file's path and the bytes of its events; release the file.

        Its write-ahead log, in which one event may take a page, is checkpointed.
        """
        path = file_lock.path
        state = _directory.read_file_state(path)
        cached = self._size_cache.get(path.name)
        if cached is not None and cached[0] == state:
            file_lock.close()
            return path, cached[1]
        file = self._opener.open(file_lock)
        if file is None:
            return path, 0
        file.compact()
        size = file.total_bytes
        _close_and_keep_time(file)
        path = file.file_lock.path  # another path, if the file was damaged
        self._size_cache[path.name] = _directory.read_file_state(path), size
        return path, size

    def _reopen(self, path: Path) -> SpoolFile | None:
        file_lock = claim_file(path)
        return self._opener.open(file_lock) if file_lock is not None else None


def _try_to_evict(file: SpoolFile, excess: int, limit: int) -> tuple[list[Row], int]:
    try:
        return file.evict(excess, limit=limit)
    except SpoolError:
        return [], 0


def _close_and_keep_time(file: SpoolFile) -> None:
    """Close *file*; keep its modification time, which gives the sending order."""
    path = file.file_lock.path
    modified = _directory.read_file_state(path)[0]
    file.close(keep_time=modified)
