"""Many threads log, one thread sends, and the books are right at every moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from odp_logging import OdpClient, OdpHandler, Stats
from odp_logging.emulator import Emulator

pytestmark = pytest.mark.slow

THREADS, EACH = 8, 5_000


def sell(client: OdpClient, number: int, **more: str) -> None:
    """Send the event *number*."""
    client.send_odp_event("sold", {"fs_user_id": "u1"}, data={"n": number, **more})


def flushers() -> list[threading.Thread]:
    """Return the threads that send."""
    return [each for each in threading.enumerate() if each.name == "odp-logging"]


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Call *work* with 0, 1, ... on as many threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def balanced(stats: Stats) -> bool:
    """Whether every event is in one place."""
    gone = sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted == stats.delivered + gone + stats.pending


def test_exactly_once(odp: Emulator) -> None:
    """Each of 40,000 events of eight threads is delivered once; the books balance."""
    client = OdpClient("key", api_host=odp.url, max_queue_size=THREADS * EACH)
    wrong: list[Stats] = []
    done = threading.Event()

    def audit() -> None:
        while not done.wait(0.001):
            stats = client.stats
            if not balanced(stats):
                wrong.append(stats)

    auditor = threading.Thread(target=audit)
    auditor.start()
    in_threads(THREADS, lambda k: [sell(client, k * EACH + n) for n in range(EACH)])
    closed = client.close(60)
    done.set()
    auditor.join(10)

    assert closed
    assert not wrong
    assert client.stats.delivered == THREADS * EACH == odp.stats()["unique"]
    assert odp.stats()["duplicates"] == 0


def test_balanced_while_dropping(odp: Emulator) -> None:
    """The books balance while a small buffer overflows and ODP fails now and then."""
    odp.fault(status=503, rate=0.3)
    client = OdpClient(
        "key", api_host=odp.url, max_queue_size=200, max_retry_delay=0.01
    )
    with client:
        wrong: list[Stats] = []

        def work(k: int) -> None:
            for number in range(1000):
                sell(client, k * 1000 + number)
                stats = client.stats
                if not balanced(stats):
                    wrong.append(stats)

        in_threads(4, work)
        odp.clear_faults()
        assert client.close(30)

    stats = client.stats
    assert not wrong
    assert stats.accepted == 4000
    assert stats.pending == 0
    assert stats.delivered == odp.stats()["unique"]
    assert stats.delivered + sum(stats.dropped.values()) == 4000


def test_one_thread(odp: Emulator) -> None:
    """A client has no thread before its first event, then one, and none once closed."""
    before = flushers()
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    assert flushers() == before

    in_threads(8, lambda k: sell(client, k))

    assert len(flushers()) == len(before) + 1
    mine = [each for each in flushers() if each not in before]
    assert client.close(10)
    mine[0].join(10)
    assert not mine[0].is_alive()
    assert odp.stats()["unique"] == 8


def test_size(odp: Emulator) -> None:
    """A full batch is sent at once."""
    with OdpClient(
        "key", api_host=odp.url, flush_interval=60, max_batch_size=5
    ) as client:
        for number in range(4):
            sell(client, number)
        assert odp.stats()["requests"] == 0
        sell(client, 4)

        assert odp.wait_for(5, 10)
        assert [each["events"] for each in odp.requests()] == [5]


def test_bytes(odp: Emulator) -> None:
    """As many bytes as a request may have are sent at once."""
    with OdpClient(
        "key", api_host=odp.url, flush_interval=60, max_batch_bytes=10_000
    ) as client:
        large = {f"text{k}": "x" * 1000 for k in range(5)}
        sell(client, 0, **large)
        assert odp.stats()["requests"] == 0
        sell(client, 1, **large)

        assert odp.wait_for(2, 10)
        assert all(each["bytes"] <= 10_000 for each in odp.requests())


def test_interval(odp: Emulator) -> None:
    """An event waits for company as long as the interval says, and no longer."""
    with OdpClient("key", api_host=odp.url, flush_interval=0.3) as client:
        sell(client, 0)
        sell(client, 1)

        assert odp.wait_for(2, 10)
        assert [each["events"] for each in odp.requests()] == [2]


def test_level(odp: Emulator) -> None:
    """A record at the flush level is sent at once, with those before it."""
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
    assert [each["events"] for each in odp.requests()] == [2]
    handler.close()


@pytest.mark.parametrize("end", ["flush", "close"])
def test_request(odp: Emulator, end: str) -> None:
    """Flush and close send what is there before they return."""
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    sell(client, 0)
    assert getattr(client, end)(10)

    assert [each["events"] for each in odp.requests()] == [1]
    client.close()


def test_two_flush(odp: Emulator) -> None:
    """Threads that log and flush at the same time each find their own delivered."""
    client = OdpClient("key", api_host=odp.url, flush_interval=60)
    late: list[int] = []

    def work(k: int) -> None:
        for number in range(20):
            sell(client, k * 20 + number)
            if not client.flush(10):
                late.append(k)

    in_threads(4, work)

    assert not late
    assert odp.stats()["unique"] == 80
    client.close()


def test_log_while_closing(odp: Emulator) -> None:
    """What is logged while others close again and again is delivered all the same."""
    client = OdpClient("key", api_host=odp.url, flush_interval=0.01)
    done = threading.Event()

    def closing() -> None:
        while not done.is_set():
            client.close(10)

    closer = threading.Thread(target=closing)
    closer.start()
    in_threads(4, lambda k: [sell(client, k * 500 + n) for n in range(500)])
    done.set()
    closer.join(30)

    # Nobody flushes or closes any more: the thread alone has to see what is left.
    assert odp.wait_for(2000, 10)
    assert odp.stats()["duplicates"] == 0
    client.close()
