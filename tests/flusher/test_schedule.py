"""What callers request of a flusher, and how that limits its pauses and deadlines."""

from __future__ import annotations

from dataclasses import replace

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._flusher.dispatcher import BatchWidth
from odp_logging._flusher.schedule import Drain, Schedule


def build_failure(*, backoff: float = 60.0, retry_after: float = 0.0) -> Delivery:
    """Return the delivery of one event that a server did not accept."""
    failure = Delivery.all_pending(1, Cause.TRANSIENT, "down")
    return replace(failure, backoff=backoff, retry_after=retry_after)


def compute_pause(
    schedule: Schedule, delivery: Delivery, *, is_draining: bool
) -> float:
    """Return the pause after an attempt that began before any flush was requested."""
    return schedule.compute_pause(delivery, 0, is_draining=is_draining)


def test_a_drain_and_a_flush_shorten_the_backoff() -> None:
    """A drain limits the backoff to a second, and a new flush to a quarter of it."""
    schedule = Schedule()
    failure = build_failure()
    assert compute_pause(schedule, failure, is_draining=False) == 60.0
    assert compute_pause(schedule, failure, is_draining=True) == 1.0
    schedule.request_flush(5)

    assert compute_pause(schedule, failure, is_draining=False) == 0.25
    assert schedule.flush_sequence == 5


def test_nothing_shortens_a_retry_after() -> None:
    """The time that the server asks for is a minimum for all attempts."""
    schedule = Schedule()
    schedule.request_flush(5)

    failure = build_failure(retry_after=30.0)
    assert compute_pause(schedule, failure, is_draining=True) == 30.0


def test_a_batch_is_due_when_it_is_full_urgent_or_drained() -> None:
    """Each of the three ends the wait for further events; a fork forgets them."""
    schedule = Schedule()
    assert not schedule.should_send()
    schedule.request(batch_full=True, urgent=False)
    assert schedule.should_send()
    schedule.reset()
    schedule.request(batch_full=False, urgent=True)
    assert schedule.should_send()
    schedule.reset()
    schedule.drain = Drain(10.0, 60.0, 5.0)
    assert schedule.should_send()
    schedule.reset()

    assert not schedule.should_send()


def test_a_settled_batch_extends_a_drain_up_to_its_limit() -> None:
    """The deadline moves to five seconds from now, and never back or past the limit."""
    drain = Drain(10.0, 20.0, 5.0)
    drain.extend(3.0)
    assert drain.deadline == 10.0
    drain.extend(8.0)
    assert drain.deadline == 13.0
    drain.extend(18.0)

    assert drain.deadline == 20.0


def test_batches_widen_while_they_are_fast() -> None:
    """A fast batch doubles the requests of the next one, and a slow one halves them."""
    width = BatchWidth(8)
    accepted = Delivery(1)
    for _ in range(5):
        width.record(accepted, 0.0, 0.1)
    assert width.requests == 8
    width.record(accepted, 0.0, 3.0)
    assert width.requests == 4
    assert width.progress_until == 9.0
    width.record(accepted, 3.0, 3.01)  # a server this near needs no second request
    assert width.requests == 2
    width.record(build_failure(), 3.0, 3.1)

    assert width.requests == 1
    assert width.progress_until == 0.0
