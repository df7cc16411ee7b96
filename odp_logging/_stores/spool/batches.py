"""Take batches from the files of a spool, in turns, and settle them.

`Spool.take` and `Spool.settle` call it. The own file and the oldest orphaned one take
turns, so that neither a backlog nor new events wait for the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._events.batch import Batch, Invalid, count_per_request
from ..._events.delivery import Delivery
from ..._events.event import OdpEvent, parse_event
from ..._events.lazy_event import make_lazy_event
from ..counts import Counters
from .errors import SpoolError, translate_errors
from .file import SpoolFile
from .in_flight import CurrentBatch, InFlight
from .orphans import OrphanedFiles
from .own_file import OwnFile
from .schema import Row
from .warnings import SpoolWarnings


class Batches:
    """
    Takes and settles batches. Caller holds the spool's lock.

    Args:
        batch_size, batch_bytes: Events and bytes in one request.
    """

    def __init__(
        self,
        batch_size: int,
        batch_bytes: int,
        own: OwnFile,
        orphaned_files: OrphanedFiles,
        *,
        counters: Counters,
        in_flight: InFlight,
        warnings: SpoolWarnings,
    ) -> None:
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._own = own
        self._orphaned_files = orphaned_files
        self._counters = counters
        self._in_flight = in_flight
        self._warnings = warnings
        self._last_row_ids: set[int] = set()
        """Numbers in the last batch of the own file, to count retried events."""

    def has_full_batch(self) -> bool:
        """Whether the own file has enough events for one request."""
        own = self._own.file
        return own is not None and (
            own.count >= self._batch_size or own.size >= self._batch_bytes
        )

    def take(self, invalid: Sequence[Invalid]) -> Batch:
        """Return the oldest events of the file that is next in turn, with *invalid*."""
        file = self._choose_file()
        # Only now: the turn of a file depends on the batch before.
        self._in_flight.clear()
        if file is None:
            return Batch((), invalid)
        rows, events, is_truncated = self._read_or_replace(file)
        if not events:
            return Batch((), invalid)
        batch = Batch(events, invalid, truncated=is_truncated)
        if file is self._own.file:
            self._count_retried(rows)
        self._in_flight.start(batch, file, rows)
        return batch

    def _count_retried(self, rows: Sequence[Row]) -> None:
        row_ids = {row.number for row in rows}
        self._counters.retried += len(row_ids & self._last_row_ids)
        self._last_row_ids = row_ids

    def _choose_file(self) -> SpoolFile | None:
        orphan = self._orphaned_files.get_current()
        own = self._own.file
        if own is not None and not own.count:
            own = None
        if own is None or orphan is None:
            return own or orphan
        previous = self._in_flight.current
        return own if previous is not None and previous.file is orphan else orphan

    def _read_or_replace(
        self, file: SpoolFile
    ) -> tuple[list[Row], list[OdpEvent], bool]:
        """Read as `_read`; replace a damaged file, and close an empty orphaned one."""
        before = file.count
        try:
            rows, events, is_truncated = self._read(file)
        except SpoolError as error:
            if file is self._own.file:
                self._own.handle_failure(error)
            else:
                self._orphaned_files.replace_damaged(file, error)
            return [], [], False
        # If all rows that were read became dead letters, others may follow. A file from
        # which none could be read is left to the next process.
        is_finished = not events and (not file.count or file.count == before)
        if file is not self._own.file and is_finished:
            self._orphaned_files.finish(file)
        return rows, events, is_truncated

    def _read(self, file: SpoolFile) -> tuple[list[Row], list[OdpEvent], bool]:
        """Return rows and events of one request, and whether more events are there."""
        rows: list[Row] = []
        events: list[OdpEvent] = []
        broken: dict[Row, str] = {}
        # Another version or program may have written an orphaned file: parse it fully.
        parse = make_lazy_event if file is self._own.file else parse_event
        for row in self._read_rows(file):
            try:
                event = parse(row.body) if row.is_intact else None
            except ValueError:  # no event, although its checksum fits
                event = None
            if event is None:
                broken[row] = "no event" if row.is_intact else "damaged on disk"
                continue
            rows.append(row)
            events.append(event)
        if broken:
            self._add_broken_as_dead_letters(file, broken)
        count = count_per_request([len(row.body) for row in rows], self._batch_bytes)
        is_truncated = count < len(rows) or file.count > len(rows)
        return rows[:count], events[:count], is_truncated

    def _read_rows(self, file: SpoolFile) -> list[Row]:
        rows = file.read(self._batch_size, self._batch_bytes)
        # Another program may have truncated the file, or restored an older copy of it.
        # flush() would wait for events that are gone.
        is_complete = sum([len(row.body) for row in rows]) <= self._batch_bytes
        if is_complete and len(rows) < min(self._batch_size, file.count):
            self._count_overwritten(file)
        return rows

    def _count_overwritten(self, file: SpoolFile) -> None:
        """Count the events lost because *file* was overwritten while in use."""
        before = file.count
        with translate_errors():
            file.read_counts()
        lost = max(0, before - file.count)
        if file is self._own.file:
            self._counters.drop("damaged", lost)
        self._warnings.report_overwritten(lost)

    def _add_broken_as_dead_letters(
        self, file: SpoolFile, broken: dict[Row, str]
    ) -> None:
        """Turn unreadable rows into dead letters, so that they are read only once."""
        file.settle((), broken)
        if file is self._own.file:
            self._counters.drop("damaged", len(broken))
        self._warnings.report_unreadable_events(len(broken))

    def clear_current(self) -> None:
        """Let settling the last batch have no effect: its file is closed."""
        self._in_flight.clear()

    def settle(self, batch: Batch, delivery: Delivery) -> SpoolFile | None:
        """
        Apply the outcome of *batch*, unless it was discarded meanwhile.

        Returns:
            The file it was taken from; None if it was discarded.
        """
        current = self._in_flight.current
        if current is None or current.batch is not batch:
            return None
        self._settle(current, delivery)
        if current.file is not self._own.file and not current.file.count:
            self._orphaned_files.finish(current.file)
        return current.file

    def _settle(self, current: CurrentBatch, delivery: Delivery) -> None:
        accepted = [current.rows[index] for index in delivery.accepted]
        rejected = {
            current.rows[index]: reason for index, reason in delivery.rejected.items()
        }
        # Pending events stay in the file, and are read again.
        try:
            current.file.settle(accepted, rejected)
        except SpoolError as error:
            # Counted first: what is counted as damaged depends on the file's count.
            self._count_settled(current, len(accepted), len(rejected))
            if current.file is self._own.file:
                self._own.replace_damaged(current.file, error)
            else:
                self._orphaned_files.replace_damaged(current.file, error)
            return
        self._count_settled(current, len(accepted), len(rejected))
        self._counters.retried += delivery.resent

    def _count_settled(
        self, current: CurrentBatch, accepted: int, rejected: int
    ) -> None:
        if current.file is self._own.file:
            self._counters.delivered += accepted
            self._counters.reject("refused", rejected)
        else:
            self._counters.replayed += accepted
