"""The flusher: on which thread and when it sends, and what it reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._events.delivery import Delivery
from odp_logging._flusher import worker
from odp_logging._flusher.flusher import Flusher

from ..waiting import until
from .conftest import (
    FakeCapture,
    RecordingTransport,
    answer_down,
    make_flusher,
    put_events,
    start_sending,
)


def test_no_thread_before_the_first_event() -> None:
    """A flusher without events has no thread."""
    before = threading.active_count()
    flusher = make_flusher(RecordingTransport())

    assert flusher.flush(0)
    assert threading.active_count() == before


def test_a_full_batch_is_sent_at_once() -> None:
    """A full batch is sent at once, on the flusher's thread."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    put_events(flusher, "a", "b", "c")

    assert transport.sent.acquire(timeout=10)
    assert [event.action for event in transport.batches[0]] == ["a", "b", "c"]
    assert transport.threads != [threading.get_ident()]
    flusher.finish()


def test_puts_to_a_full_batch_wake_the_thread_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """During an outage, only the put that fills a batch wakes the thread."""
    transport = RecordingTransport(lambda size: answer_down(size, backoff=60.0))
    flusher = make_flusher(transport)
    put_events(flusher, "a", "b", "c")
    assert transport.sent.acquire(timeout=10)
    woken: list[bool] = []
    monkeypatch.setattr(flusher._schedule, "wake", lambda: woken.append(True))
    # The answer came: the settled batch is full again, so the thread knows of it.
    until(lambda: flusher.status.state == "retrying")
    put_events(flusher, "d", "e", "f")

    assert woken == []
    monkeypatch.undo()
    assert flusher.flush(10)
    assert sum(map(len, transport.batches[1:])) == 6
    flusher.finish()


def test_a_put_after_finish_registers_the_flusher_again() -> None:
    """Also if a batch was full before, so that the exit drains the flusher."""
    started: list[Flusher] = []
    transport = RecordingTransport(lambda size: answer_down(size, backoff=60.0))
    flusher = make_flusher(transport, on_start=started.append)
    put_events(flusher, "a", "b", "c")
    assert transport.sent.acquire(timeout=10)
    flusher.finish()
    put_events(flusher, "d", "e", "f")

    assert started == [flusher, flusher]
    assert flusher.flush(10)
    flusher.finish()


def test_a_full_batch_waits_for_the_end_of_a_burst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events are not built next to the log calls that fill the batch."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    waits: list[tuple[bool, float]] = []
    schedule, wait = flusher._schedule, flusher._schedule.wait

    def record(seconds: float) -> None:
        waits.append((schedule.is_batch_full, seconds))
        wait(seconds)

    monkeypatch.setattr(schedule, "wait", record)
    put_events(flusher, "a", "b", "c")

    assert transport.sent.acquire(timeout=10)
    in_burst = [seconds for is_full, seconds in waits if is_full]
    assert in_burst and 0 < max(in_burst) <= 0.02
    flusher.finish()


