"""The flusher: who sends, when, and what others learn of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging._diagnostics import Diagnostics
from odp_logging._flusher import Flusher
from odp_logging._reports import Reports
from odp_logging.stores._base import Batch
from odp_logging.stores._buffer import Buffer


class Recording:
    """A transport that keeps what it was given and answers as it was told."""

    def __init__(self, *answers: Callable[[int], Delivery]) -> None:
        self.batches: list[Sequence[OdpEvent]] = []
        self.deadlines: list[float | None] = []
        self.threads: list[int] = []
        self.prepared = threading.Event()
        self.sent = threading.Semaphore(0)
        self._answers = list(answers)

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.batches.append(batch.events)
        self.deadlines.append(deadline)
        self.threads.append(threading.get_ident())
        answer = self._answers.pop(0) if self._answers else Delivery
        try:
            return answer(len(batch.events))
        finally:
            self.sent.release()

    def prepare(self) -> None:
        self.prepared.set()

    def close(self) -> None: ...

    def after_fork(self) -> None:
        self.batches.clear()


class Logged:
    """What a store is given."""

    size = 100
    origin = None

    def __init__(self, action: str) -> None:
        self.action = action


def down(size: int, **more: float) -> Delivery:
    """Answer as a server that is down."""
    return replace(Delivery.nothing_yet(size, Cause.PASSING, "down"), **more)


def make(transport: Recording | None, **settings: Any) -> Flusher:
    """Return a flusher of small batches that waits long for company."""
    store = Buffer(
        lambda logged, event_id=None: OdpEvent(logged.action, {"email": "a@b.example"}),
        batch_size=3,
        batch_bytes=10_000,
        max_size=100,
        max_bytes=100_000,
        keep_dropped="on_drop" in settings,
    )
    callbacks = (settings.pop("on_delivery", None), settings.pop("on_drop", None))
    chosen: dict[str, Any] = {"batch_size": 3, "interval": 60.0, **settings}
    reports = Reports(Diagnostics(), *callbacks)
    return Flusher(store, transport, reports=reports, **chosen)


def put(flusher: Flusher, *actions: str) -> None:
    """Put as a client does."""
    for action in actions:
        if flusher.store.put(Logged(action)):
            flusher.wake(due=True)
        elif flusher.idle:
            flusher.wake()


def threads() -> set[threading.Thread]:
    """Return the threads that send."""
    return {each for each in threading.enumerate() if each.name == "odp-logging"}


def test_no_thread_before_the_first_event() -> None:
    """A flusher that has nothing to do has no thread."""
    before = threading.active_count()
    flusher = make(Recording())

    assert flusher.flush(0)
    assert threading.active_count() == before


def test_a_full_batch_is_sent_at_once() -> None:
    """The event that fills a batch has it sent, on the flusher's thread."""
    transport = Recording()
    flusher = make(transport)
    put(flusher, "a", "b", "c")

    assert transport.sent.acquire(timeout=10)
    assert [event.action for event in transport.batches[0]] == ["a", "b", "c"]
    assert transport.threads != [threading.get_ident()]
    flusher.finish()


def test_flush_sends_what_is_there() -> None:
    """A flush waits for what was put before it, in as many requests as it takes."""
    transport = Recording()
    flusher = make(transport)
    put(flusher, "a", "b", "c", "d")

    assert flusher.flush(10)
    assert sum(map(len, transport.batches)) == 4
    flusher.finish()


def test_flush_gives_up_in_time() -> None:
    """A flush that is not answered returns False when its time is over."""
    transport = Recording(*[lambda size: down(size, retry_after=60.0)] * 2)
    flusher = make(transport)
    put(flusher, "a")

    assert not flusher.flush(0.05)
    assert flusher.give_up("test") == 1
    flusher.finish()


def test_flush_shortens_the_pause() -> None:
    """A flush does not wait for our own backoff."""
    transport = Recording(lambda size: down(size, backoff=60.0))
    flusher = make(transport, interval=0.0)
    put(flusher, "a")
    assert transport.sent.acquire(timeout=10)

    assert flusher.flush(10)
    assert len(transport.batches) == 2
    flusher.finish()


def test_drain_has_a_deadline() -> None:
    """A drain tells the transport until when it may take."""
    transport = Recording()
    flusher = make(transport)
    put(flusher, "a")
    deadline = time.monotonic() + 10
    flusher.begin_drain(deadline)

    assert flusher.end_drain(deadline)
    assert transport.deadlines == [deadline]
    flusher.finish()


def test_finish_ends_the_thread_and_wake_starts_another() -> None:
    """A finished flusher's thread sends what is left and ends; a put starts another."""
    transport = Recording()
    flusher = make(transport)
    others = threads()
    put(flusher, "a")
    (thread,) = threads() - others
    flusher.finish()
    thread.join(10)
    assert not thread.is_alive()
    put(flusher, "b")

    assert flusher.flush(10)
    assert [event.action for batch in transport.batches for event in batch] == [
        "a",
        "b",
    ]
    flusher.finish()


