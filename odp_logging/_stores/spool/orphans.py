"""Find spool files of processes that are gone, and own them one at a time.

The spool calls `OrphanedFiles.scan` when a scan is due, and sends the events of the
file that it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import directory as _directory
from .file import SpoolFile
from .file_lock import claim_orphans, is_owned
from .in_flight import InFlight
from .opener import FileOpener
from .orphan_quota import OrphanQuota
from .schema import Row
from .warnings import SpoolWarnings

SCAN_INTERVAL_SECONDS = 30.0
"""Seconds between two scans of the directory."""


class OrphanedFiles:
    """
    The files that ended processes left in *spool_dir* for *account*.

    Usually one file is owned at a time; once it is empty, the next scan finds another.
    The caller of `scan` holds the spool's scan lock, all others its main lock.

    Args:
        max_bytes: Bytes of events and dead letters in orphaned files.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        spool_dir: Path,
        account: str,
        max_bytes: int,
        *,
        in_flight: InFlight,
        warnings: SpoolWarnings,
        clock: Callable[[], float],
    ) -> None:
        self._spool_dir = spool_dir
        self._in_flight = in_flight
        self._warnings = warnings
        self._clock = clock
        self._opener = FileOpener(spool_dir, account, warnings)
        self._quota = OrphanQuota(max_bytes, self._opener, warnings)
        self._files: list[SpoolFile] = []
        self._next_scan = 0.0
        self._has_warned_of_accounts = False

    def change_account(self, account: str) -> None:
        """Look for files of *account* from now on."""
        self._opener.account = account

    # Scan.

    def should_scan(self) -> bool:
        """Whether no file is owned and a scan is due."""
        return not self._files and self._clock() >= self._next_scan

    def has_more(self) -> bool:
        """Whether a file is owned, or the next scan has events to drop."""
        return bool(self._files) or self._quota.has_excess

    def scan(self) -> tuple[SpoolFile | None, list[Row]]:
        """
        Acquire the oldest file that has events; drop the oldest beyond the limit.

        Not under the spool's main lock, because opening a large file takes long.

        Returns:
            The file to `add`, and the events that were dropped.
        """
        self._next_scan = self._clock() + SCAN_INTERVAL_SECONDS
        self._quota.has_excess = False
        try:
            _directory.remove_stale_locks(self._spool_dir)
        except OSError:  # not a usable name; the first write warns about it
            return None, []
        paths = _directory.list_files(self._spool_dir)
        self._warn_of_other_accounts(paths)
        candidates = self._select_candidates(paths)
        dropped: list[Row] = []
        if self._quota.is_possibly_exceeded(candidates):
            dropped = self._quota.enforce(candidates)
            if self._quota.has_excess:
                self._next_scan = 0.0
                return None, dropped
            # A damaged file may have been replaced by a recovered copy.
            paths = _directory.list_files(self._spool_dir)
            candidates = self._select_candidates(paths)
        return self._open_first(candidates), dropped

    def _select_candidates(self, paths: Sequence[Path]) -> list[Path]:
        return [
            path
            for path in paths
            if self._is_for_this_account(path) and path.name not in self._opener.ignored
        ]

    def _is_for_this_account(self, path: Path) -> bool:
        # The first process with a key sends the events that were logged without one.
        account = _directory.parse_account(path)
        return account in (self._opener.account, _directory.UNKNOWN)

    def _open_first(self, candidates: Sequence[Path]) -> SpoolFile | None:
        for file_lock in claim_orphans(candidates):
            file = self._opener.open(file_lock)
            if file is not None and file.count:
                return file
            if file is not None:  # dead letters alone, or nothing
                self._opener.ignored.add(file_lock.path.name)
                file.close()
        return None

    def _warn_of_other_accounts(self, paths: Sequence[Path]) -> None:
        """Warn, once, if there are orphaned files of another account."""
        other_paths = [path for path in paths if not self._is_for_this_account(path)]
        if self._has_warned_of_accounts or not other_paths:
            return
        # A file that is in use is not worth a warning: its process will send it.
        orphaned = sum([not is_owned(path) for path in other_paths])
        if orphaned:
            self._has_warned_of_accounts = True
            self._warnings.report_other_accounts(orphaned)

    # The owned files.

    def get_files(self) -> Sequence[SpoolFile]:
        """Return the files that are owned."""
        return tuple(self._files)

    def get_current(self) -> SpoolFile | None:
        """Return the file to send from; None if none is owned."""
        return self._files[0] if self._files else None

    def get_total_bytes(self) -> int:
        """Return the bytes of all events and dead letters in the owned files."""
        # Usually there are none, and each log call in crash mode comes here.
        files = self._files
        return sum([file.total_bytes for file in files]) if files else 0

    def add(self, file: SpoolFile) -> None:
        """Own *file* and send its events."""
        self._files.append(file)

    def finish(self, file: SpoolFile) -> None:
        """Close *file*, which has no events left; the next scan is due at once."""
        self._remove(file)
        self._opener.ignored.add(file.file_lock.path.name)
        file.close()

    def replace_damaged(self, broken: SpoolFile, error: Exception) -> None:
        """Rename the *broken* file; own a new one with its readable events."""
        self._in_flight.clear()
        broken.close_database()
        self._remove(broken)
        file = self._opener.recover(broken.file_lock, error, broken.settled)
        if file is not None:
            self.add(file)

    def _remove(self, file: SpoolFile) -> None:
        """Stop owning *file*, without closing it; the next scan is due at once."""
        self._files = [owned for owned in self._files if owned is not file]
        self._next_scan = 0.0

    def close(self) -> None:
        """Close all files, so that other processes can own them."""
        files, self._files = self._files, []
        for file in files:
            file.close()

    def close_inherited(self, *, is_idle: bool) -> None:
        """Leave all files to the parent, in a forked child; see `SpoolFile`."""
        for file in self._files:
            file.close_inherited(is_idle=is_idle)
