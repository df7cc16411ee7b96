"""The batch that the spool has given to the flusher and that is not settled yet.

A module of its own, because three parts share it: `Batches` takes and settles it,
`OwnFile` and `OrphanedFiles` replace its file, and `Quota` must not drop its events.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._events.batch import Batch
from .file import SpoolFile
from .schema import Row


class CurrentBatch:
    """A batch that was taken, with its file and rows."""

    __slots__ = ("batch", "file", "rows")

    def __init__(self, batch: Batch, file: SpoolFile, rows: Sequence[Row]) -> None:
        self.batch = batch
        self.file = file
        self.rows = rows


class InFlight:
    """The last batch that was taken. Caller holds the spool's lock."""

    def __init__(self) -> None:
        self.current: CurrentBatch | None = None

    def start(self, batch: Batch, file: SpoolFile, rows: Sequence[Row]) -> None:
        """Remember *batch*; its rows are not dropped until the next one is taken."""
        # One assignment, so that a signal handler's exception cannot leave the rows of
        # one batch with the file of another.
        self.current = CurrentBatch(batch, file, rows)

    def clear(self) -> None:
        """Forget the batch; settling it then has no effect."""
        self.current = None

    def move(self, old: SpoolFile, new: SpoolFile) -> None:
        """Settle the batch in *new*, a copy of *old* with the same row numbers."""
        if self.current is not None and self.current.file is old:
            self.current.file = new

    def find_last_number(self, file: SpoolFile) -> int:
        """Return the number up to which rows of *file* are in flight; 0 if none are."""
        current = self.current
        if current is None or current.file is not file or not current.rows:
            return 0
        return current.rows[-1].number
