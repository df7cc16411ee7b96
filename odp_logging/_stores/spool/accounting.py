"""Number and count the events of a spool; recover the counts after an interruption.

Counts and sequences are in memory, events on disk. A signal handler may raise between
the commit and the counting of an event; then the counts are read from the file again.
"""

from __future__ import annotations

from ..._events.batch import Invalid
from ..counts import Counters, Counts
from .errors import SpoolError
from .group_commit import GroupCommit
from .own_file import OwnFile


class Accounting:
    """
    The counts and sequences of one spool.

    Caller holds the spool's lock, except for `read_interrupted`.
    """

    def __init__(
        self, counters: Counters, group_commit: GroupCommit, own: OwnFile
    ) -> None:
        self._counters = counters
        self._group_commit = group_commit
        self._own = own
        self._invalid: list[tuple[int, Invalid]] = []
        """Rejected events that no batch has reported yet, with their sequences."""

    def recover(self) -> None:
        """Read the counts from disk if an exception interrupted the last write."""
        if not self._group_commit.counts_dirty:
            return
        if self._own.file is not None:
            try:
                self._group_commit.recover_counts(self._own.file)
            except SpoolError as error:
                self._own.handle_failure(error)
            own_count = self._own.event_count + self._counters.moved
            self._counters.accepted = self._counters.count_settled() + own_count
        # Last, because this may be interrupted as well.
        self._group_commit.counts_dirty = False

    # Events that are not written.

    def count_left_out(self) -> None:
        """Count an event that ``before_send`` dropped."""
        self.recover()
        self._counters.accepted += 1
        self._counters.drop("before_send")

    def count_rejected(self, invalid: Invalid) -> None:
        """Count a rejected event, which the next batch reports."""
        self._counters.accepted += 1
        self._group_commit.last_sequence += 1
        self._counters.reject(invalid.reason)
        self._invalid.append((self._group_commit.last_sequence, invalid))

    def count_early_outcomes(self) -> None:
        """Count what `BaseStore.reject_early` recorded."""
        self._group_commit.last_sequence += self._counters.count_early_outcomes()

    def pop_invalid(self) -> list[Invalid]:
        """Return the rejected events that no batch has reported."""
        invalid = [rejected for _, rejected in self._invalid]
        self._invalid.clear()
        return invalid

    # Sequences.

    def find_last_sequence(self) -> int:
        """Return the sequence of the newest event."""
        self.recover()
        return self._group_commit.get_queued_sequence()

    def find_settled_sequence(self) -> int:
        """Return the sequence up to which every event is settled and reported."""
        self.recover()
        own = self._own.file
        try:
            first = own.find_first_number() if own is not None else None
        except SpoolError as error:
            self._own.handle_failure(error)
            first = None
        candidates = [sequence for sequence, _ in self._invalid[:1]]
        if first is not None:
            candidates.append(first)
        return min(candidates, default=self._group_commit.last_sequence + 1) - 1

    # Counts.

    def read(self) -> Counts:
        """Return the counts of all events so far."""
        self.recover()
        self.count_early_outcomes()
        return self._read()

    def read_interrupted(self) -> Counts:
        """
        Return the counts while this thread updates them, for a signal handler.

        They balance, but an event may be counted twice or not at all.
        """
        return self._read().balance()

    def _read(self) -> Counts:
        own = self._own.file
        pending = self._group_commit.count_pending()
        return self._counters.read(
            pending=pending,
            spooled=self._own.event_count,
            uncounted=pending,
            size=own.size if own is not None else 0,
        )
