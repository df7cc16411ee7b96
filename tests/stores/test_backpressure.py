"""Back-pressure: a thread that logs faster than events are sent waits a little."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import OdpClient, OdpHandler
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Delivery
from odp_logging.emulator import Emulator

from ..benchmarks.sink import running
from ..conftest import KEY
from ..waiting import until

EVENT_COUNT = 30_000
IDENTIFIERS = {"fs_user_id": "u1"}


def log_in_a_loop(handler: OdpHandler, logger: logging.Logger, count: int) -> None:
    """Log *count* events in a plain loop."""
    logger.addHandler(handler)
    for number in range(count):
        logger.info(
            "purchase",
            extra={
                "odp_action": "purchased",
                "odp_identifiers": {"fs_user_id": f"u{number}"},
                "odp_data": {"item": "shirt", "price": 50.0},
            },
        )


@pytest.mark.parametrize(
    "delay", [0.001, pytest.param(0.15, marks=pytest.mark.slow)], ids=str
)
def test_a_loop_loses_no_event_while_odp_answers(
    delay: float, logger: logging.Logger
) -> None:
    """With default settings all 30,000 events of one loop are delivered."""
    with running(delay=delay) as sink:
        handler = OdpHandler("key", api_host=sink.host, handle_sigterm=False)
        log_in_a_loop(handler, logger, EVENT_COUNT)
        assert handler.client.flush(60)

        stats = handler.client.stats
        assert (stats.delivered, stats.dropped) == (EVENT_COUNT, {})
        assert sink.counts()["events"] == EVENT_COUNT


@pytest.mark.parametrize(
    "bound", [{"max_queue_bytes": 1_000_000}, {"max_queue_size": 2_500}], ids=str
)
def test_a_caller_waits_while_the_buffer_is_nearly_full(
    bound: dict[str, int], logger: logging.Logger
) -> None:
    """A loop that logs ten times what the buffer holds loses nothing."""
    # A call waits 50 ms at most: on a machine with other load the sending thread may
    # not run for longer than that, and the oldest events are dropped. Hence two more
    # attempts; without waiting, each of them loses thousands of events.
    for _ in range(3):
        with running(delay=0.02) as sink:
            handler = OdpHandler(
                "key", api_host=sink.host, handle_sigterm=False, **bound
            )
            log_in_a_loop(handler, logger, EVENT_COUNT)
            logger.removeHandler(handler)
            assert handler.client.flush(60)
        stats = handler.client.stats
        assert stats.delivered + stats.dropped.get("overflow", 0) == EVENT_COUNT
        if not stats.dropped:
            return
    raise AssertionError(f"dropped in each attempt, in the last one: {stats.dropped}")


def test_without_backpressure_the_oldest_are_dropped(logger: logging.Logger) -> None:
    """With backpressure=False no call waits; events beyond the bound are dropped."""
    with running(delay=0.5) as sink:
        handler = OdpHandler(
            "key",
            api_host=sink.host,
            max_queue_bytes=500_000,
            backpressure=False,
            handle_sigterm=False,
        )
        log_in_a_loop(handler, logger, EVENT_COUNT)
        assert handler.client.flush(60)

        stats = handler.client.stats
        assert stats.dropped["overflow"] > 0
        assert stats.delivered + stats.dropped["overflow"] == EVENT_COUNT


def test_events_logged_by_gc_callbacks_are_delivered(logger: logging.Logger) -> None:
    """All of 16,000 events logged within garbage collections are delivered."""
    with running() as sink:
        handler = OdpHandler("key", api_host=sink.host, handle_sigterm=False)
        log_in_a_loop(handler, logger, 1)
        assert handler.client.flush(20)
        sending = handler.client._destinations.flusher._worker._thread
        logged = [0]

        def on_collection(phase: str, _: object) -> None:
            # Not on the sending thread: an event that interrupts it may be rejected.
            if phase == "start" and threading.current_thread() is not sending:
                log_in_a_loop(handler, logger, 40)
                logged[0] += 40

        gc.callbacks.append(on_collection)
        try:
            while logged[0] < 16_000:
                gc.collect(0)
                log_in_a_loop(handler, logger, 1)
                logged[0] += 1
        finally:
            gc.callbacks.remove(on_collection)
        assert handler.client.flush(60)

        stats = handler.client.stats
        assert (stats.delivered, stats.dropped) == (logged[0] + 1, {})
        assert stats.rejected == {}


class SlowTransport:
    """A transport that answers its second batch only when the test sets an event."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.sent = threading.Semaphore(0)

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        if self.sent.acquire(blocking=False):
            self.may_answer.wait(30)
        self.sent.release()
        return Delivery(len(batch.events))

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def after_fork(self) -> None: ...


