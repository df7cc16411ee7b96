"""The spool: a store whose events are on disk and survive the end of the process.

The client puts events here and the spool's flusher takes them in batches. The process
writes to its own file and sends from it, and in turns from files of ended processes.

    put ──► GroupCommit ──► Writer ──► OwnFile ─────┐
                                                    ├──► Batches ──► take, settle
    files of ended processes ──► OrphanedFiles ─────┘

`Quota` limits the bytes on disk and `Accounting` counts the events. All these parts
are used with the lock of the spool held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..._events.batch import Batch, Dropped, Invalid, format_origin
from ..._events.delivery import Delivery
from ..._events.event import OdpEvent
from ..._runtime.lock import OwnedLock, monotonic, with_lock
from ...exceptions import InvalidEventError
from ..base import BaseStore
from ..counts import Counts
from ..inbox import EventHolder
from . import directory as _directory
from .accounting import Accounting
from .batches import Batches
from .dropped import DroppedEvents
from .file import SpoolFile
from .group_commit import GroupCommit, PendingWrite
from .in_flight import InFlight
from .orphans import OrphanedFiles
from .own_file import OwnFile
from .quota import Quota
from .schema import Row
from .warnings import SpoolWarnings
from .writer import Writer


@dataclass(frozen=True, slots=True)
class _Settings:
    """The arguments of a spool, from which its parts are made again after a fork."""

    batch_size: int
    batch_bytes: int
    max_bytes: int
    keep_dropped: bool
    warn: Callable[[str, str], object]
    clock: Callable[[], float]
    mounts: Path


class Spool(BaseStore):
    """
    A `Store` on disk. Thread-safe.

    Args:
        spool_dir: Directory of the files, accessible only to its owner.
        account: Name of the destination, in letters and digits.
        build: Makes an event from what was put. It returns None to leave it out, and
            raises InvalidEventError.
        batch_size, batch_bytes: Events and bytes in one request.
        max_bytes: Bytes on disk, of own events, dead letters and orphaned files.
        keep_dropped: Whether `pop_dropped` will be called.
        warn: Called with kind and message if something is wrong with the directory.
        clock: Seconds, monotonic.
        mounts: Linux's table of mounted file systems.
    """

    def __init__(
        self,
        spool_dir: Path,
        *,
        account: str,
        build: Callable[[Any], OdpEvent | None],
        batch_size: int,
        batch_bytes: int,
        max_bytes: int,
        keep_dropped: bool = False,
        warn: Callable[[str, str], object] = lambda kind, message: None,
        clock: Callable[[], float] = monotonic,
        mounts: Path = _directory.MOUNTS,
    ) -> None:
        self.spool_dir = spool_dir
        self._account = account
        self._build = build
        self._settings = _Settings(
            batch_size, batch_bytes, max_bytes, keep_dropped, warn, clock, mounts
        )
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self._scan_lock = OwnedLock()
        """Held during a scan, which takes too long for `_lock`."""
        self._fork_locks: dict[int, list[OwnedLock]] = {}
        self._is_exiting = False
        self._warnings = SpoolWarnings(self.spool_dir, self._settings.warn)
        self._dropped = DroppedEvents(
            self._counters, is_kept=self._settings.keep_dropped
        )
        self._create_parts(InFlight())

    def _create_parts(self, in_flight: InFlight) -> None:
        settings, counters, warnings = self._settings, self._counters, self._warnings
        self._own = own = OwnFile(
            self.spool_dir,
            self._account,
            counters=counters,
            in_flight=in_flight,
            dropped=self._dropped,
            warnings=warnings,
            clock=settings.clock,
            mounts=settings.mounts,
        )
        self._orphaned_files = OrphanedFiles(
            self.spool_dir,
            self._account,
            settings.max_bytes,
            in_flight=in_flight,
            warnings=warnings,
            clock=settings.clock,
        )
        self._group_commit = GroupCommit(counters)
        self._accounting = Accounting(counters, self._group_commit, own)
        quota = Quota(
            settings.max_bytes,
            own,
            self._orphaned_files,
            in_flight=in_flight,
            dropped=self._dropped,
            warnings=warnings,
        )
        self._writer = Writer(own, self._group_commit, self._accounting, quota)
        self._batches = Batches(
            settings.batch_size,
            settings.batch_bytes,
            own,
            self._orphaned_files,
            counters=counters,
            in_flight=in_flight,
            warnings=warnings,
        )

    @with_lock
    def change_account(self, account: str) -> None:
        """Use *account* from now on, once the destination is known."""
        self._account = account
        self._orphaned_files.change_account(account)
        self._own.change_account(account)

    def _emit_warnings(self) -> None:
        # Never with the lock held, because `warn` may acquire other locks. The code
        # that a signal handler interrupted emits them later.
        if not self._lock.is_owned():
            self._warnings.emit()

    # Events in.

    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        """Store *logged*; return whether there is enough for a full batch."""
        try:
            event = self._build(logged)
        except InvalidEventError as error:
            reason, message = error.reason, str(error)
        except Exception as error:  # before_send is the application's code
            reason, message = (
                "not_buildable",
                f"making it raised {type(error).__name__}",
            )
        else:
            return bool(self._put(event, holder or [logged]))
        return self._reject(Invalid(reason, message, format_origin(logged)))

    def try_put(self, logged: Any, holder: EventHolder | None = None) -> bool | None:
        """Write *logged* to disk before returning, as `put`; None if that failed."""
        try:
            event = self._build(logged)
        except Exception:
            # A signal handler's exception, such as a time limit, says nothing about the
            # event. The flusher's thread, where no handler runs, builds it again.
            return None
        return self._put(event, holder or [logged])

    def _put(self, event: OdpEvent | None, holder: EventHolder) -> bool | None:
        logged = holder[0]
        if event is None:
            holder.clear()
            self._lock.run(self._accounting.count_left_out, -1)
            return False
        pending = self._group_commit.enqueue(event, holder)
        if self._lock.is_owned():
            # A signal handler interrupted this thread below, which then commits it too.
            return False
        is_due = self._lock.hold(partial(self._commit, pending))
        if is_due is None:
            holder[:] = [logged]
        if self._warnings.pending:
            self._emit_warnings()
        return is_due

    def _commit(self, pending: PendingWrite) -> bool | None:
        if pending:
            self._writer.write_pending()
        is_due = self._batches.has_full_batch()
        if pending:
            # Not queued any more: it was discarded and counted because the disk failed,
            # or this is a forked child and the parent writes it.
            return None if self._group_commit.cancel(pending) else False
        return is_due

    def _reject(self, invalid: Invalid) -> bool:
        if self._lock.is_owned():
            self.reject_early(invalid.reason)
        self._lock.run(partial(self._accounting.count_rejected, invalid), -1)
        return False

    def _count_early_outcomes(self) -> None:
        self._accounting.count_early_outcomes()

    def take_over(self, events: Sequence[OdpEvent]) -> bool:
        """Write *events* of another store to disk, in one transaction."""
        is_written = self._lock.run(partial(self._writer.move, events), -1)
        self._emit_warnings()
        return bool(is_written)

    def has_taken_over(self, events: Sequence[OdpEvent]) -> bool:
        """Whether an interrupted `take_over` of *events* has written them."""
        return bool(self._lock.run(partial(self._writer.has_moved, events), -1))

    def add_dead_letters(
        self, events: Sequence[OdpEvent], reasons: Mapping[int, str]
    ) -> None:
        """Write rejected *events* as dead letters; *reasons* are by index."""
        self._lock.hold(partial(self._writer.add_dead_letters, events, reasons))
        self._emit_warnings()

    def is_available(self) -> bool:
        """Whether the directory is expected to be writable."""
        return self._own.is_available()

    def has_unsent_events(self) -> bool:
        """Whether events of this process are on disk and unsent."""
        return self.get_last_sequence() > self.get_settled_sequence()

    # Events out.

    def take(self, requests: int = 1) -> Batch:
        """Return the oldest events, in turns of the own file and of orphaned ones."""
        batch = self._write_and_take()
        self._emit_warnings()
        return batch

    @with_lock
    def _write_and_take(self) -> Batch:
        self._accounting.recover()
        invalid = self._accounting.pop_invalid()
        if self._group_commit.count_pending():
            self._writer.write_pending()
        elif self._own.is_available():
            self._own.try_to_recreate()
        return self._batches.take(invalid)

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Delete accepted events, keep pending ones, store rejected as dead letters."""
        file = self._lock.hold(partial(self._batches.settle, batch, delivery))
        if file is None:
            return
        self._emit_warnings()
        # A checkpoint waits for the disk: not with the lock held, for which log calls
        # wait.
        if not self._lock.is_owned() and self._own.file is file:
            file.checkpointer.run_if_needed()

    def has_more(self) -> bool:
        """Whether there are events of ended processes; scans for them when due."""
        if not self._own.is_left and self._orphaned_files.should_scan():
            self._scan_lock.run(self._scan, -1)
        return self._orphaned_files.has_more()

    def _scan(self) -> None:
        self._add_orphan(*self._orphaned_files.scan())
        self._emit_warnings()

    @with_lock
    def _add_orphan(self, file: SpoolFile | None, dropped: Sequence[Row]) -> None:
        self._accounting.recover()
        self._dropped.drop(dropped, "spool_full", is_own=False)
        if file is not None:
            self._orphaned_files.add(file)

    def has_orphaned_files(self) -> bool:
        """Whether there are spool files in the directory, of any account."""
        return bool(_directory.list_files(self.spool_dir))

    # The end.

    def discard(self, reason: str) -> int:
        """Let go of the files, which stay; return how many events are lost."""
        lost = self._discard(reason)
        self._emit_warnings()
        return lost

    @with_lock
    def _discard(self, reason: str) -> int:
        has_pending = self._group_commit.count_pending() > 0
        is_written = self._writer.write_pending() if has_pending else True
        self._own.try_to_recreate()
        # Writers that enqueued since then wait for the lock, and commit themselves.
        lost = 0 if is_written else self._group_commit.clear()
        self._counters.accepted += lost
        lost += self._own.drop_if_removed(reason)
        self._counters.drop(reason, lost)
        self._own.is_left = True  # so this process does not send them again
        if self._is_exiting:
            return lost  # at exit the system closes files that were opened since
        self._is_exiting = reason == "exit"
        self._close_files()
        return lost

    @with_lock
    def close(self) -> None:
        """Close orphaned files, and the own file if it has no events."""
        if self._own.file is not None and not self._own.file.count:
            self._close_files()
        else:
            self._orphaned_files.close()

    def _close_files(self) -> None:
        self._batches.clear_current()
        self._orphaned_files.close()
        self._own.close()

    # Counts.

    @with_lock
    def pop_dropped(self) -> Sequence[Dropped]:
        """Return the events dropped since the last call, grouped by reason."""
        return self._dropped.pop_groups()

    def get_last_sequence(self) -> int:
        """Return the sequence of the newest event, counted from 1."""
        if not self._group_commit.count_pending():
            return self._group_commit.last_sequence
        if self._lock.is_owned():
            return self._group_commit.get_queued_sequence()
        # Without the lock an event could be counted twice, as queued and as written,
        # and flush() would wait for a sequence that never comes.
        return self._lock.hold(self._accounting.find_last_sequence)

    def get_settled_sequence(self) -> int:
        """Return the sequence up to which every event is settled."""
        if self._lock.is_owned():
            return 0
        sequence = self._lock.hold(self._accounting.find_settled_sequence)
        self._emit_warnings()
        return sequence

    def counts(self) -> Counts:
        """Return the counts of all events so far."""
        if self._lock.is_owned():
            return self._accounting.read_interrupted()
        return self._lock.hold(self._accounting.read)

    def is_durable(self) -> bool:
        """Return True: events are on disk when `put` returns."""
        return True

    # Forks.

    def before_fork(self, deadline: float) -> None:
        """Acquire all locks: no other thread may be within SQLite during the fork."""
        self._acquire_for_fork(self._scan_lock, deadline)
        self._acquire_for_fork(self._lock, deadline)
        if self._own.file is not None:  # changed only under self._lock
            self._acquire_for_fork(self._own.file.checkpointer.lock, deadline)

    def _acquire_for_fork(self, lock: OwnedLock, deadline: float) -> None:
        wait = max(0.0, deadline - monotonic())
        if not lock.is_owned() and lock.acquire(wait):
            # By thread: two threads may fork at once, and each releases its own locks.
            self._fork_locks.setdefault(threading.get_ident(), []).append(lock)

    def after_fork_in_parent(self) -> None:
        """Release the locks that `before_fork` acquired on this thread."""
        locks = self._fork_locks.pop(threading.get_ident(), [])
        while locks:
            locks.pop().release()

    def after_fork(self) -> None:
        """Reset to empty in a forked child; the files stay with the parent."""
        self._own.close_inherited(is_idle=self._lock.is_owned())
        self._orphaned_files.close_inherited(is_idle=self._scan_lock.is_owned())
        self._reset()
