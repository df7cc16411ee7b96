"""Waiting for delivery: flush and close, urgent events, and frozen clocks."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from odp_logging import (
    OdpClient,
    OdpHandler,
    flush,
)

from ..conftest import KEY
from .clients import WHO, list_events, make_client


def test_flush_waits_until_all_events_are_settled(client, emulator):
    """flush returns True when every earlier event was answered for."""
    for number in range(250):
        client.send_odp_event("viewed", WHO, data={"n": number})

    assert client.flush(10)
    assert [event["data"]["n"] for event in list_events(emulator)] == list(range(250))


def test_flush_returns_false_after_its_timeout(emulator):
    """flush returns False when ODP does not take the events in time."""
    emulator.fault(status=503)
    with make_client(emulator, shutdown_timeout=0.1) as client:
        client.send_odp_event("viewed", WHO)

        assert client.flush(0.2) is False
        emulator.clear_faults()
        assert client.flush(10) is True


def test_flush_without_events_returns_true():
    """A client that was never used starts no thread."""
    before = threading.active_count()
    client = OdpClient("k")

    assert client.flush(0) is True
    assert threading.active_count() == before


def test_the_function_flush_flushes_every_client(emulator):
    """odp_logging.flush() flushes all clients of the process under one timeout."""
    clients = [make_client(emulator, flush_interval=60) for _ in range(3)]
    for client in clients:
        client.send_odp_event("viewed", WHO)

    assert flush(5)
    assert len(list_events(emulator)) == 3
    for client in clients:
        client.close()


def test_a_closed_client_still_works(emulator):
    """close delivers, can be called again, and a later event is delivered too."""
    client = make_client(emulator, flush_interval=60)
    client.send_odp_event("viewed", WHO)
    assert client.close()
    assert client.close()
    assert len(list_events(emulator)) == 1

    client.send_odp_event("viewed", WHO)
    assert client.close()
    assert len(list_events(emulator)) == 2


def test_close_returns_false_if_events_are_left(emulator):
    """They are still delivered later."""
    emulator.fault(status=503)
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO)

    assert client.close(0.3) is False
    assert client.stats.pending == 1
    emulator.clear_faults()
    assert client.close(10) is True
    assert len(list_events(emulator)) == 1


def test_aflush_and_aclose_do_not_block_the_loop(emulator):
    """The async forms wait without holding up the event loop."""
    client = make_client(emulator, flush_interval=60)
    emulator.fault(latency=0.3, count=1)
    beats: list[float] = []

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        while True:
            beats.append(loop.time())
            await asyncio.sleep(0.005)

    async def main() -> tuple[bool, bool]:
        heart = asyncio.ensure_future(beat())
        client.send_odp_event("viewed", WHO)
        flushed = await client.aflush(10)
        client.send_odp_event("viewed", WHO)
        closed = await client.aclose(10)
        heart.cancel()
        return flushed, closed

    assert asyncio.run(main()) == (True, True)
    assert len(list_events(emulator)) == 2
    assert len(beats) > 10


def test_aflush_returns_false_after_its_timeout(emulator):
    """aflush returns False when ODP does not take the events in time."""
    emulator.fault(status=503)
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO)

    assert asyncio.run(client.aflush(0.2)) is False
    emulator.clear_faults()
    assert client.close(10)


def test_without_background_the_caller_sends(emulator):
    """background=False sends within the call, and starts no thread."""
    client = make_client(emulator, background=False)
    before = threading.active_count()
    client.send_odp_event("viewed", WHO)

    assert client.stats.delivered == 1
    assert len(list_events(emulator)) == 1
    assert asyncio.run(client.aflush(5))
    assert threading.active_count() <= before + 1  # asyncio's own executor


def test_without_background_an_outage_does_not_delay_every_call(emulator):
    """background=False keeps events until the next retry is due."""
    emulator.fault(status=429, retry_after=30, count=1)
    client = make_client(emulator, background=False, shutdown_timeout=0.1)
    for _ in range(5):
        client.send_odp_event("viewed", WHO)

    assert len(emulator.requests()) == 1
    assert client.stats.pending == 5
    client._destinations.flusher.abandon("end of the test")


def test_ended_waits_leave_no_callbacks(emulator):
    """A flush that timed out or was cancelled is removed."""
    emulator.fault(status=503)
    client = make_client(emulator, shutdown_timeout=0.1)
    client.send_odp_event("viewed", WHO)

    async def impatient() -> None:
        for _ in range(20):
            await client.aflush(0)
        task = asyncio.ensure_future(client.aflush(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(impatient())
    assert not client._destinations.flusher.progress.has_callbacks()
    emulator.clear_faults()
    assert client.close(10)


def test_many_flushes_cause_few_requests(emulator):
    """In an outage, any number of flushing threads cause a few requests a second."""
    emulator.fault(status=503)
    client = make_client(emulator, shutdown_timeout=0.1)
    client.send_odp_event("viewed", WHO)
    end = time.monotonic() + 1.0

    def flush_often() -> None:
        while time.monotonic() < end:
            client.flush(0.02)

    threads = [threading.Thread(target=flush_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(emulator.requests()) <= 12
    emulator.clear_faults()
    assert client.close(10)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, -1, float("nan")])
def test_flush_and_close_take_any_number_as_timeout(client, timeout):
    """flush and close take any number for a timeout."""
    client.send_odp_event("viewed", WHO)
    client.flush(timeout)
    client.close(timeout)

    assert client.flush(5)


def test_a_closed_client_closes_its_connection(emulator):
    """The connection is closed when the thread ends."""
    client = make_client(emulator)
    client.send_odp_event("viewed", WHO)
    assert client.close()
    limit = time.monotonic() + 5
    while client._destinations.flusher._worker._thread is not None:
        assert time.monotonic() < limit

    retry = client._destinations.flusher._dispatcher._transport._first
    assert retry._inner._inner._session is None


def test_an_urgent_event_follows_a_running_request_at_once(emulator, logger):
    """A record at flush_level, logged while a request is under way, follows at once."""
    emulator.fault(latency=0.3, count=1)
    client = make_client(emulator, flush_interval=60, flush_level="ERROR")
    logger.addHandler(OdpHandler(client=client))
    extra = {"odp_action": "a", "odp_identifiers": WHO}
    logger.error("x", extra=extra)
    limit = time.monotonic() + 10
    while client.stats.state != "sending":
        assert time.monotonic() < limit
    logger.error("x", extra=extra)

    assert emulator.wait_for(2, timeout=10)
    client.close()


@pytest.mark.parametrize(
    "bound", [{"max_queue_size": 5}, {"max_queue_bytes": 20_000}], ids=str
)
def test_blocking_makes_the_flusher_send(emulator, bound):
    """A put that waits for room wakes the flusher before flush_interval has passed."""
    client = make_client(
        emulator, overflow="block", block_timeout=10, flush_interval=60, **bound
    )
    for _ in range(40):
        client.send_odp_event("viewed", WHO, data={"text": "x" * 1000})

    assert client.close(10)
    assert client.stats.dropped == {}
    assert len(list_events(emulator)) == 40


def test_a_closed_client_is_drained_at_exit_again(emulator):
    """An event put after close() is sent when the process ends."""
    client = make_client(emulator, flush_interval=60)
    client.send_odp_event("viewed", WHO)
    assert client.close(5)
    make_client(emulator).close()
    client.send_odp_event("viewed", WHO)

    assert flush(5)
    assert len(list_events(emulator)) == 2
    client.close()


def test_without_background_close_closes_the_connection(emulator):
    """A client without a thread closes its connection in close()."""
    client = make_client(emulator, background=False)
    client.send_odp_event("viewed", WHO)
    assert client.close(5)

    retry = client._destinations.flusher._dispatcher._transport
    assert retry._inner._inner._session is None


def freeze(tool: str) -> Any:
    """Return what stops the clock with *tool*, as a context manager."""
    if tool == "freezegun":
        return pytest.importorskip("freezegun").freeze_time("2024-01-01")
    return pytest.importorskip("time_machine").travel("2024-01-01", tick=False)


@pytest.mark.parametrize("tool", ["freezegun", "time_machine"])
@pytest.mark.parametrize("how", ["flush", "close", "shutdown", "full"])
def test_waits_end_while_the_clock_is_frozen(emulator, tool, how):
    """Every wait ends in time, though ODP fails and a test froze the clock."""
    emulator.fault(status=503)
    settings = {"overflow": "block", "block_timeout": 0.2, "max_queue_size": 1}
    settings |= {"timeout": 0.2, "shutdown_timeout": 0.2}
    handler = OdpHandler(KEY, api_host=emulator.url, handle_sigterm=False, **settings)
    client = handler.client
    waits: dict[str, Callable[[], object]] = {
        "flush": lambda: client.flush(0.2),
        "close": handler.close,
        "shutdown": lambda: logging.shutdown([weakref.ref(handler)]),
        "full": lambda: client.send_odp_event("viewed", WHO),
    }

    def wait() -> None:
        with freeze(tool):
            client.send_odp_event("viewed", WHO)
            waits[how]()
            ended.set()

    ended = threading.Event()
    threading.Thread(target=wait, daemon=True).start()
    assert ended.wait(30)
    emulator.clear_faults()
    assert client.close(30)


def test_the_clock_is_real_if_imported_while_frozen():
    """The package may be imported while freezegun is active."""
    pytest.importorskip("freezegun")
    code = """
import freezegun, time
with freezegun.freeze_time("2024-01-01"):
    from odp_logging._runtime.lock import monotonic
    frozen = monotonic()
print(abs(time.monotonic() - frozen) < 60, monotonic() > frozen)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