@pytest.fixture
def full_client() -> Iterator[tuple[OdpClient, SlowTransport]]:
    """A client with a full buffer whose second request is under way."""
    client = OdpClient(
        KEY,
        api_host="http://127.0.0.1:9",
        max_queue_size=40,
        max_batch_size=10,
        flush_interval=0.0,
        handle_sigterm=False,
    )
    transport = SlowTransport()
    flusher: Any = client._destinations.flusher
    flusher._dispatcher._transport = transport
    client.send_odp_event("first", IDENTIFIERS)
    assert client.flush(10)
    for _ in range(100):
        client.send_odp_event("waiting", IDENTIFIERS)
        if client._router.own_inbox.nearly_full and flusher.status.state == "sending":
            break
    until(
        lambda: (
            flusher.status.state == "sending" and client._router.own_inbox.nearly_full
        ),
        "a full buffer and a request under way",
    )
    yield client, transport
    transport.may_answer.set()
    client.close(10)


def measure_backpressure(client: OdpClient) -> float:
    """Return the seconds that `apply_backpressure` took."""
    start = time.perf_counter()
    client._router.apply_backpressure()
    return time.perf_counter() - start


def test_a_call_waits_for_50_ms_at_most(
    full_client: tuple[OdpClient, SlowTransport],
) -> None:
    """During a slow request a caller waits, but not until the answer."""
    client, _ = full_client

    assert 0.03 < measure_backpressure(client) < 2.0


def test_a_caller_does_not_wait_once_there_is_room(
    full_client: tuple[OdpClient, SlowTransport],
) -> None:
    """Once the events are settled, a call returns at once."""
    client, transport = full_client
    transport.may_answer.set()
    assert client.flush(10)

    assert not client._router.own_inbox.nearly_full
    assert measure_backpressure(client) < 0.03


def test_the_thread_of_an_event_loop_never_waits(
    full_client: tuple[OdpClient, SlowTransport],
) -> None:
    """In the loop of asyncio or trio, a log call returns at once."""
    client, _ = full_client
    trio = pytest.importorskip("trio")

    async def measure() -> float:
        return measure_backpressure(client)

    assert min(asyncio.run(measure()) for _ in range(3)) < 0.03
    assert min(trio.run(measure) for _ in range(3)) < 0.03
    assert client._router.own_inbox.nearly_full
    assert measure_backpressure(client) > 0.03


def test_a_signal_handler_within_the_buffer_does_not_wait(
    full_client: tuple[OdpClient, SlowTransport],
) -> None:
    """Code that interrupted the lock holder would wait for its own thread."""
    client, _ = full_client
    store: Any = client._destinations.flusher.store

    assert store._lock.run(lambda: measure_backpressure(client), 10) < 0.03


def test_no_call_waits_while_odp_does_not_answer(emulator: Emulator) -> None:
    """After a failed attempt a full buffer drops its oldest events at once."""
    emulator.fault(status=503)
    client = OdpClient(
        KEY, api_host=emulator.url, max_queue_size=10, handle_sigterm=False
    )
    client.send_odp_event("first", IDENTIFIERS)
    until(lambda: client.stats.state == "retrying", "a failed attempt")
    start = time.perf_counter()
    for _ in range(200):
        client.send_odp_event("more", IDENTIFIERS)
    took = time.perf_counter() - start
    emulator.clear_faults()
    assert client.close(20)

    assert took < 200 * 0.05 / 2
    assert client.stats.dropped["overflow"] > 100


def test_no_call_waits_for_a_flusher_without_a_thread() -> None:
    """Without a thread that sends, waiting would make no room."""
    client = OdpClient(max_queue_size=2, handle_sigterm=False)
    for _ in range(4):
        client.send_odp_event("a", IDENTIFIERS)

    assert client._router.own_inbox.nearly_full
    assert measure_backpressure(client) < 0.03
    client._destinations.flusher.abandon("test")
