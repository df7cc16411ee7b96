"""A drain at exit: its deadline and limit, and what is abandoned afterwards."""

from __future__ import annotations

import threading
import time

import pytest

from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Delivery
from odp_logging._flusher.flusher import Flusher

from .conftest import (
    FakeCapture,
    RecordingTransport,
    answer_down,
    make_flusher,
    put_events,
    start_sending,
)


def test_drain_has_a_deadline() -> None:
    """A drain passes its deadline to the transport."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    put_events(flusher, "a")
    deadline = time.monotonic() + 10
    flusher.start_drain(deadline)

    assert flusher.end_drain(deadline)
    assert transport.deadlines == [deadline]
    flusher.finish()


def test_abandoned_events_are_reported() -> None:
    """Abandoned events are counted by their reason and passed to `on_drop`."""
    drops: list[tuple[int, str]] = []
    flusher = make_flusher(
        None, on_drop=lambda events, reason: drops.append((len(events), reason))
    )
    put_events(flusher, "a", "b")

    assert flusher.abandon("exit") == 2
    assert drops == [(2, "exit")]
    assert flusher.is_empty()


def test_every_put_drains_with_inline_delivery() -> None:
    """With inline delivery, each put calls the drain function."""
    drained: list[str] = []
    flusher = make_flusher(RecordingTransport())
    put_events(flusher, "a")
    flusher.use_inline_delivery(lambda flusher: drained.append("drained"))
    deadline = time.monotonic() + 10
    flusher.start_drain(deadline)
    flusher.end_drain(deadline)
    put_events(flusher, "b")
    put_events(flusher, "c")

    assert drained == ["drained", "drained"]


def test_a_released_flusher_is_done() -> None:
    """A released flusher delivers its events and is done then."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    thread = start_sending(flusher)
    flusher.release()
    thread.join(10)

    assert len(transport.batches) == 1
    assert flusher.is_done()


class SlowTransport(RecordingTransport):
    """A transport that needs 0.1 s for each batch."""

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        threading.Event().wait(0.1)
        return super().send(batch, deadline=deadline)


def drain(flusher: Flusher, *, timeout: float, limit: float) -> tuple[bool, float]:
    """Drain as at exit; return whether no event is left, and the seconds it took."""
    start = time.monotonic()
    deadlines = start + timeout, start + limit
    flusher.start_drain(*deadlines)
    return flusher.end_drain(*deadlines), time.monotonic() - start


@pytest.mark.parametrize("background", [True, False])
def test_progress_extends_the_deadline_of_a_drain(background: bool) -> None:
    """Each settled batch extends the deadline: it bounds the time without progress."""
    transport = SlowTransport()
    flusher = make_flusher(transport, background=background, shutdown_timeout=0.5)
    for index in range(30):
        flusher.store.put(FakeCapture(str(index)))
    flusher.wake()
    is_empty, seconds = drain(flusher, timeout=0.5, limit=60.0)

    assert is_empty
    assert seconds > 0.5
    assert sum(map(len, transport.batches)) == 30
    flusher.finish()


def test_a_drain_ends_at_its_limit() -> None:
    """Progress does not extend a drain past its limit."""
    transport = SlowTransport()
    flusher = make_flusher(transport, shutdown_timeout=0.5)
    for index in range(90):
        flusher.store.put(FakeCapture(str(index)))
    flusher.wake()
    is_empty, seconds = drain(flusher, timeout=0.5, limit=0.8)

    assert not is_empty
    assert 0.7 < seconds < 5
    flusher.abandon("test")
    flusher.finish()


def test_a_drain_without_progress_ends_at_its_timeout() -> None:
    """Without progress, a drain ends at its timeout, before the limit."""
    transport = RecordingTransport(*[lambda size: answer_down(size, backoff=0.1)] * 100)
    flusher = make_flusher(transport, shutdown_timeout=0.3)
    put_events(flusher, "a")
    is_empty, seconds = drain(flusher, timeout=0.3, limit=60.0)

    assert not is_empty
    assert seconds < 5
    flusher.abandon("test")
    flusher.finish()


def test_after_an_exit_a_thread_with_the_same_ident_may_send() -> None:
    """The exit excludes the flusher's thread until it ends, not later ones."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    thread = start_sending(flusher)
    flusher.use_inline_delivery(lambda flusher: flusher.step())
    drain(flusher, timeout=10, limit=10)
    flusher.abandon("exit")
    thread.join(10)
    put_events(flusher, "b")

    assert not thread.is_alive()
    assert flusher._dispatcher._excluded_thread == 0
    assert [event.action for batch in transport.batches for event in batch] == [
        "a",
        "b",
    ]


def test_at_exit_the_thread_sends_nothing_any_more() -> None:
    """After an abandonment at exit, a step on the flusher's thread takes no batch."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    flusher.store.put(FakeCapture("a"))
    flusher._dispatcher.exclude_thread(threading.get_ident())

    assert flusher.step() is None
    assert not transport.batches
    flusher._dispatcher.exclude_thread(0)
    assert flusher.step() is not None
