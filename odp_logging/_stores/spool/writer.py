"""Write events and dead letters to the own file of a spool, within its limit.

The spool calls it with its lock held. The writer connects the queue of events that log
calls put, the file, the limit, and the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._events.event import OdpEvent
from .accounting import Accounting
from .errors import SpoolError
from .group_commit import GroupCommit
from .own_file import OwnFile
from .quota import Quota


class Writer:
    """Writes to the own file. Caller holds the spool's lock."""

    def __init__(
        self,
        own: OwnFile,
        group_commit: GroupCommit,
        accounting: Accounting,
        quota: Quota,
    ) -> None:
        self._own = own
        self._group_commit = group_commit
        self._accounting = accounting
        self._quota = quota

    def write_pending(self) -> bool:
        """Write queued events, enforce the limit; return whether all were written."""
        for _ in range(2):  # again if a damaged file was replaced by a new one
            if self._group_commit.counts_dirty:
                self._accounting.recover()
            if not self._own.is_available():
                return False
            is_written = False
            try:
                if self._group_commit.count_pending():
                    self._group_commit.write(self._own.ensure())
                is_written = True
                self._quota.enforce()
            except (SpoolError, OSError) as error:
                self._own.handle_failure(error)
            if is_written:
                return True
        return False

    def move(self, events: Sequence[OdpEvent]) -> bool:
        """Write *events* of another store in one transaction, then queued events."""
        self._accounting.recover()
        if not self._own.is_available():
            return False
        try:
            self._group_commit.move(self._own.ensure(), events)
        except (SpoolError, OSError) as error:
            self._own.handle_failure(error)
            return False
        # Also enforces the limit. If it fails, the moved events are on disk anyway.
        self.write_pending()
        return True

    def has_moved(self, events: Sequence[OdpEvent]) -> bool:
        """Whether an interrupted `move` of *events* has written them."""
        self._accounting.recover()
        return self._group_commit.has_moved(events)

    def add_dead_letters(
        self, events: Sequence[OdpEvent], reasons: Mapping[int, str]
    ) -> None:
        """Write rejected *events* as dead letters; *reasons* are by index."""
        # An interrupted writer may have used the next numbers.
        self._accounting.recover()
        try:
            file = self._own.ensure()
            first = self._group_commit.last_sequence + 1
            # Used up before the write: `recover_counts` takes an event for written if
            # the file has its number or a larger one.
            self._group_commit.last_sequence += len(reasons)
            file.add_dead_letters(
                {
                    number: (events[index].json, reason)
                    for number, (index, reason) in enumerate(reasons.items(), first)
                }
            )
            self._quota.enforce()
        except (SpoolError, OSError) as error:
            self._own.handle_failure(error)
