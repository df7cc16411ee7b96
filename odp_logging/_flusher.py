"""The mover: takes batches from a store and sends them, on size, time, request and end.

One daemon thread, started when the first event comes. Where no thread may start (at the
interpreter's end, in a sub-interpreter) or none is wanted, the same steps are made on
the thread that asks for them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from ._diagnostics import Diagnostics
from ._lock import OwnedLock
from ._passage import Passage
from ._reports import Reports
from .stores._intake import Intake

if TYPE_CHECKING:
    from ._delivery import Delivery
    from .stores._base import Batch, Store
    from .transports._base import Transport

_IDLE_WAIT = 10.0
_LONGEST_PAUSE = 1.0
_DRAIN_BACKOFF = 1.0
_HURRIED_BACKOFF = 0.25
_TO_TELL = 0.2


class Progress:
    """What a flusher did so far; read by the stats, written by one thread at a time."""

    __slots__ = ("batches", "last_error", "last_success", "requests", "state")

    def __init__(self) -> None:
        self.requests = 0
        self.batches = 0
        self.last_error: str | None = None
        self.last_success: float | None = None
        self.state = "idle"


class Flusher:
    """
    Moves events from *store* through *transport*.

    `wake`, `flush`, `drain` and `give_up` may be called on any thread; the store and
    the transport are used by one thread at a time, the one whose turn it is.

    Args:
        batch_size: Events that make a batch worth sending at once.
        interval: Seconds that an event waits for company.
        background: Whether to have a thread.
        shutdown_timeout: Seconds the end of the process may wait for this flusher.
        reports: Told what became of each batch, outside all locks.
        on_entering: Called when there is something to do for the first time, in this
            process and after each `finish`.
        beyond: Moves on what this one's transport left in a spool.
        on_starting: Called first thing on the thread.
        on_loading: Imports what making and sending events takes; called before the
            first step, where no fork can come in between.
        intake: Where log calls leave events; says whether they have to wake us.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport | None,
        *,
        batch_size: int,
        interval: float,
        background: bool = True,
        shutdown_timeout: float = 5.0,
        on_entering: Callable[[Flusher], object] = lambda flusher: None,
        reports: Reports | None = None,
        beyond: Flusher | None = None,
        on_starting: Callable[[], object] = lambda: None,
        on_loading: Callable[[], object] = lambda: None,
        intake: Intake | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.passage = Passage(store, clock)
        self.shutdown_timeout = shutdown_timeout
        self.beyond = beyond
        self.intake = intake or Intake()
        self._transport = transport
        self._batch_size = batch_size
        self._interval = interval
        self._background = background
        self._on_entering = on_entering
        self._on_starting = on_starting
        self._on_loading = on_loading
        self._loaded = False
        self.reports = reports or Reports(Diagnostics())
        self._clock = clock
        self.on_gone: Callable[[Flusher], object] | None = None
        self._reset()

    def __del__(
        self,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        # The last moment at which what it did in this process can be counted. Modules
        # may be taken apart already, and what they held with them.
        tell = getattr(self, "on_gone", None)  # none in one that was never made
        if tell is not None and not is_finalizing() and self._pid == getpid():
            tell(self)

    def _reset(self) -> None:
        self.idle = True
        self.progress = Progress()
        self._pid = os.getpid()
        self._turn = OwnedLock()
        self._loading = OwnedLock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._starting = OwnedLock()
        self._thread: threading.Thread | None = None
        self._worker = 0
        self._entered = False
        self._due = False
        self._hurried = False
        self._ending = False
        self._again = False
        self._hurries = 0
        self._hurry_to = 0
        self._deadline: float | None = None
        self._not_before = 0.0
        self._late: Callable[[Flusher], object] | None = None
        self._retired = False

    @property
    def idle(self) -> bool:
        """Whether a put has to wake this flusher."""
        return self.intake.idle

    @idle.setter
    def idle(self, idle: bool) -> None:
        self.intake.idle = idle

    # What others ask of it.

    def wake(self, *, due: bool = False, hurry: bool = False) -> None:
        """
        Have the thread look at the store; start it if there is none.

        Args:
            due: A batch is full.
            hurry: What was put is to be sent at once, full or not.
        """
        if due:
            self._due = True
        if hurry:
            self._hurried = True
        if not self._entered:
            self._entered = True
            self._on_entering(self)
        if self._transport is None:
            return
        if self._late is None and self._background:
            self._rouse()
        elif self.is_mine():
            return  # whoever was interrupted is about to look at the store
        elif self._late is None:
            self._send_here()
        else:
            self._late(self)

    def _rouse(self) -> None:
        # Before the look at the thread: one that ends says that it is idle, and only
        # then looks at the store for the last time.
        rung = False
        self._be_busy()
        try:
            if self._has_thread() or self._start():
                self._ring()
                rung = True
        finally:
            # A signal handler may raise in between: then the next put rings.
            if not rung:
                self.idle = True

    def _be_busy(self) -> None:
        # At the end of the process every put has to wake us: nobody waits for a thread.
        self.idle = self._late is not None

    def connect(self, transport: Transport) -> None:
        """Send through *transport* from now on; only for a flusher that had none."""
        self._transport = transport
        if not self.is_empty():
            self.wake()

    def flush(self, timeout: float) -> bool:
        """
        Send all that was put before, and wait for it at most *timeout* seconds.

        Returns:
            Whether all of it was delivered, rejected or dropped in that time. False at
            once on the flusher's own thread, a callback's for one.
        """
        if self.is_mine():
            return False
        deadline = self._clock() + timeout
        return self._reach(self.hurry(), deadline)

    def hurry(self) -> int:
        """Send what is here without waiting for more; return the newest's number."""
        target = self.store.entered()
        self._hurry_to = max(self._hurry_to, target)
        self._hurries += 1
        if target > self.passage.passed() and self._has_thread():
            self._ring()
        elif target > self.passage.passed() and self._background and not self._late:
            self.wake()
        return target

    def finish(self) -> None:
        """Let the thread end once the store is empty; a later `wake` starts another."""
        self._entered = False
        self._ending = True
        self._hurry_to = max(self._hurry_to, self.store.entered())
        if self._thread is not None:
            self._ring()
        elif self.is_empty():
            self._turn.run(self._close_transport)

    def release(self) -> None:
        """Finish, and be done with it: nobody will put anything any more."""
        self.finish()
        if self._transport is None and self.give_up("unconfigured"):
            self.reports.diagnostics.warn(
                "unconfigured",
                "a client was given up that never had a key, and its events with it;"
                " set ODP_API_KEY",
            )

    def is_mine(self) -> bool:
        """Whether this thread is in the middle of this flusher's or store's code."""
        return self.is_sending() or self.store.is_mine()

    def is_sending(self) -> bool:
        """Whether this thread sends for this flusher, or is in one of its callbacks."""
        # Looked up now: gevent may have patched it after our import.
        me = threading.get_ident()
        return self._worker == me or self._turn.mine() or self.reports.is_mine()

    def is_attended(self) -> bool:
        """Whether a thread of its own sends what is here."""
        return self._late is None and self._has_thread()

    def is_empty(self) -> bool:
        """Whether no event is waiting here."""
        return self.store.passed() >= self.store.entered()

    def waiting(self) -> int:
        """Return how many events are waiting here."""
        return max(0, self.store.entered() - self.store.passed())

    def _has_work(self) -> bool:
        return not self.is_empty() or (not self._ending and self.store.has_more())

    def has_destination(self) -> bool:
        """Whether it knows where to send."""
        return self._transport is not None

    def is_done(self) -> bool:
        """Whether it was finished, and nothing and nobody is left in it."""
        done = self._ending and self._thread is None and self.is_empty()
        return done and (self.beyond is None or self.beyond.is_done())

    # The end of the process, see _lifecycle.

    def begin_drain(self, deadline: float) -> None:
        """Hurry, and let no request or pause outlast *deadline*."""
        self._deadline = deadline
        self.hurry()

    def end_drain(self, deadline: float) -> bool:
        """Wait until everything has left, or for *deadline*; say whether it has."""
        mine = self.is_mine()
        if not mine:
            self._reach(self.store.entered(), deadline)
            self._send_leftovers(deadline)
        self._deadline = None
        if self._late is not None:
            self.idle = True
            # Finalisers may still be shown what is dropped, and ask for stats.
            wanted = self.reports.shows_drops() or not self.is_empty()
            if wanted and not sys.is_finalizing():
                self.load(0.0)
        elif self._background and not (mine or self._has_thread() or self.is_empty()):
            # Put meanwhile, when no thread was to be started.
            self._rouse()
        return self.is_empty()

    def _send_leftovers(self, deadline: float) -> None:
        """Send what others left here as well, as long as that goes well."""
        failing = self.progress.state in ("retrying", "misconfigured")
        idle = 0
        while not failing and idle < 2 and self._clock() < deadline:
            if self._transport is None or not self.store.has_more():
                return
            delivery = self.step(deadline)
            failing = delivery is not None and bool(delivery.pending)
            idle = 0 if delivery is not None and delivery.size else idle + 1

    def give_up(self, reason: str, deadline: float = 0.0) -> int:
        """
        Drop what is left, and tell those who want to know; return how many.

        At the end of the process the thread sends nothing any more: what it has under
        way then would come to rest on disk as well, and be sent once more.

        Args:
            reason: Why, as the stats count it; "exit" for the end of the process.
            deadline: Moment until which to wait for the end of a request.
        """
        if reason == "exit":
            self._retired = True
            self._ring()
        drop = partial(self.store.give_up, reason)
        count = self._turn.run(drop, max(0.0, deadline - self._clock()))
        if count is None:
            count = drop()
        self.reports.tell_drops(self.store, seconds=_TO_TELL)
        self.passage.give_up()
        return count

    def hush(self, deadline: float) -> None:
        """Have no thread but the main one write lines, from *deadline* on."""
        self.reports.diagnostics.hush(deadline)

    def spooled(self) -> int:
        """Return how many events rest on disk, for this process or the next."""
        return self.store.spooled()

    def is_durable(self) -> bool:
        """Whether an event that was put here is on disk already."""
        return self.store.is_durable()

    def go_synchronous(self, drain: Callable[[Flusher], object]) -> None:
        """From now on call *drain* where a thread would have been woken."""
        self._late = drain
        self.idle = True

    def load(self, wait: float = -1.0) -> bool:
        """
        Import what making and sending events takes, once.

        Not before there are any: it takes longer than all else that a configured
        handler needs, and a log call does not wait for it. And all of it at once:
        nothing can be imported any more when the interpreter is taken apart.

        Args:
            wait: Seconds to wait for another thread that does; -1 for as long as it
                takes. A signal handler that came within an import has to be short:
                that thread may wait for it.

        Returns:
            Whether all of it is there.
        """
        if not self._loaded:
            self._loading.run(self._load, wait)
        return self._loaded

    def _load(self) -> None:
        self._on_loading()
        _nothing()
        self._loaded = True

    def before_fork(self, deadline: float) -> None:
        """
        Let no thread import what it needs while this one forks.

        The child would inherit a half-imported module, locked by a thread that it does
        not have, and wait for ever when it imports the same.
        """
        self.reports.diagnostics.before_fork(deadline)
        self.store.before_fork(deadline)
        if not self._loading.mine():
            self._loading.acquire(max(0.0, deadline - time.monotonic()))

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._loading.release()
        self.store.after_fork_in_parent()
        self.reports.diagnostics.after_fork_in_parent()

    def after_fork_once(self) -> None:
        """Start afresh unless the fork hook has done so in this process."""
        if self._pid != os.getpid():
            self.after_fork()

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self.store.after_fork()
        if self._transport is not None:
            self._transport.after_fork()
        self.reports.after_fork()
        self.passage.after_fork()
        self._reset()

    # The thread.

    def _start(self) -> bool:
        # Re-entered from a signal handler, or by another thread: one start is enough.
        return bool(self._starting.run(self._start_thread))

    def _start_thread(self) -> bool:
        # Never at the end: 3.12.0 to 3.12.2 raise, and nobody would wait for it.
        if self._deadline is not None:
            return False
        if self._has_thread():
            return True
        self._ending = False
        self._thread = threading.Thread(
            target=self._run, name="odp-logging", daemon=True
        )
        started = False
        try:
            self._thread.start()
            started = True
        except RuntimeError:
            # The interpreter is ending, or this is a sub-interpreter that allows no
            # daemon threads: whoever drains will do the work.
            pass
        except KeyError as error:
            # What a signal handler raised within start(), as CPython's own cleaning up
            # after it hides it.
            raise error.__context__ or error from None
        finally:
            if not started:  # or a signal handler raised: the next put starts another
                self._thread = None
        return started

    def _has_thread(self) -> bool:
        # Not is_alive(): where a signal handler raises in the middle of it, CPython to
        # 3.12 takes a living thread for dead (bpo-45274). `_run` takes itself back.
        return self._thread is not None and not self._retired

    def _ring(self) -> None:
        # A raw lock as a semaphore: safe within a signal handler, unlike Event.set.
        try:
            self._bell.release()
        except RuntimeError:  # rung already
            pass

    def _wait(self, seconds: float) -> None:
        self._bell.acquire(timeout=max(0.0, min(seconds, _IDLE_WAIT)))

    def _run(self) -> None:
        self._worker = threading.get_ident()
        mine = threading.current_thread()
        self._on_starting()
        try:
            while self._thread is mine and not self._retired and self._survive():
                pass
        finally:
            if self._thread is mine:
                self._worker = 0
                self._thread = None
                self.idle = True
                self.passage.end()  # who waits for this thread asks only once a second
        # What was put since the last look, by those who still saw a thread.
        ended = self._thread is None and self._deadline is None and not self._retired
        if ended and not self.is_empty():
            self.wake()

    def _survive(self) -> bool:
        try:
            return self._go_on()
        except BaseException as error:  # a thread that died would lose what follows
            self.reports.diagnostics.warn(
                "failed",
                f"the flusher failed with {type(error).__name__}; it goes on with what"
                " is left; please report this",
            )
            self._wait(_LONGEST_PAUSE)
            return True

    def _go_on(self) -> bool:
        """Wait for a batch and send it; return False at the thread's end."""
        if not self._has_work():
            self.progress.state = "idle"
            if self._ending:
                self._turn.run(self._close_transport, -1)
                return False
            self.idle = True
            # Looked at once more: a put that came before `idle` did not ring.
            if self.is_empty():
                self._wait(_IDLE_WAIT)
            self._be_busy()
            self._again = False
            if not self._has_work():
                return True
        if not self._again and not self.is_empty():
            self._ripen()
        hurries = self._hurries
        passed = self.store.passed()
        delivery = self.step()
        size = 0 if delivery is None else delivery.size
        if delivery is not None and delivery.pending:
            self._again = True
            self._pause(delivery, hurries)
        elif not (size or self.is_empty() or self.store.passed() > passed):
            self._wait(_LONGEST_PAUSE)  # what is here cannot be read now
        return True

    def _ripen(self) -> None:
        """Wait for company: for a full batch, the interval, a flush or the end."""
        until = self._clock() + self._interval
        self._turn.run(self.prepare, -1)  # its imports take time: not after the wait
        while not (
            self._due
            or self._hurried
            or self._deadline is not None
            or self.passage.is_awaited()
        ):
            left = until - self._clock()
            if left <= 0 or self._hurry_to > self.passage.passed():
                return
            self._wait(left)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.store.close()

    def prepare(self) -> None:
        """Import and make all that the first request needs."""
        self.load()
        if self._transport is not None:
            with self._loading.section():
                self._transport.prepare()

    def _pause(self, delivery: Delivery, hurries: int) -> None:
        """Wait before the next attempt: shorter for a flush, never for Retry-After."""
        start = self._clock()
        self.progress.state = (
            "misconfigured" if delivery.is_misconfigured else "retrying"
        )
        while True:
            backoff = delivery.backoff
            if self._deadline is not None:
                backoff = min(backoff, _DRAIN_BACKOFF)
            if self._hurries != hurries:
                backoff = min(backoff, _HURRIED_BACKOFF)
            until = start + max(backoff, delivery.retry_after)
            left = until - self._clock()
            if left <= 0 or not self._has_work() or self.store.is_pressed():
                return
            self._wait(min(left, _LONGEST_PAUSE))
            self.reports.tell_drops(self.store)

    # One step, on whichever thread has the turn.

    def step(self, deadline: float | None = None) -> Delivery | None:
        """
        Take one batch, send it and settle it; return what became of it.

        None if it was not our turn in time.

        Args:
            deadline: Moment until which to wait for the turn, and for the answer.
        """
        wait = -1.0 if deadline is None else max(0.0, deadline - self._clock())
        try:
            moved = self._turn.run(partial(self._move, deadline), wait)
            if moved is None:
                return None
            self.reports.tell(*moved, self.store)
            return moved[1]
        finally:
            self.passage.end()

    def _move(self, deadline: float | None) -> tuple[Batch, Delivery] | None:
        wait = -1.0 if deadline is None else max(0.0, deadline - self._clock())
        if self._transport is None or not self.load(wait):
            return None
        if self._retired and self._worker == threading.get_ident():
            return None
        due_by = self._due_by(deadline)
        if due_by is not None and self._clock() >= due_by:
            return None  # an answer would come too late, and all be sent again
        # Until it is reported, nobody who waits is told that it has left.
        self.passage.begin()
        self._again = False
        self._hurried = False  # before the take: a put after it says so itself
        self.prepare()
        batch = self.store.take()
        delivery = _nothing()
        if batch.events:
            self.progress.state = "sending"
            delivery = self._transport.send(batch, deadline=due_by)
            self._note(delivery)
        self.store.settle(batch, delivery)
        self._due = False  # before the count: a put after it says so itself
        if batch.cut or self.store.counts().waiting >= self._batch_size:
            self._due = True
        self.progress.state = "idle"
        return batch, delivery

    def _due_by(self, deadline: float | None) -> float | None:
        given = [each for each in (deadline, self._deadline) if each is not None]
        return min(given, default=None)

    def _note(self, delivery: Delivery) -> None:
        self.progress.requests += delivery.requests
        if delivery.accepted:
            self.progress.batches += 1
            self.progress.last_success = time.time()
        if delivery.pending:
            self.progress.last_error = delivery.message

    def _send_here(self) -> None:
        """Make one attempt on the caller's thread (``background=False``)."""
        if self._clock() < self._not_before:
            return
        delivery = self.step()
        if delivery is None:
            return
        pause = max(delivery.backoff, delivery.retry_after)
        self._not_before = self._clock() + pause

    def _drive(self, target: int, deadline: float) -> None:
        """Make steps on this thread until *target* has left or *deadline* comes."""
        if self.is_mine():
            return
        while self.passage.passed() < target and self._clock() < deadline:
            if self._transport is None:
                return
            hurries = self._hurries
            delivery = self.step(deadline)
            if delivery is not None and delivery.pending:
                hurried = self._hurries != hurries
                backoff = _HURRIED_BACKOFF if hurried else delivery.backoff
                backoff = min(backoff, delivery.backoff, _DRAIN_BACKOFF)
                pause = max(backoff, delivery.retry_after)
                self._wait(min(pause, deadline - self._clock()))
            elif delivery is None or not delivery.size:
                # Another thread still reports what it sent.
                soon = min(deadline, self._clock() + _DRAIN_BACKOFF)
                self.passage.wait(target, soon, going_on=lambda: True)

    def _reach(self, target: int, deadline: float) -> bool:
        """Have all up to *target* sent, by the thread if there is one."""
        if self._has_thread():
            going_on = partial(self._keeps_to, target)
            self.passage.wait(target, deadline, going_on=going_on)
        if self.passage.passed() < target:
            self._drive(target, deadline)
        return self.passage.passed() >= target

    def _keeps_to(self, target: int) -> bool:
        if self._hurry_to < target:  # another thread's, set at the same time
            self._hurry_to = target
            self._ring()
        # Asked again and again: the thread may end of something nobody foresaw.
        return self._has_thread()


@cache
def _nothing() -> Delivery:
    from ._delivery import Delivery  # held by the cache, see _loading

    return Delivery(0, requests=0)
