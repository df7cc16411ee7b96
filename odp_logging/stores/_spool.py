"""Events on disk, which outlive the process: a directory of spool files as a store.

The process writes to a file of its own and sends from it; beside it, from one that a
process left which is gone. Every method may be called on any thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._delivery import Delivery
from .._event import OdpEvent, restored
from .._lock import OwnedLock
from ..exceptions import InvalidEventError
from . import _directory
from ._base import Batch, Dropped, Invalid
from ._buffer import origin_of
from ._commits import Commits
from ._counts import Counts
from ._leftovers import Leftovers
from ._rescue import rescue
from ._spoolfile import Row, SpoolError, SpoolFile, Unwritable
from ._stored import stored
from ._tally import Tally

RETRY = 30.0
"""Seconds before a directory that could not be written is tried again."""

_SHOWN = 1000


class Spool:
    """
    A `Store` on disk.

    Args:
        directory: Where the files are; private to its owner.
        account: Names who the events are for, in letters and digits.
        build: Makes the event of what was put. It returns None to leave it out, and
            raises InvalidEventError.
        batch_size, batch_bytes: Events and bytes in one request.
        max_bytes: Bytes on disk, of own events, dead letters and leftovers.
        keep_dropped: Whether somebody will ask for `dropped`.
        warn: Told, as kind and message, what is wrong with the directory.
        clock: Seconds, monotonic.
        mounts: Says what kind of file system the directory lies on.
    """

    def __init__(
        self,
        directory: Path,
        *,
        account: str,
        build: Callable[[Any], OdpEvent | None],
        batch_size: int,
        batch_bytes: int,
        max_bytes: int,
        keep_dropped: bool = False,
        warn: Callable[[str, str], object] = lambda kind, message: None,
        clock: Callable[[], float] = time.monotonic,
        mounts: Path = _directory.MOUNTS,
    ) -> None:
        self.directory = directory
        self._account = account
        self._build = build
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._max_bytes = max_bytes
        self._keep_dropped = keep_dropped
        self._warn = warn
        self._clock = clock
        self._mounts = mounts
        self._own: SpoolFile | None = None
        self._leftovers = Leftovers(directory, account, clock)
        self._reset()

    def _reset(self) -> None:
        self._lock = OwnedLock()
        self._looking = OwnedLock()
        self._forking: dict[int, list[OwnedLock]] = {}
        self._prepared = False
        self._given_up = False
        self._gone = False
        self._invalid: list[tuple[int, Invalid]] = []
        self._current: _Taken | None = None
        self._said: deque[tuple[str, str]] = deque()
        self._lost: deque[tuple[OdpEvent, str]] = deque(maxlen=_SHOWN)
        self._able_from = 0.0
        self._left = 0
        self._tally = Tally()
        self._commits = Commits(self._tally)
        self._resend: set[int] = set()

    def belong_to(self, account: str) -> None:
        """Write for *account* from now on: the destination has become known."""
        with self._lock.section():
            self._account = self._leftovers.account = account
            own, self._own = self._own, None
            if own is None:
                return
            # Else a process with another key could take what is ours from now on.
            try:
                for row in own.read(own.count):
                    self._file().add([row.body], row.number)
            except (SpoolError, OSError) as error:
                if self._own is not None:
                    self._own.shut()
                    self._own.claim.release(remove=True)
                self._own = own
                self._failed(error)
                return
            own.shut()
            own.claim.release(remove=True)

    # Events in.

    def put(self, logged: Any) -> bool:
        """Keep *logged*; return whether enough is there for a full batch."""
        try:
            event = self._build(logged)
        except InvalidEventError as error:
            return self._reject(Invalid(error.reason, str(error), origin_of(logged)))
        except Exception as error:  # before_send is the application's code
            message = f"making it raised {type(error).__name__}"
            return self._reject(Invalid("not_buildable", message, origin_of(logged)))
        return bool(self._put(event))

    def look(self) -> bool:
        """Do nothing: no log call leaves an event here by itself."""
        return False

    def try_put(self, logged: Any) -> bool | None:
        """Write *logged* to disk before returning, as `put`; None if that failed."""
        try:
            event = self._build(logged)
        except Exception:
            # Perhaps a signal handler's, a time limit: the event may be a good one. It
            # is made again from memory, on the flusher's thread, where none runs.
            return None
        return self._put(event)

    def _put(self, event: OdpEvent | None) -> bool | None:
        if event is None:
            return self._leave_out()
        waiting = self._commits.line_up(event)
        if self._lock.mine():
            # A signal handler interrupted the lines below: they write it as well.
            return False
        with self._lock.section():
            if not waiting.written:
                self._write()
            due: bool | None = self._is_due()
            if not waiting.written:
                # Out of the line already: it was given up, as the disk failed, and
                # counted, or it is a parent's, and this is the child.
                due = None if self._commits.withdraw(waiting) else False
        if self._said:
            self._tell()
        return due

    def _leave_out(self) -> bool:
        if not self._lock.mine():
            with self._lock.section():
                self._mend()
                self._tally.accepted += 1
                self._tally.drop("before_send")
        return False

    def _reject(self, invalid: Invalid) -> bool:
        if self._lock.mine():
            self.refuse(invalid.reason)
            return False
        with self._lock.section():
            self._tally.accepted += 1
            self._commits.entered += 1
            self._tally.reject(invalid.reason)
            self._invalid.append((self._commits.entered, invalid))
        return False

    def keep(self, events: Sequence[OdpEvent]) -> bool:
        """Take over *events* of another store, on disk: all, or none of them."""
        if self._lock.mine():
            return False
        with self._lock.section():
            kept = self._move(events)
            if kept:
                self._write()
        self._tell()
        return kept

    def _move(self, events: Sequence[OdpEvent]) -> bool:
        self._mend()
        if not self.is_able():
            return False
        try:
            self._commits.move(self._file(), events)
        except (SpoolError, OSError) as error:
            self._failed(error)
            return False
        return True

    def has_kept(self, events: Sequence[OdpEvent]) -> bool:
        """Whether the last `keep` of *events* was done, though it was cut off."""
        if self._lock.mine():
            return False
        with self._lock.section():
            self._mend()
            return self._commits.has_moved(events)

    def bury(self, events: Sequence[OdpEvent], reasons: Mapping[int, str]) -> None:
        """Keep those of *events* that were rejected, by position, as dead letters."""
        with self._lock.section():
            self._mend()  # before a number is used that who was cut off may have used
            try:
                file = self._file()
                first = self._commits.entered + 1
                self._commits.entered += len(reasons)
                file.bury(
                    {
                        number: (events[place].json, reason)
                        for number, (place, reason) in enumerate(reasons.items(), first)
                    }
                )
                self._bound()
            except (SpoolError, OSError) as error:
                self._failed(error)
        self._tell()

    def is_able(self) -> bool:
        """Whether the directory could be written when it was tried last."""
        return self._clock() >= self._able_from

    def holds(self) -> bool:
        """Whether own events wait on disk."""
        return self.entered() > self.passed()

    # Under the lock.

    def _write(self) -> bool:
        """Write what is lined up, and drop what is too much; False if not written."""
        self._mend()
        if not self.is_able():
            return False
        written = False
        try:
            if self._commits.waiting():
                self._commits.write(self._file())
            written = True
            self._bound()
        except (SpoolError, OSError) as error:
            self._failed(error)
        return written

    def _mend(self) -> None:
        """Count again if an exception of a signal handler cut off who counted last."""
        if not self._commits.unfinished:
            return
        if self._own is not None:
            try:
                self._commits.mend(self._own)
            except SpoolError as error:
                self._failed(error)
            here = self._spooled() + self._tally.moved
            self._tally.accepted = self._tally.gone() + here
        self._commits.unfinished = False  # last: this may be cut off as well

    def _spooled(self) -> int:
        return self._left + (self._own.count if self._own is not None else 0)

    def _rewrite_removed(self) -> None:
        """Write our file anew if somebody deleted it: what is open can be read yet."""
        own = self._own
        if own is None or own.claim.exists():
            return
        rows = own.read(own.count)
        own.shut()
        own.claim.forget()
        self._own, self._prepared, self._current = None, False, None
        self._say(
            "spool_removed",
            f"a file of the spool {self.directory} was deleted while in use; its"
            f" {len(rows)} events were written again; keep cleaners off the directory",
        )
        for row in rows:
            self._file().add([row.body], row.number)

    def _file(self) -> SpoolFile:
        self._rewrite_removed()
        if self._own is None:
            self._prepare()
            self._given_up = False
            claim = _directory.create(self.directory, self._account)
            try:
                self._own = SpoolFile(claim)
            except BaseException:
                claim.release(remove=True)
                raise
        return self._own

    def _prepare(self) -> None:
        if self._prepared:
            return
        _directory.prepare(self.directory)
        if _directory.is_network(self.directory, self._mounts):
            self._say(
                "spool_network",
                f"the spool {self.directory} lies on a network file system, whose locks"
                " and memory maps SQLite cannot rely on; name a local directory",
            )
        self._prepared = True

    def _failed(self, error: Exception) -> None:
        """Say what is wrong, and do without the disk for a while."""
        if self._own is not None and not isinstance(error, (Unwritable, OSError)):
            self._replace(self._own, error)
            return
        self._able_from = self._clock() + RETRY
        why = error.strerror if isinstance(error, OSError) else None
        self._say(
            "spool_failed",
            f"the spool {self.directory} cannot be used: {why or error}; delivery goes"
            " on from memory, where events do not outlive the process; make it a"
            " directory of your own, with room, or name another one in spool=",
        )

    def _replace(self, broken: SpoolFile, error: Exception) -> None:
        """Set a *broken* file aside, and go on with what can be read of it."""
        self._current = None
        broken.shut()
        if broken is not self._own:
            self._leftovers.forget(broken)
            file, line = self._leftovers.rescued(broken.claim, error, broken.settled)
            self._say("spool_damaged", line)
            if file is not None:
                self._leftovers.hold(file)
            return
        self._own = None
        rows, name = rescue(broken.claim)
        rows = [row for row in rows if row.number not in broken.settled]
        self._say(
            "spool_damaged",
            f"a file of the spool {self.directory} is damaged ({error}); it was set"
            f" aside as {name}; {len(rows)} of {broken.count} events were read from it",
        )
        try:
            for row in rows:  # by their numbers: they count as what they were
                self._file().add([row.body], row.number)
        except (SpoolError, OSError) as second:
            self._failed(second)
        saved = self._own.count if self._own is not None else 0
        self._tally.drop("damaged", max(0, broken.count - saved))

    def _bound(self) -> None:
        """Drop what is beyond `max_bytes`: of leftovers first, then the oldest."""
        own = self._own
        if own is None:
            return
        other = self._leftovers.size()
        excess = own.size + own.dead_size + other - self._max_bytes
        if excess <= 0:
            return
        for file in (*self._leftovers.files(), own):
            if excess <= 0:
                break
            before = file.size + file.dead_size
            try:
                gone, dead = file.shrink(excess, self._in_flight(file))
            except Unwritable:
                raise
            except SpoolError as error:
                self._replace(file, error)
                continue
            excess -= before - file.size - file.dead_size
            self._book_shrunk(gone, dead, own=file is own)

    def _in_flight(self, file: SpoolFile) -> int:
        taken = self._current
        if taken is None or taken.file is not file or not taken.rows:
            return 0
        return taken.rows[-1].number

    def _book_shrunk(self, gone: Sequence[Row], dead: int, *, own: bool) -> None:
        if gone and own:
            self._tally.drop("spool_full", len(gone))
        if self._keep_dropped:
            for row in gone[-_SHOWN:]:
                self._show(row, "spool_full")
        if gone or dead:
            self._say(
                "spool_full",
                f"the spool {self.directory} holds spool_max_bytes; the oldest were"
                f" dropped: {len(gone)} events, {dead} dead letters; raise"
                " spool_max_bytes or find out why ODP does not take them",
            )

    def _show(self, row: Row, reason: str) -> None:
        try:
            self._lost.append((restored(row.body), reason))
        except ValueError:
            pass

    def _is_due(self) -> bool:
        own = self._own
        return own is not None and (
            own.count >= self._batch_size or own.size >= self._batch_bytes
        )

    def _say(self, kind: str, message: str) -> None:
        # Told once the lock is free: whoever shows it may hold locks of his own.
        self._said.append((kind, message))

    def _tell(self) -> None:
        while not self._lock.mine():
            try:
                said = self._said.popleft()
            except IndexError:  # another thread told it
                return
            self._warn(*said)

    # Events out.

    def take(self) -> Batch:
        """Return the oldest events, of our own and of leftovers in turns."""
        with self._lock.section():
            self._mend()
            invalid = [each for _, each in self._invalid]
            self._invalid.clear()
            if self._commits.waiting():
                self._write()
            batch = self._take(invalid)
        self._tell()
        return batch

    def _take(self, invalid: Sequence[Invalid]) -> Batch:
        file = self._next_file()
        self._current = None
        if file is None:
            return Batch((), invalid)
        try:
            rows, events, cut = self._read(file)
        except SpoolError as error:
            if file is self._own:
                self._failed(error)
            else:
                self._replace(file, error)
            return Batch((), invalid)
        if not events:
            if file is not self._own:
                self._leftovers.finish(file)
            return Batch((), invalid)
        batch = Batch(events, invalid, cut=cut)
        if file is self._own:
            numbers = {row.number for row in rows}
            self._tally.retried += len(numbers & self._resend)
            self._resend = numbers
        self._current = _Taken(batch, file, rows)
        return batch

    def _next_file(self) -> SpoolFile | None:
        leftover = self._leftovers.current()
        own = self._own if self._own is not None and self._own.count else None
        if own is None or leftover is None:
            return own or leftover
        was = self._current.file if self._current else None
        return leftover if was is not leftover else own

    def _read(self, file: SpoolFile) -> tuple[list[Row], list[OdpEvent], bool]:
        rows: list[Row] = []
        events: list[OdpEvent] = []
        broken: dict[Row, str] = {}
        size = 2
        cut = False
        # What another process left may be of another version, or of nobody we know.
        made = stored if file is self._own else restored
        for row in file.read(self._batch_size):
            try:
                event = made(row.body) if row.sound else None
            except ValueError:
                event = None
            if event is None:
                broken[row] = "damaged on disk"
                continue
            size += len(row.body) + 1
            if events and size > self._batch_bytes:
                cut = True
                break
            rows.append(row)
            events.append(event)
        if broken:
            file.settle((), broken)
            if file is self._own:
                self._tally.drop("damaged", len(broken))
            self._say(
                "spool_damaged",
                f"{len(broken)} events of the spool {self.directory} are damaged; they"
                " were not sent, and are kept as dead letters",
            )
        return rows, events, cut or file.count > len(rows)

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Forget what was accepted, bury what was rejected, keep what is pending."""
        with self._lock.section():
            taken = self._current
            if taken is None or taken.batch is not batch:
                return  # given up meanwhile
            self._settle(taken, delivery)
            if taken.file is not self._own and not taken.file.count:
                self._leftovers.finish(taken.file)
        self._tell()
        if not self._lock.mine() and self._own is taken.file:
            taken.file.checkpoint()

    def _settle(self, taken: _Taken, delivery: Delivery) -> None:
        gone = [taken.rows[place] for place in delivery.accepted]
        buried = {taken.rows[place]: why for place, why in delivery.rejected.items()}
        try:
            taken.file.settle(gone, buried)
        except SpoolError as error:
            self._book(taken, len(gone), len(buried))
            self._replace(taken.file, error)
            return
        self._book(taken, len(gone), len(buried))
        self._tally.retried += delivery.resent

    def _book(self, taken: _Taken, accepted: int, rejected: int) -> None:
        if taken.file is self._own:
            self._tally.delivered += accepted
            self._tally.reject("refused", rejected)
        else:
            self._tally.replayed += accepted

    def has_more(self) -> bool:
        """Whether a process that is gone left events; looks for them now and then."""
        if not self._given_up and self._leftovers.is_time():
            # Not under the lock: to open a large file takes its time.
            self._looking.run(self._look, -1)
        return self._leftovers.current() is not None

    def _look(self) -> None:
        file, said = self._leftovers.look(self._max_bytes)
        with self._lock.section():
            self._said += said
            if file is not None:
                self._leftovers.hold(file)
        self._tell()

    def has_leftovers(self) -> bool:
        """Whether there are files in the directory; a quick look."""
        return bool(_directory.spools(self.directory))

    # Any thread.

    def refuse(self, reason: str) -> None:
        """Count an event that is rejected before it comes to rest here."""
        # Noted first: who interrupts the books leaves it to them.
        self._tally.refuse(reason)
        if not self._lock.mine():
            with self._lock.section():
                self._commits.entered += self._tally.count_refused()

    def give_up(self, reason: str) -> int:
        """Let go of the files, which stay; return how many events are lost."""
        with self._lock.section():
            written = self._write() if self._commits.waiting() else True
            try:
                self._rewrite_removed()
            except (SpoolError, OSError) as error:
                self._failed(error)
            # Who lined up since then waits for our lock, and writes it himself.
            lost = 0 if written else self._commits.clear()
            self._tally.drop(reason, lost)
            self._tally.accepted += lost
            self._given_up = True  # and not to be taken up again by ourselves
            if self._gone:
                return lost  # the end of the process lets go of what came even later
            self._gone = reason == "exit"
            self._let_go()
        self._tell()
        return lost

    def close(self) -> None:
        """Let go of leftovers, and of our own file if nothing waits there."""
        with self._lock.section():
            if self._own is not None and not self._own.count:
                self._let_go()
            else:
                self._leftovers.close()

    def _let_go(self) -> None:
        self._current = None
        self._leftovers.close()
        own, self._own = self._own, None
        if own is None:
            return
        self._left += own.count
        try:
            own.close()
        except OSError as error:
            self._failed(error)

    def dropped(self) -> Sequence[Dropped]:
        """Return what was dropped since the last call, grouped by reason."""
        groups: dict[str, list[OdpEvent]] = {}
        with self._lock.section():
            while self._lost:
                event, reason = self._lost.popleft()
                groups.setdefault(reason, []).append(event)
        return [Dropped(events, reason) for reason, events in groups.items()]

    def entered(self) -> int:
        """Return the number of the newest event here, counted from 1."""
        if not self._commits.waiting():
            return self._commits.entered
        if self._lock.mine():
            return self._commits.newest()
        # Else an event could be counted twice, in the line and on disk, and whoever
        # waits for that many would wait for one that never comes.
        with self._lock.section():
            self._mend()
            return self._commits.newest()

    def passed(self) -> int:
        """Return the number up to which every event has left."""
        if self._lock.mine():
            return 0
        with self._lock.section():
            self._mend()
            own = self._own
            try:
                first = own.first() if own is not None else None
            except SpoolError as error:
                self._failed(error)
                first = None
            numbers = [number for number, _ in self._invalid[:1]]
            if first is not None:
                numbers.append(first)
            passed = min(numbers, default=self._commits.entered + 1) - 1
        self._tell()
        return passed

    def is_mine(self) -> bool:
        """Whether this thread was interrupted in the middle of the store's code."""
        return self._lock.mine()

    def is_pressed(self) -> bool:
        """Whether events had better go elsewhere; here they rest for good."""
        return False

    def counts(self) -> Counts:
        """Return what became of all events so far."""
        if self._lock.mine():
            # Asked in the middle of the books: what moves is in two places, or in none.
            counts = self._counts()
            gone = counts.delivered + sum(counts.rejected.values())
            gone += sum(counts.dropped.values())
            return counts._replace(accepted=gone + counts.waiting + counts.moved)
        with self._lock.section():
            self._mend()
            self._commits.entered += self._tally.count_refused()
            return self._counts()

    def spooled(self) -> int:
        """Return how many events rest on disk."""
        return self.counts().spooled

    def is_durable(self) -> bool:
        """Whether what is put here is on disk when `put` returns: it is."""
        return True

    def overflowed(self) -> int:
        """Return how many events were dropped for want of room."""
        return self._tally.overflowed()

    def _counts(self) -> Counts:
        size = self._own.size if self._own is not None else 0
        late = self._commits.waiting()
        return self._tally.counts(
            pending=late, spooled=self._spooled(), unbooked=late, size=size
        )

    # Forks.

    def before_fork(self, deadline: float) -> None:
        """Let no thread be within SQLite, or hold a claim, while this one forks."""
        self._hold(self._looking, deadline)
        self._hold(self._lock, deadline)
        if self._own is not None:  # nobody but who has the lock makes another one
            self._hold(self._own.moving, deadline)

    def _hold(self, lock: OwnedLock, deadline: float) -> None:
        wait = max(0.0, deadline - time.monotonic())
        if not lock.mine() and lock.acquire(wait):
            # By thread: of two that fork at once, each gives back its own.
            self._forking.setdefault(threading.get_ident(), []).append(lock)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        held = self._forking.pop(threading.get_ident(), [])
        while held:
            held.pop().release()

    def after_fork(self) -> None:
        """Start empty in a forked child, without the parent's files."""
        if self._own is not None:
            self._own.abandon()
            self._own = None
        self._leftovers.abandon()
        self._reset()


class _Taken:
    """A batch that was taken and not settled yet, and where from."""

    __slots__ = ("batch", "file", "rows")

    def __init__(self, batch: Batch, file: SpoolFile, rows: Sequence[Row]) -> None:
        self.batch = batch
        self.file = file
        self.rows = rows
