"""Events in memory: a bounded deque that many threads fill and one flusher empties."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from .._ids import new_ids
from .._lock import OwnedLock
from ..exceptions import InvalidEventError
from ._base import Batch, Dropped, Invalid
from ._intake import Intake
from ._tally import Tally

if TYPE_CHECKING:
    from .._delivery import Delivery
    from .._event import OdpEvent
    from ._base import Shelter
    from ._counts import Counts

Overflow = Literal["drop_oldest", "drop_newest", "block"]

_LOOK_EVERY = 512
_OVER = 64
"""Events beyond the bound that nobody waits for while others make room on disk."""
_SMALL = 4096
_UNSEEN = 8192
"""Bytes that an event may have which nobody has looked at yet, at most."""
_SHOWN = 1000
_LISTEN = 0.05
_NEVER = object()
_PRESSED = 0.75
_TO_SPILL = 1.0
"""Seconds that a put waits for others who make room on disk."""
_TO_MOVE = 5.0
"""Seconds for making what is moved to disk at the end: before_send may be slow."""


class Buffer:
    """
    A `Store` in memory.

    `put`, or a log call by itself, appends to the deque of `intake` without a lock; the
    books are kept at every `take`, for a large event, and every 512 events by whoever
    gets the lock without waiting. So a log call never waits for another one, and a
    signal handler or finaliser that logs in the middle of one cannot deadlock.

    Args:
        build: Makes the event of what was put, on the flusher's thread, with the id
            that it is given. It returns None to leave it out, and raises
            InvalidEventError.
        sized: Makes what has a size of the bare tuple that a log call left here.
        show: Makes the event of what was dropped before it was built.
        batch_size, batch_bytes: When enough is there for a full batch.
        max_size, max_bytes: Bounds, in events and in bytes of their texts.
        overflow: Who has to go when a bound is reached.
        block_timeout: Seconds that `put` waits for room with overflow ``"block"``.
        keep_dropped: Whether somebody will ask for `dropped`; at most max_bytes are
            kept for that, and the counts are exact in any case.
        shelter: Takes over what is left when this store is given up.
    """

    def __init__(
        self,
        build: Callable[..., OdpEvent | None],
        *,
        sized: Callable[[Any], Any] = lambda bare: bare,
        show: Callable[[Any], OdpEvent | None] | None = None,
        batch_size: int,
        batch_bytes: int,
        max_size: int,
        max_bytes: int,
        overflow: Overflow = "drop_oldest",
        block_timeout: float = 1.0,
        keep_dropped: bool = False,
        shelter: Shelter | None = None,
        intake: Intake | None = None,
    ) -> None:
        self.intake = intake or Intake()
        self._build = build
        self._sized = sized
        self._show = show or build
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._max_size = max_size
        self._max_bytes = max_bytes
        self._drop_oldest = overflow == "drop_oldest"
        self._block_timeout = block_timeout if overflow == "block" else None
        self._keep_dropped = keep_dropped
        self._shelter = shelter
        # A small buffer is not to be full before anybody sends.
        self._due_size = min(batch_size, max(1, max_size // 2))
        self._due_bytes = min(batch_bytes, max(1, max_bytes // 2))
        self.after_fork()

    def after_fork(self) -> None:
        """Start empty, with locks of our own: the parent's may be held for ever."""
        self._lock = OwnedLock()
        self._room = threading.Condition()
        self.intake.renew()
        self._ready: deque[Any] = deque()
        self._building: Sequence[Any] = ()
        self._held: list[_Held] = []
        self._current: Batch | None = None
        self._lost: deque[tuple[Any, str]] = deque()
        self._lost_bytes = 0
        self._bytes = 0
        self._unfinished = False
        self._large = False
        self._spilling: _Spilling | None = None
        self._entered = 0
        self._tally = Tally()
        self.intake.look_at = self._next_look()
        self._over = max(_OVER, self._max_size // 10)

    # The caller's thread.

    def put(self, logged: Any) -> bool:
        """Keep *logged*; return whether enough is there for a full batch."""
        if self._block_timeout is not None:
            return self._put_waiting(logged, self._block_timeout)
        intake = self.intake
        intake.incoming.append(logged)
        if logged.size >= _SMALL:
            self._large = True
        elif len(intake.incoming) < intake.look_at:
            return False
        return self.look()

    def look(self) -> bool:
        """Look at what came in; return whether enough is there for a full batch."""
        incoming, due = self.intake.incoming, False
        # A second look, for what others left to us while we held the lock.
        for _ in range(2):
            if self._large or len(incoming) >= self.intake.look_at:
                # Who has the lock may be at the disk: the bounds hold for incoming too.
                full = self._shelter is not None and len(incoming) > self._over
                due = self._lock.run(self._look, _TO_SPILL if full else 0.0) or due
        return due

    def try_put(self, logged: Any) -> bool | None:
        """Do as `put`, which never fails."""
        return self.put(logged)

    def _put_waiting(self, logged: Any, seconds: float) -> bool:
        """Put *logged* once there is room, or drop it after *seconds*."""
        deadline = time.monotonic() + seconds
        while True:
            last = time.monotonic() >= deadline
            placed = self._lock.run(partial(self._place, logged, last=last), -1)
            if placed is None:  # we interrupted the books on this very thread
                self.intake.incoming.append(logged)
                return False
            if placed or last:
                return self._is_due()
            with self._room:
                # Short: what freed the room may have said so before we listened.
                self._room.wait(min(deadline - time.monotonic(), _LISTEN))

    def _place(self, logged: Any, *, last: bool) -> bool:
        self._sort_in()
        if not last and logged.size <= self._max_bytes and not self._fits(logged.size):
            return False
        self.intake.incoming.append(logged)
        self._sort_in()
        return True

    def _fits(self, size: int) -> bool:
        return self._here() < self._max_size and self._bytes + size <= self._max_bytes

    def _here(self) -> int:
        return len(self._ready) + len(self._building) + len(self._held)

    # Under the lock.

    def _look(self) -> bool:
        """Say that a batch is full: whoever sends it sorts it in. Or else sort in."""
        bound = self._bound()
        came = len(self.intake.incoming)
        to_batch = (self._due_bytes - self._bytes) // _SMALL
        if self._unfinished or self._large or came >= bound or 0 <= to_batch < came:
            return self._sort_in()
        self.intake.look_at = bound
        return len(self._ready) + came >= self._due_size

    def _sort_in(self) -> bool:
        """Take in what came, within the bounds; say if enough is there to be sent."""
        self._mend()
        self._unfinished = True
        self._large = False
        incoming = self.intake.incoming
        came = len(incoming)
        # One step in C: an exception of a signal handler cannot come in between.
        self._ready.extend(islice(iter(incoming.popleft, _NEVER), came))
        self._tally.accepted += came
        self._entered += came
        largest = self._size_last(came)
        if largest > self._max_bytes:
            self._drop_giants()
        while self._ready and (
            self._bytes > self._max_bytes or self._here() > self._max_size
        ):
            self._make_room()
        self.intake.look_at = self._next_look()
        self._unfinished = False
        return self._is_due()

    def _size_last(self, count: int) -> int:
        """Count the bytes of the last *count*; return those of the largest."""
        ready, sized = self._ready, self._sized
        largest = 0
        for place in range(-count, 0):
            logged = ready[place]
            if type(logged) is tuple:
                # In its place: cut off here, all are still there, see _mend.
                ready[place] = logged = sized(logged)
            size = logged.size
            self._bytes += size
            if size > largest:
                largest = size
        return largest

    def _is_due(self) -> bool:
        return len(self._ready) >= self._due_size or self._bytes >= self._due_bytes

    def _make_room(self) -> None:
        if self._shelter is not None and self._spill(self._shelter):
            return
        if self._drop_oldest:
            gone = self._ready.popleft()
        else:
            gone = self._ready.pop()
            self._entered -= 1
        self._bytes -= gone.size
        self._drop(gone, "overflow")

    def _spill(self, shelter: Shelter) -> bool:
        """Have *shelter* keep the oldest batch: the one who sends is held up."""
        if not shelter.is_able():
            return False
        oldest = list(islice(self._ready, self._batch_size))
        made = [self._try(logged, 0) for logged in oldest]
        events = [each.event for each in made if isinstance(each, _Held)]
        self._spilling = made, events
        if events and not shelter.keep(events):
            self._spilling = None
            return False
        self._book_spilt(made, len(events))
        return True

    def _book_spilt(self, made: Sequence[_Held | Invalid | None], moved: int) -> None:
        ready = deque(islice(self._ready, len(made), None))
        size = sum([each.size for each in islice(self._ready, len(made))])
        rejected, dropped = dict(self._tally.rejected), dict(self._tally.dropped)
        for each in made:
            if each is None:
                dropped["before_send"] = dropped.get("before_send", 0) + 1
            elif isinstance(each, Invalid):
                rejected[each.reason] = rejected.get(each.reason, 0) + 1
        # Not a call from here on: no signal handler can run, and raise, in between.
        self._spilling = None
        self._ready = ready
        self._bytes -= size
        self._tally.moved += moved
        self._tally.rejected = rejected
        self._tally.dropped = dropped

    def _book_unmade(self, logged: Any, made: _Held | Invalid | None) -> None:
        if made is None:
            self._drop(logged, "before_send")
        elif isinstance(made, Invalid):
            self._tally.reject(made.reason)

    def _drop_giants(self) -> None:
        """Drop what alone is larger than the whole buffer, and nothing else for it."""
        kept: deque[Any] = deque()
        for logged in self._ready:
            if logged.size <= self._max_bytes:
                kept.append(logged)
                continue
            self._bytes -= logged.size
            self._entered -= 1
            self._drop(logged, "too_large")
        self._ready = kept

    def _mend(self) -> None:
        """Count again if an exception of a signal handler cut off who counted last."""
        if not self._unfinished:
            return
        if self._spilling is not None and self._shelter is not None:
            made, events = self._spilling
            if events and self._shelter.has_kept(events):
                self._book_spilt(made, len(events))
            self._spilling = None
        waiting = [*self._ready, *self._building]
        self._bytes = sum([held.size for held in self._held])
        self._bytes += sum([each.size for each in self._building])
        self._size_last(len(self._ready))
        left = self._tally.gone() + self._tally.moved
        self._tally.accepted = left + len(waiting) + len(self._held)
        self._unfinished = False  # last: who cuts this off as well leaves it to do

    def _next_look(self) -> int:
        """How many may come in before the books must be looked at again."""
        look = self._bound()
        to_batch = self._due_size - len(self._ready)
        bytes_to_batch = self._due_bytes - self._bytes
        if to_batch > 0 and bytes_to_batch > 0:
            look = min(look, to_batch, bytes_to_batch // _SMALL + 1)
        return max(1, look)

    def _bound(self) -> int:
        """How many may come in before they must be sorted in, for the bounds' sake."""
        room = (self._max_bytes - self._bytes) // _UNSEEN
        look = min(_LOOK_EVERY, self._max_size - self._here() + 1, room + 1)
        return max(1, look)

    def _drop(self, logged: Any, reason: str) -> None:
        self._tally.drop(reason)
        if not self._keep_dropped or reason == "before_send":
            return  # who left it out knows of it
        self._lost.append((logged, reason))
        self._lost_bytes += logged.size
        while self._lost and self._lost_bytes > self._max_bytes:
            self._lost_bytes -= self._lost.popleft()[0].size

    # The flusher's thread.

    def take(self) -> Batch:
        """Return the oldest events that fit into one request, made on this thread."""
        with self._lock.section():
            # Left here by a take that an exception of a signal handler cut off.
            self._ready.extendleft(reversed(self._building))
            self._building = ()
            self._sort_in()
            room = self._batch_size - len(self._held)
            fresh: list[Any] = []
            self._building = fresh
            # One step in C, as in _sort_in.
            taking = min(room, len(self._ready))
            fresh.extend(islice(iter(self._ready.popleft, _NEVER), taking))
            number = self._entered - len(self._ready) - len(fresh)
        built = [
            self._try(logged, number + n, event_id)
            for n, (logged, event_id) in enumerate(zip(fresh, new_ids(len(fresh))), 1)
        ]
        with self._lock.section():
            if self._building is not fresh:
                return Batch(())  # given up, or forked away, meanwhile
            self._building = ()
            invalid = [each for each in built if type(each) is Invalid]
            self._book_made(fresh, built)
            events = self._first_held()
            self._current = Batch(events, invalid, cut=len(events) < len(self._held))
            return self._current

    def _try(
        self, logged: Any, number: int, event_id: str | None = None
    ) -> _Held | Invalid | None:
        """Return the event of *logged*, or why there is none; None if left out."""
        try:
            event = self._build(logged, event_id)
        except KeyboardInterrupt:
            raise
        except InvalidEventError as error:
            return Invalid(error.reason, str(error), origin_of(logged))
        except BaseException as error:  # before_send is the application's code
            name = type(error).__name__
            return Invalid(
                "not_buildable", f"making it raised {name}", origin_of(logged)
            )
        return None if event is None else _Held(event, number, logged.size)

    def _book_made(
        self, fresh: Sequence[Any], built: Sequence[_Held | Invalid | None]
    ) -> None:
        for logged, made in zip(fresh, built):
            if type(made) is _Held:
                self._held.append(made)
                if made.event.adjusted:
                    self._tally.note(made.event)
                continue
            self._bytes -= logged.size
            self._book_unmade(logged, made)
        self.intake.look_at = self._next_look()

    def _first_held(self) -> list[OdpEvent]:
        events: list[OdpEvent] = []
        size = 2
        for held in self._held:
            size += len(held.event.json) + 1
            if events and size > self._batch_bytes:
                break
            events.append(held.event)
            self._tally.retried += held.sent
            held.sent = True
        return events

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Forget what was accepted or rejected; keep what is pending, in its place."""
        with self._lock.section():
            if batch is not self._current:
                return  # given up meanwhile, and counted then
            self._settle(self._held[: len(batch.events)], delivery)
            self.intake.look_at = self._next_look()
        self._tell_waiting()

    def _settle(self, settled: Sequence[_Held], delivery: Delivery) -> None:
        pending, spooled = set(delivery.pending), set(delivery.spooled)
        still = []
        delivered = refused = moved = size = 0
        for position, held in enumerate(settled):
            if position in pending:
                held.in_doubt |= position in delivery.in_doubt
                still.append(held)
                continue
            size += held.size
            refused += position in delivery.rejected
            moved += position in spooled
            delivered += position not in delivery.rejected and position not in spooled
        rejected = dict(self._tally.rejected)
        if refused:
            rejected["refused"] = rejected.get("refused", 0) + refused
        count = len(settled)
        # Not a call from here on: no signal handler can run, and raise, in between.
        self._current = None
        self._held[:count] = still
        self._bytes -= size
        self._tally.delivered += delivered
        self._tally.moved += moved
        self._tally.rejected = rejected
        self._tally.retried += delivery.resent

    def _tell_waiting(self) -> None:
        # While finalizing, a frozen thread may hold the condition for ever.
        if self._block_timeout is not None and not sys.is_finalizing():
            with self._room:
                self._room.notify_all()

    # Any thread.

    def give_up(self, reason: str) -> int:
        """Drop all events; those that were sent and not answered are ``in_doubt``."""
        with self._lock.section():
            self._sort_in()
            if self._shelter is not None and self._here():
                self._move_to(self._shelter)
            in_flight = len(self._current.events) if self._current else 0
            for position, held in enumerate(self._held):
                doubtful = held.in_doubt or position < in_flight
                self._drop(held.event, "in_doubt" if doubtful else reason)
            for logged in (*self._building, *self._ready):
                self._drop(logged, reason)
            count = len(self._held) + len(self._building) + len(self._ready)
            self._held, self._building, self._current = [], (), None
            self._ready.clear()
            self._bytes = 0
            self.intake.look_at = self._next_look()
        self._tell_waiting()
        return count

    def _move_to(self, shelter: Shelter) -> None:
        """Have *shelter* keep all that is here, if it can."""
        if not shelter.is_able():
            return
        until = time.monotonic() + _TO_MOVE
        held = list(self._held)
        waiting = deque((*self._building, *self._ready))
        while waiting and time.monotonic() < until:
            logged = waiting.popleft()
            made = self._try(logged, 0)
            if isinstance(made, _Held):
                held.append(made)
                continue
            self._bytes -= logged.size
            self._book_unmade(logged, made)
        self._ready, self._building, self._held = waiting, (), held
        if not held or shelter.keep([each.event for each in held]):
            self._tally.moved += len(held)
            self._held, self._current = [], None

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def has_more(self) -> bool:
        """Whether others left events here: nobody does."""
        return False

    def is_pressed(self) -> bool:
        """Whether three quarters of the room are taken, and the shelter has some."""
        if self._shelter is None or not self._shelter.is_able():
            return False
        full = self._here() + len(self.intake.incoming) >= self._max_size * _PRESSED
        return full or self._bytes >= self._max_bytes * _PRESSED

    def dropped(self) -> Sequence[Dropped]:
        """Return what was dropped, a thousand events at most, grouped by reason."""
        with self._lock.section():
            lost = [self._lost.popleft() for _ in range(min(_SHOWN, len(self._lost)))]
            self._lost_bytes -= sum([logged.size for logged, _ in lost])
        groups: dict[str, list[OdpEvent]] = {}
        for logged, reason in lost:
            try:
                # Made already, and has its JSON, or still what was logged.
                event = logged if hasattr(logged, "json") else self._show(logged)
            except Exception:  # it would have been rejected: no event to show
                continue
            if event is not None:
                groups.setdefault(reason, []).append(event)
        return [Dropped(events, reason) for reason, events in groups.items()]

    def refuse(self, reason: str) -> None:
        """Count an event that is rejected before it comes to rest here."""
        # Noted first: who interrupts the books leaves it to them.
        self._tally.refuse(reason)
        if not self._lock.mine():
            with self._lock.section():
                self._tally.count_refused()

    def entered(self) -> int:
        """Return the number of the newest event here, counted from 1."""
        if self._lock.mine():
            return self._entered + len(self.intake.incoming)
        with self._lock.section():
            self._sort_in()
            return self._entered

    def passed(self) -> int:
        """Return the number up to which every event has left."""
        if self._lock.mine():
            return self._passed()
        with self._lock.section():
            return self._passed()

    def _passed(self) -> int:
        if self._held:
            return self._held[0].number - 1
        return self._entered - len(self._ready) - len(self._building)

    def is_mine(self) -> bool:
        """Whether this thread was interrupted in the middle of the books."""
        return self._lock.mine()

    def before_fork(self, deadline: float) -> None:
        """Do nothing: the child has locks of its own."""

    def after_fork_in_parent(self) -> None:
        """Do nothing."""

    def counts(self) -> Counts:
        """Return what became of all events so far."""
        if self._lock.mine():
            # A signal handler or finaliser in the middle of the books. Nothing is
            # mended, for whoever it interrupted goes on writing; and what was accepted
            # follows from the rest.
            counts = self._counts()
            gone = sum(counts.rejected.values()) + sum(counts.dropped.values())
            here = counts.pending + counts.moved
            return self._counts(counts.delivered + gone + here - counts.accepted)
        with self._lock.section():
            self._mend()
            self._tally.count_refused()
            return self._counts()

    def spooled(self) -> int:
        """Return how many events rest on disk: none."""
        return 0

    def is_durable(self) -> bool:
        """Whether what is put here is on disk when `put` returns: it is not."""
        return False

    def overflowed(self) -> int:
        """Return how many events were dropped for want of room."""
        return self._tally.overflowed()

    def _counts(self, correction: int = 0) -> Counts:
        incoming = len(self.intake.incoming)
        return self._tally.counts(
            pending=incoming + self._here(),
            spooled=0,
            unbooked=incoming + correction,
            size=self._bytes,
        )


class _Held:
    """An event that was taken and not settled yet."""

    __slots__ = ("event", "in_doubt", "number", "sent", "size")

    def __init__(self, event: OdpEvent, number: int, size: int) -> None:
        self.event = event
        self.number = number
        self.size = size
        self.sent = False
        self.in_doubt = False


_Spilling = tuple[Sequence["_Held | Invalid | None"], Sequence["OdpEvent"]]
"""What was made of the oldest that wait, and the events to be kept among that."""


def origin_of(logged: Any) -> str:
    """Return file and line of the log call; empty if they are not known."""
    place = getattr(logged, "origin", None)
    return f"{place[0]}:{place[1]}" if place else ""