def test_thread_survives_a_failing_transport() -> None:
    """A transport that raises costs a pause, not the thread, and no event."""

    def fail(size: int) -> Delivery:
        raise LookupError

    transport = Recording(fail)
    flusher = make(transport, interval=0.0)
    put(flusher, "a")
    assert transport.sent.acquire(timeout=10)

    assert flusher.flush(10)
    assert len(transport.batches) == 2
    flusher.finish()


@pytest.mark.parametrize("background", [True, False])
def test_callback_that_calls_back(background: bool) -> None:
    """Flush within a callback returns False at once, and the callback goes on."""
    answers: list[bool] = []
    transport = Recording()
    flusher: Flusher = make(
        transport,
        background=background,
        on_delivery=lambda events: answers.append(flusher.flush(60)),
    )
    put(flusher, "a")

    assert flusher.flush(10)
    assert answers == [False]
    flusher.finish()


def test_callback_that_puts_in_the_foreground() -> None:
    """A callback that puts an event is called for it later, not within itself."""
    depth: list[int] = []

    def again(events: Sequence[OdpEvent]) -> None:
        depth.append(len(depth))
        if len(depth) < 3:
            put(flusher, "again")

    flusher = make(Recording(), background=False, on_delivery=again)
    put(flusher, "a")
    assert depth == [0]

    assert flusher.flush(10)
    assert depth == [0, 1]


def test_foreground_sends_in_the_caller() -> None:
    """Without a thread, the one who puts sends."""
    transport = Recording()
    flusher = make(transport, background=False)
    put(flusher, "a")

    assert transport.threads == [threading.get_ident()]


def test_foreground_respects_the_pause() -> None:
    """Without a thread, puts during a pause make no attempt."""
    transport = Recording(lambda size: down(size, backoff=60.0))
    now = [0.0]
    flusher = make(transport, background=False, clock=lambda: now[0])
    put(flusher, "a", "b")
    assert len(transport.batches) == 1
    now[0] = 61.0
    put(flusher, "c")

    assert len(transport.batches) == 2


def test_foreground_flush_is_bounded() -> None:
    """Without a thread, a flush has the transport answer within its time."""
    transport = Recording(down)
    flusher = make(transport, background=False)
    put(flusher, "a")
    flusher.flush(10)

    assert transport.deadlines[0] is None
    assert transport.deadlines[1] is not None


def test_connected_later() -> None:
    """What was put before there was a transport is sent when one comes."""
    flusher = make(None)
    put(flusher, "a")
    assert not flusher.flush(0)
    transport = Recording()
    flusher.connect(transport)

    assert flusher.flush(10)
    assert len(transport.batches) == 1
    flusher.finish()


def test_given_up_is_told() -> None:
    """What is given up is counted by its reason, and told to those who asked."""
    told: list[tuple[int, str]] = []
    flusher = make(
        None, on_drop=lambda events, reason: told.append((len(events), reason))
    )
    put(flusher, "a", "b")

    assert flusher.give_up("exit") == 2
    assert told == [(2, "exit")]
    assert flusher.is_empty()


def test_notified_when_all_has_left() -> None:
    """Who asks to be notified is, once all up to his event has left."""
    flusher = make(Recording())
    put(flusher, "a")
    left = threading.Event()
    flusher.passage.notify(flusher.hurry(), left.set)

    assert left.wait(10)
    flusher.finish()


def test_every_put_wakes_at_the_end() -> None:
    """At the end of the process each put is drained by its own log call."""
    late: list[str] = []
    flusher = make(Recording())
    put(flusher, "a")
    flusher.go_synchronous(lambda line: late.append("drained"))
    deadline = time.monotonic() + 10
    flusher.begin_drain(deadline)
    flusher.end_drain(deadline)
    put(flusher, "b")
    put(flusher, "c")

    assert late == ["drained", "drained"]


def test_after_a_fork_it_is_empty() -> None:
    """In a forked child nothing is left of the parent's events, and it works."""
    transport = Recording()
    flusher = make(transport)
    put(flusher, "a")
    flusher.after_fork()
    assert flusher.is_empty()
    put(flusher, "b")

    assert flusher.flush(10)
    assert [e.action for batch in transport.batches for e in batch][-1] == "b"
    flusher.finish()


def test_a_fork_waits_for_imports() -> None:
    """While a thread forks, the flusher's thread imports nothing."""
    transport = Recording()
    flusher = make(transport)
    flusher.before_fork(time.monotonic() + 10)
    put(flusher, "a", "b", "c")
    assert not transport.prepared.is_set()
    flusher.after_fork_in_parent()

    assert transport.prepared.wait(10)
    flusher.finish()


def test_released_is_done() -> None:
    """A released flusher delivers what it holds, and then it is done."""
    transport = Recording()
    flusher = make(transport)
    others = threads()
    put(flusher, "a")
    (thread,) = threads() - others
    flusher.release()
    thread.join(10)

    assert len(transport.batches) == 1
    assert flusher.is_done()
