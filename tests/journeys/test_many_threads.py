"""Many threads log, one thread sends, and the stats are always consistent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from odp_logging import OdpClient, OdpHandler, Stats
from odp_logging.emulator import Emulator

from .programs.audited_shop import Auditor, is_balanced

pytestmark = pytest.mark.slow

THREADS, EVENTS_PER_THREAD = 8, 5_000


def sell(client: OdpClient, number: int, **more: str) -> None:
    """Send the event with the number *number*."""
    client.send_odp_event("sold", {"fs_user_id": "u1"}, data={"n": number, **more})


def find_flusher_threads() -> list[threading.Thread]:
    """Return the flusher threads of this process."""
    return [thread for thread in threading.enumerate() if thread.name == "odp-logging"]


def run_in_threads(count: int, work: Callable[[int], object]) -> None:
    """Call *work* with 0, 1, ... on *count* threads, and join them."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_each_event_is_delivered_exactly_once(odp: Emulator) -> None:
    """Each of 40,000 events of eight threads is delivered once; the stats add up."""
    client = OdpClient(
        "key", api_host=odp.url, max_queue_size=THREADS * EVENTS_PER_THREAD
    )
    auditor = Auditor(client)
    count = EVENTS_PER_THREAD
    run_in_threads(
        THREADS, lambda k: [sell(client, k * count + n) for n in range(count)]
    )
    closed = client.close(60)
    auditor.end()

    assert closed
    assert not auditor.unbalanced
    assert (
        client.stats.delivered == THREADS * EVENTS_PER_THREAD == odp.stats()["unique"]
    )
    assert odp.stats()["duplicates"] == 0


def test_stats_add_up_while_dropping(odp: Emulator) -> None:
    """The stats add up while a small buffer overflows and ODP fails at times."""
    odp.fault(status=503, rate=0.3)
    client = OdpClient(
        "key", api_host=odp.url, max_queue_size=200, max_retry_delay=0.01
    )
    with client:
        unbalanced: list[Stats] = []

        def work(k: int) -> None:
            for number in range(1000):
                sell(client, k * 1000 + number)
                stats = client.stats
                if not is_balanced(stats):
                    unbalanced.append(stats)

        run_in_threads(4, work)
        odp.clear_faults()
        assert client.close(30)

    stats = client.stats
    assert not unbalanced
    assert stats.accepted == 4000
    assert stats.pending == 0
    assert stats.delivered == odp.stats()["unique"]
    assert stats.delivered + sum(stats.dropped.values()) == 4000


def test_a_client_has_one_thread(odp: Emulator) -> None:
    """A client starts one thread at its first event and ends it when closed."""
    before = find_flusher_threads()
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    assert find_flusher_threads() == before

    run_in_threads(8, lambda k: sell(client, k))

    assert len(find_flusher_threads()) == len(before) + 1
    own_threads = [thread for thread in find_flusher_threads() if thread not in before]
    assert client.close(10)
    own_threads[0].join(10)
    assert not own_threads[0].is_alive()
    assert odp.stats()["unique"] == 8


def test_a_full_batch_is_sent_at_once(odp: Emulator) -> None:
    """A full batch is sent at once."""
    with OdpClient(
        "key", api_host=odp.url, flush_interval=60, max_batch_size=5
    ) as client:
        for number in range(4):
            sell(client, number)
        assert odp.stats()["requests"] == 0
        sell(client, 4)

        assert odp.wait_for(5, 10)
        assert [request["events"] for request in odp.requests()] == [5]


def test_a_full_request_is_sent_at_once(odp: Emulator) -> None:
    """Events are sent at once when max_batch_bytes is reached."""
    with OdpClient(
        "key", api_host=odp.url, flush_interval=60, max_batch_bytes=10_000
    ) as client:
        large = {f"text{k}": "x" * 1000 for k in range(5)}
        sell(client, 0, **large)
        assert odp.stats()["requests"] == 0
        sell(client, 1, **large)

        assert odp.wait_for(2, 10)
        assert all(request["bytes"] <= 10_000 for request in odp.requests())


def test_events_wait_for_the_flush_interval(odp: Emulator) -> None:
    """An event waits for the flush interval to be batched, and no longer."""
    with OdpClient("key", api_host=odp.url, flush_interval=0.3) as client:
        sell(client, 0)
        sell(client, 1)

        assert odp.wait_for(2, 10)
        assert [request["events"] for request in odp.requests()] == [2]


def test_flush_level_sends_at_once(odp: Emulator) -> None:
    """A record at the flush level is sent at once, with all earlier events."""
    logger = logging.Logger("shop", logging.INFO)
    handler = OdpHandler(
        "key", api_host=odp.url, flush_interval=60, flush_level="ERROR"
    )
    logger.addHandler(handler)
    extra = {"odp_action": "sold", "odp_identifiers": {"fs_user_id": "u1"}}
    logger.info("bought", extra=extra)
    assert odp.stats()["requests"] == 0
    logger.error("returned", extra=extra)

    assert odp.wait_for(2, 10)
    assert [request["events"] for request in odp.requests()] == [2]
    handler.close()


@pytest.mark.parametrize("end", ["flush", "close"])
def test_flush_and_close_send_pending_events(odp: Emulator, end: str) -> None:
    """flush() and close() send all pending events before they return."""
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    sell(client, 0)
    assert getattr(client, end)(10)

    assert [request["events"] for request in odp.requests()] == [1]
    client.close()


def test_threads_can_flush_concurrently(odp: Emulator) -> None:
    """Threads that log and flush at the same time each get their events delivered."""
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    late: list[int] = []

    def work(k: int) -> None:
        for number in range(20):
            sell(client, k * 20 + number)
            if not client.flush(10):
                late.append(k)

    run_in_threads(4, work)

    assert not late
    assert odp.stats()["unique"] == 80
    client.close()


def test_log_while_closing(odp: Emulator) -> None:
    """Events logged while another thread keeps closing the client are delivered."""
    client = OdpClient("key", api_host=odp.url, flush_interval=0.01)
    done = threading.Event()

    def close_repeatedly() -> None:
        while not done.is_set():
            client.close(10)

    closer = threading.Thread(target=close_repeatedly)
    closer.start()
    run_in_threads(4, lambda k: [sell(client, k * 500 + n) for n in range(500)])
    done.set()
    closer.join(30)

    # No more flush or close: the flusher thread must find the remaining events.
    assert odp.wait_for(2000, 10)
    assert odp.stats()["duplicates"] == 0
    client.close()
