"""The warnings about a spool directory: their texts, and when they are emitted.

The parts of the spool report what they find while they hold its lock. The spool emits
the warnings after it has released the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..._runtime.text import format_count
from .directory import check_writable


def warn_if_not_writable(spool_dir: Path, warn: Callable[[str, str], object]) -> None:
    """Warn now of a directory that cannot be used once events are to be stored."""
    reason = check_writable(spool_dir)
    if reason is not None:
        warnings = SpoolWarnings(spool_dir, warn)
        warnings.report_failure(reason)
        warnings.emit()


class SpoolWarnings:
    """
    Keeps warnings until they can be emitted. Thread-safe.

    Args:
        spool_dir: The spool's directory, which every text names.
        warn: Called with kind and message. It may acquire other locks, so a thread
            that calls it with the spool's lock held could deadlock.
    """

    def __init__(self, spool_dir: Path, warn: Callable[[str, str], object]) -> None:
        self.pending: deque[tuple[str, str]] = deque()
        self._spool = f"the spool {spool_dir}"
        self._warn = warn

    def emit(self) -> None:
        """Emit what was reported. The caller holds no lock of the spool."""
        while self.pending:
            try:
                kind, message = self.pending.popleft()
            except IndexError:  # another thread emitted it
                return
            self._warn(kind, message)

    def _report(self, kind: str, message: str) -> None:
        self.pending.append((kind, message))

    # The directory.

    def report_failure(self, cause: object) -> None:
        """Report that the directory or the own file cannot be written."""
        self._report(
            "spool_failed",
            f"{self._spool} cannot be used: {cause}; events stay in memory and are lost"
            " if the process dies; free disk space, or set spool= to another directory"
            " of this user",
        )

    def report_network_filesystem(self) -> None:
        """Report that the directory is on a network file system."""
        self._report(
            "spool_network",
            f"{self._spool} is on a network file system, whose locks and memory maps"
            " are unreliable for SQLite; events may be lost or sent twice; set spool="
            " to a local directory",
        )

    def report_other_accounts(self, files: int) -> None:
        """Report that orphaned files of another account are there."""
        self._report(
            "spool_account",
            f"{format_count(files, 'file')} of another key or host in {self._spool}:"
            " kept until a process with that key comes, or until `odp-logging replay`"
            " is run with it",
        )

    # The limit.

    def report_full(self, events: int, letters: int) -> None:
        """Report what was dropped because the open files exceed the limit."""
        self._report_dropped("spool_max_bytes", events, letters)

    def report_full_of_orphans(self, events: int, letters: int) -> None:
        """Report what was dropped because the files of ended processes exceed it."""
        limit = "more than spool_max_bytes of earlier processes"
        self._report_dropped(limit, events, letters)

    def _report_dropped(self, limit: str, events: int, letters: int) -> None:
        self._report(
            "spool_full",
            f"{self._spool} holds {limit}; the oldest were dropped:"
            f" {format_count(events, 'event')}, {format_count(letters, 'dead letter')};"
            " set a larger spool_max_bytes, or check why ODP does not accept the"
            " events",
        )

    # Files.

    def report_removed(self, events: int) -> None:
        """Report that the own file was deleted or replaced, and written again."""
        self._report(
            "spool_removed",
            f"a file of {self._spool} was deleted or replaced while in use;"
            f" {format_count(events, 'event')} were written to a new file; exclude the"
            " directory from cleaners and restores",
        )

    def report_overwritten(self, lost: int) -> None:
        """Report that an open file has fewer events than were written to it."""
        self._report(
            "spool_damaged",
            f"a file of {self._spool} was overwritten while in use;"
            f" {format_count(lost, 'event')} in it were lost; exclude the directory"
            " from cleaners and restores",
        )

    def report_unreadable_events(self, events: int) -> None:
        """Report that events became dead letters because they cannot be read."""
        self._report(
            "spool_damaged",
            f"{format_count(events, 'event')} in {self._spool} cannot be read: damaged"
            " on disk; not sent, and kept as dead letters; check the disk",
        )

    def report_damaged_own_file(
        self, error: Exception, outcome: str, *, read: int, total: int
    ) -> None:
        """Report that the own file is damaged, and how many events were read."""
        self._report(
            "spool_damaged",
            f"a file of {self._spool} is damaged ({error}); {outcome};"
            f" {read} of {format_count(total, 'event')} were read from it",
        )

    def report_damaged_orphan(self, error: Exception, name: str, read: int) -> None:
        """Report that an orphaned file is damaged; *name* is its new name."""
        self._report(
            "spool_damaged",
            f"a file of {self._spool} is damaged ({error}); it was renamed to {name};"
            f" {format_count(read, 'event')} could be read and will be sent",
        )

    def report_foreign(self, name: str, error: Exception) -> None:
        """Report that a file belongs to another program or version."""
        # One kind for each file, since a kind is warned of at most once a minute.
        self._report(
            f"spool_foreign:{name}",
            f"{name} in {self._spool} was left alone: {error}; move it elsewhere",
        )

    def report_unsafe(self, name: str, outcome: str, error: Exception) -> None:
        """Report that a file is not safe to open, and is not opened."""
        self._report(
            "spool_quarantined",
            f"{name} in {self._spool} {outcome}: {error}; its events are not sent;"
            " check which program wrote it, and delete it",
        )
