"""The file that this process writes to: made, replaced, recovered and left behind.

The spool creates it for the first event. Something may happen to it while it is open: a
cleaner deletes it, a restore replaces it, the disk damages it or is full. Each case is
handled here, so that the writer only sees a file or an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..counts import Counters
from . import directory as _directory
from .dropped import DroppedEvents
from .errors import SpoolError, UnwritableError
from .file import SpoolFile
from .in_flight import InFlight
from .recovery import recover_file
from .schema import DeadLetterRow, Row
from .warnings import SpoolWarnings

RETRY_SECONDS = 30.0
"""Seconds before a directory that could not be written is tried again."""


class OwnFile:
    """
    Holds the spool file of this process. Caller holds the spool's lock.

    Args:
        spool_dir: Directory of the files, accessible only to its owner.
        account: Name of the destination, in the name of each file.
        clock: Seconds, monotonic.
        mounts: Linux's table of mounted file systems.
    """

    def __init__(
        self,
        spool_dir: Path,
        account: str,
        *,
        counters: Counters,
        in_flight: InFlight,
        dropped: DroppedEvents,
        warnings: SpoolWarnings,
        clock: Callable[[], float],
        mounts: Path,
    ) -> None:
        self.file: SpoolFile | None = None
        """The open file; None before the first event and after `close`."""
        self.is_left = False
        """Whether its events were left to the next process. A new file ends that."""
        self._spool_dir = spool_dir
        self._account = account
        self._counters = counters
        self._in_flight = in_flight
        self._dropped = dropped
        self._warnings = warnings
        self._clock = clock
        self._mounts = mounts
        self._is_prepared = False
        self._retry_at = 0.0
        self._closed_count = 0

    @property
    def event_count(self) -> int:
        """Number of unsent events that this process has written."""
        count = self.file.count if self.file is not None else 0
        return self._closed_count + count

    def is_available(self) -> bool:
        """Whether the directory is expected to be writable."""
        return not self._retry_at or self._clock() >= self._retry_at

    # Make and replace the file.

    def ensure(self) -> SpoolFile:
        """
        Return the file to write to; make one if there is none, or if it was deleted.

        Raises:
            SpoolError, OSError: It cannot be written.
        """
        own = self.file
        if own is not None and own.file_lock.is_probably_intact():
            return own
        self._recreate_if_removed()
        if self.file is None:
            self.file = self._make_file()
        return self.file

    def change_account(self, account: str) -> None:
        """Use *account* from now on, also for the events that are already here."""
        self._account = account
        if self.file is None:
            return
        # Otherwise a process with another key could send the events of this file.
        try:
            self._move_to_new_file(self.file)
        except (SpoolError, OSError) as error:
            self.handle_failure(error)

    def try_to_recreate(self) -> None:
        """Copy the file to a new one if it was deleted or replaced."""
        try:
            self._recreate_if_removed()
        except (SpoolError, OSError) as error:
            # Events are sent from the deleted file, which is still open; writing is
            # tried again later.
            self.handle_failure(error)

    def _recreate_if_removed(self) -> None:
        own = self.file
        if own is None or own.file_lock.is_intact():
            return
        count = own.count
        self._is_prepared = False  # the directory may have been deleted as well
        self._move_to_new_file(own)
        self._warnings.report_removed(count)

    def _move_to_new_file(self, own: SpoolFile) -> None:
        fresh = self._make_file()
        try:
            fresh.copy_from(own)
        except BaseException:
            fresh.remove()
            raise
        self.file = fresh
        self._in_flight.move(own, fresh)
        # Only now: until the copy is committed, the old file has the only events.
        _remove_copied(own)

    def _make_file(self) -> SpoolFile:
        self._prepare()
        self.is_left = False
        file_lock = _directory.create_file(self._spool_dir, self._account)
        try:
            return SpoolFile(file_lock)
        except BaseException:
            file_lock.release(remove=True)
            raise

    def _prepare(self) -> None:
        if self._is_prepared:
            return
        _directory.prepare(self._spool_dir)
        if _directory.is_network_filesystem(self._spool_dir, self._mounts):
            self._warnings.report_network_filesystem()
        self._is_prepared = True

    # Failures.

    def handle_failure(self, error: Exception) -> None:
        """
        Recover a damaged file; after any other *error*, do not write for a while.

        See `RETRY_SECONDS`.
        """
        is_damaged = not isinstance(error, (UnwritableError, OSError))
        if self.file is not None and is_damaged:
            self.replace_damaged(self.file, error)
            return
        self._retry_at = self._clock() + RETRY_SECONDS
        cause = error.strerror if isinstance(error, OSError) else None
        self._warnings.report_failure(cause or error)

    def replace_damaged(self, broken: SpoolFile, error: Exception) -> None:
        """Rename the *broken* file; write its readable events to a new one."""
        self._in_flight.clear()
        self.file = None
        rows, letters, outcome = _close_and_recover(broken)
        self._warnings.report_damaged_own_file(
            error, outcome, read=len(rows), total=broken.count
        )
        try:
            if rows or letters:  # by their numbers, so they are not counted twice
                self.ensure().restore(rows, letters)
        except (SpoolError, OSError) as second_error:
            self._dropped.keep(rows, "damaged")
            self.handle_failure(second_error)
        saved = self.file.count if self.file is not None else 0
        self._counters.drop("damaged", max(0, broken.count - saved))

    # The end.

    def drop_if_removed(self, reason: str) -> int:
        """
        Drop the events of a deleted file that could not be copied to a new one.

        Returns:
            The number of dropped events.
        """
        own = self.file
        if own is None or own.file_lock.is_intact():
            return 0
        if self._dropped.is_kept:
            self._dropped.keep(own.read_all_readable(), reason)
        self.file = None
        self._in_flight.clear()
        _remove_copied(own)
        return own.count

    def close(self) -> None:
        """Close the file. An empty one is deleted; events stay for the next process."""
        own, self.file = self.file, None
        if own is None:
            return
        self._closed_count += own.count
        try:
            own.close()
        except OSError as error:
            self.handle_failure(error)

    def close_inherited(self, *, is_idle: bool) -> None:
        """Leave the file to the parent, in a forked child; see `SpoolFile`."""
        if self.file is not None:
            self.file.close_inherited(is_idle=is_idle)


def _close_and_recover(broken: SpoolFile) -> tuple[list[Row], list[DeadLetterRow], str]:
    """Close *broken*; return its unsettled rows, dead letters and what became of it."""
    letters: list[DeadLetterRow] = []
    if broken.file_lock.owns_file_name():
        broken.close_database()
        (rows, letters), name = recover_file(broken.file_lock)
        outcome = f"it was renamed to {name}"
    else:
        # The name refers to another file: only the open connection reads this one.
        rows, outcome = broken.read_all_readable(), "and it was deleted or replaced"
        _remove_copied(broken)
    settled = broken.settled
    rows = [row for row in rows if row.is_intact and row.number not in settled]
    return rows, letters, outcome


def _remove_copied(file: SpoolFile) -> None:
    """Close *file*, whose events were copied, and remove the parts it still owns."""
    if not file.file_lock.owns_lock_name():
        # Its lock file was deleted, so another process may own it by now.
        try:
            file.clear()
        except SpoolError:
            pass  # that process sends some events a second time
    file.remove()
