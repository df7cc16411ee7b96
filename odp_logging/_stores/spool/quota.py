"""Limit the bytes of the open files of a spool, ``spool_max_bytes``.

The writer enforces the limit after each write. `orphan_quota` does the same for files
of ended processes that are not open.
"""

from __future__ import annotations

from .dropped import MAX_DROPPED_KEPT, DroppedEvents
from .errors import SpoolError, UnwritableError
from .file import SpoolFile
from .in_flight import InFlight
from .orphans import OrphanedFiles
from .own_file import OwnFile
from .warnings import SpoolWarnings


class Quota:
    """
    Drops the oldest events if the open files exceed the limit.

    Dead letters are dropped before events, and events of ended processes before own
    ones. Events in flight stay. Caller holds the spool's lock.

    Args:
        max_bytes: Bytes of events and dead letters, of the own file and of those
            orphaned files that this process has opened.
    """

    def __init__(
        self,
        max_bytes: int,
        own: OwnFile,
        orphaned_files: OrphanedFiles,
        *,
        in_flight: InFlight,
        dropped: DroppedEvents,
        warnings: SpoolWarnings,
    ) -> None:
        self._max_bytes = max_bytes
        self._own = own
        self._orphaned_files = orphaned_files
        self._in_flight = in_flight
        self._dropped = dropped
        self._warnings = warnings

    def enforce(self) -> None:
        """
        Drop events and dead letters beyond the limit.

        Raises:
            UnwritableError: A file cannot be changed, although events were written.
        """
        own = self._own.file
        if own is None:
            return
        # Each log call in crash mode comes here, and usually returns here.
        used = own.size + own.dead_size + self._orphaned_files.get_total_bytes()
        if used > self._max_bytes:
            self._evict_excess(own, used - self._max_bytes)

    def _evict_excess(self, own: SpoolFile, excess: int) -> None:
        for file in (*self._orphaned_files.get_files(), own):
            if excess <= 0:
                break
            try:
                excess = self._evict(file, excess)
            except UnwritableError:
                raise  # a disk that is full or read-only is no damage
            except SpoolError as error:
                holder = self._own if file is self._own.file else self._orphaned_files
                holder.replace_damaged(file, error)

    def _evict(self, file: SpoolFile, excess: int) -> int:
        """Drop *excess* bytes of *file*; return how many bytes remain to be dropped."""
        while excess > 0:
            before = file.total_bytes
            after = self._in_flight.find_last_number(file)
            rows, letters = file.evict(excess, after=after, limit=MAX_DROPPED_KEPT)
            if not (rows or letters):
                break  # all that is left is in flight
            excess -= before - file.total_bytes
            self._dropped.drop(rows, "spool_full", is_own=file is self._own.file)
            self._warnings.report_full(len(rows), letters)
        return excess