@pytest.mark.parametrize(
    "end",
    [
        lambda flusher: flusher.wake(urgent=True),
        lambda flusher: flusher.request_flush(),
        lambda flusher: flusher.start_drain(time.monotonic() + 10),
        lambda flusher: [
            setattr(flusher.inbox, "nearly_full", True),
            flusher.apply_backpressure(),
        ],
        lambda flusher: flusher.finish(),
    ],
    ids=["an urgent event", "a flush", "a drain", "a nearly full buffer", "the end"],
)
def test_what_is_due_ends_the_wait_for_a_burst(
    end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait of a full batch delays nothing that callers wait for."""
    monkeypatch.setattr(worker, "_BURST_SECONDS", 60.0)
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    put_events(flusher, "a", "b", "c")
    end(flusher)

    assert transport.sent.acquire(timeout=10)
    flusher.finish()


def test_flush_sends_all_waiting_events() -> None:
    """A flush sends the events put before it, in as many requests as needed."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    put_events(flusher, "a", "b", "c", "d")

    assert flusher.flush(10)
    assert sum(map(len, transport.batches)) == 4
    flusher.finish()


def test_flush_returns_at_its_timeout() -> None:
    """A flush without an answer returns False at its timeout."""
    transport = RecordingTransport(
        *[lambda size: answer_down(size, retry_after=60.0)] * 2
    )
    flusher = make_flusher(transport)
    put_events(flusher, "a")

    assert not flusher.flush(0.05)
    assert flusher.abandon("test") == 1
    flusher.finish()


def test_flush_shortens_the_pause() -> None:
    """A flush does not wait for the backoff."""
    transport = RecordingTransport(lambda size: answer_down(size, backoff=60.0))
    flusher = make_flusher(transport, interval=0.0)
    put_events(flusher, "a")
    assert transport.sent.acquire(timeout=10)

    assert flusher.flush(10)
    assert len(transport.batches) == 2
    flusher.finish()


def test_finish_ends_the_thread_and_wake_starts_another() -> None:
    """After finish, the thread sends its events and ends; a put starts another."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    thread = start_sending(flusher)
    flusher.finish()
    thread.join(10)
    assert not thread.is_alive()
    put_events(flusher, "b")

    assert flusher.flush(10)
    assert [event.action for batch in transport.batches for event in batch] == [
        "a",
        "b",
    ]
    flusher.finish()


def test_thread_survives_a_failing_transport() -> None:
    """If the transport raises, the thread continues and no event is lost."""

    def fail(size: int) -> Delivery:
        raise LookupError

    transport = RecordingTransport(fail)
    flusher = make_flusher(transport, interval=0.0)
    put_events(flusher, "a")
    assert transport.sent.acquire(timeout=10)

    assert flusher.flush(10)
    assert len(transport.batches) == 2
    flusher.finish()


@pytest.mark.parametrize("background", [True, False])
def test_flush_in_a_callback_returns_false(background: bool) -> None:
    """Flush within a callback returns False at once, and the callback continues."""
    answers: list[bool] = []
    transport = RecordingTransport()
    flusher: Flusher = make_flusher(
        transport,
        background=background,
        on_delivery=lambda events: answers.append(flusher.flush(60)),
    )
    put_events(flusher, "a")

    assert flusher.flush(10)
    assert answers == [False]
    flusher.finish()


def test_put_in_a_callback_without_a_thread() -> None:
    """An event put by a callback is reported later, not within the callback."""
    depth: list[int] = []

    def again(events: Sequence[OdpEvent]) -> None:
        depth.append(len(depth))
        if len(depth) < 3:
            put_events(flusher, "again")

    flusher = make_flusher(RecordingTransport(), background=False, on_delivery=again)
    put_events(flusher, "a")
    assert depth == [0]

    assert flusher.flush(10)
    assert depth == [0, 1]


def test_without_a_thread_the_caller_sends() -> None:
    """Without a thread, the thread that puts an event sends it."""
    transport = RecordingTransport()
    flusher = make_flusher(transport, background=False)
    put_events(flusher, "a")

    assert transport.threads == [threading.get_ident()]


def test_without_a_thread_the_backoff_is_kept() -> None:
    """Without a thread, a put during the backoff makes no attempt."""
    transport = RecordingTransport(lambda size: answer_down(size, backoff=60.0))
    now = [0.0]
    flusher = make_flusher(transport, background=False, clock=lambda: now[0])
    put_events(flusher, "a", "b")
    assert len(transport.batches) == 1
    now[0] = 61.0
    put_events(flusher, "c")

    assert len(transport.batches) == 2


def test_without_a_thread_flush_is_bounded() -> None:
    """Without a thread, a flush passes its deadline to the transport."""
    transport = RecordingTransport(answer_down)
    flusher = make_flusher(transport, background=False)
    put_events(flusher, "a")
    flusher.flush(10)

    assert transport.deadlines[0] is None
    assert transport.deadlines[1] is not None


def test_events_wait_for_a_transport() -> None:
    """Events put before a transport is set are sent once it is set."""
    flusher = make_flusher(None)
    put_events(flusher, "a")
    assert not flusher.flush(0)
    transport = RecordingTransport()
    flusher.connect(lambda: transport)

    assert flusher.flush(10)
    assert len(transport.batches) == 1
    flusher.finish()


def test_the_transport_is_built_at_first_use() -> None:
    """Neither finish nor a fork builds the transport, and the first put does."""
    built: list[RecordingTransport] = []

    def build() -> RecordingTransport:
        built.append(RecordingTransport())
        return built[-1]

    flusher = make_flusher(None, background=False)
    flusher.connect(build)
    flusher.finish()
    flusher.after_fork()
    assert not built
    put_events(flusher, "a")
    put_events(flusher, "b")

    assert len(built) == 1
    assert len(built[0].batches) == 2
    assert built[0].prepared.is_set()


def test_notify_calls_back_once_settled() -> None:
    """A callback added with `notify` runs once its event is settled."""
    flusher = make_flusher(RecordingTransport())
    put_events(flusher, "a")
    left = threading.Event()
    flusher.progress.notify(flusher.request_flush(), left.set)

    assert left.wait(10)
    flusher.finish()


def test_after_a_fork_it_is_empty() -> None:
    """In a forked child the flusher has no events of the parent, and it works."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    put_events(flusher, "a")
    flusher.after_fork()
    assert flusher.is_empty()
    put_events(flusher, "b")

    assert flusher.flush(10)
    assert [e.action for batch in transport.batches for e in batch][-1] == "b"
    flusher.finish()


def test_no_import_during_a_fork() -> None:
    """While another thread forks, the flusher's thread imports nothing."""
    transport = RecordingTransport()
    flusher = make_flusher(transport)
    flusher.before_fork(time.monotonic() + 10)
    put_events(flusher, "a", "b", "c")
    assert not transport.prepared.is_set()
    flusher.after_fork_in_parent()

    assert transport.prepared.wait(10)
    flusher.finish()


def test_batches_grow_while_they_are_accepted() -> None:
    """A success doubles the requests of a batch up to a limit; a failure resets it."""
    passed = 0.0

    def answer_after_100_ms(size: int) -> Delivery:
        nonlocal passed
        passed += 0.1
        return Delivery(size)

    transport = RecordingTransport(*[answer_after_100_ms] * 4, answer_down)
    flusher = make_flusher(
        transport, max_requests=4, clock=lambda: time.monotonic() + passed
    )
    for index in range(45):
        flusher.store.put(FakeCapture(str(index)))
    flusher.wake()

    assert flusher.flush(20)
    sizes = list(map(len, transport.batches))
    assert sizes[:6] == [3, 6, 12, 12, 12, 3]
    assert sum(sizes) == 45 + 12
    flusher.finish()
