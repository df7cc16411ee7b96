"""A client with a spool: which events are written, when, and how they are counted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient, Stats
from odp_logging._stores.spool.reader import SpoolReader
from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..waiting import until

WHO = {"fs_user_id": "u1"}


def made(emulator: Emulator, home: Path, **settings: Any) -> OdpClient:
    """Return a client with a spool, that sends to the emulator and does not wait."""
    return OdpClient(
        KEY,
        **{
            "api_host": emulator.url,
            "spool": home,
            "flush_interval": 0.02,
            "shutdown_timeout": 0.2,
            "handle_sigterm": False,
            **settings,
        },
    )


def sell(client: OdpClient, *numbers: int) -> None:
    """Send events with *numbers*."""
    for number in numbers:
        client.send_odp_event("sold", WHO, data={"n": number})


def balanced(stats: Stats) -> bool:
    """Whether every event is accounted for."""
    gone = sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted == stats.delivered + gone + stats.pending + stats.spooled


def sent(emulator: Emulator) -> list[int]:
    """Return the numbers of the events that were accepted, in their order."""
    taken = [each for each in emulator.events() if each["status"] == "accepted"]
    return [each["event"]["data"]["n"] for each in taken]


def test_without_trouble_nothing_is_written(emulator, home):
    """With durability="exit" the disk is not touched while ODP answers."""
    with made(emulator, home) as client:
        sell(client, *range(50))
        assert client.flush(10)

    assert not home.exists()


def test_events_that_fit_into_memory_are_not_written_in_an_outage(emulator, home):
    """Events are personal data: they are not written unless the buffer is too full."""
    emulator.fault(status=503)
    client = made(emulator, home)
    sell(client, *range(50))
    until(lambda: emulator.stats()["requests"] >= 1)
    emulator.clear_faults()

    assert client.flush(10)
    assert not home.exists()
    client.close()


def test_a_long_outage_spools_events_and_sends_them_in_order(emulator, home):
    """Above three quarters of the buffer, events are spooled and sent from there."""
    emulator.fault(status=503)
    client = made(emulator, home, max_queue_size=400, max_retry_delay=0.2)
    for number in range(1000):
        sell(client, number)
        until(lambda: client.stats.pending < 390)
    until(lambda: client.stats.spooled > 0)
    stats = client.stats
    emulator.clear_faults()

    assert client.flush(20)
    assert stats.accepted == 1000
    assert balanced(stats)
    assert client.stats.delivered == 1000
    assert client.stats.spooled == 0
    assert sent(emulator) == list(range(1000))
    client.close()


def test_events_beyond_the_buffer_are_spooled(emulator, home):
    """A burst beyond the buffer is not dropped while the first request hangs."""
    emulator.fault(latency=60)
    client = made(emulator, home, max_queue_size=1000, timeout=30)
    sell(client, *range(4000))
    stats = client.stats
    for flusher in client._destinations.list_flushers():  # as at the end of a process
        flusher.abandon("exit")
    emulator.clear_faults()

    assert (stats.accepted, stats.dropped) == (4000, {})
    assert stats.pending <= 1300
    assert balanced(stats)
    with made(emulator, home) as other:
        assert emulator.wait_for(unique=4000, timeout=20)
        until(lambda: other.stats.replayed >= 4000)
    client.close(0)


def test_the_counts_add_up_at_every_moment(emulator, home):
    """While events move from memory to disk, the stats miss none."""
    client = made(
        emulator,
        home,
        max_queue_size=300,
        overflow="block",
        block_timeout=20.0,
        max_retry_delay=0.1,
    )
    wrong: list[Stats] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            stats = client.stats
            if not balanced(stats) or stats.pending < 0:
                wrong.append(stats)

    looking = threading.Thread(target=look)
    looking.start()
    for turn in range(10):
        if turn % 2:
            emulator.clear_faults()
        else:
            emulator.fault(status=503)
        sell(client, *range(turn * 300, turn * 300 + 300))
    emulator.clear_faults()
    assert client.flush(30)
    done.set()
    looking.join()

    assert wrong == []
    assert client.stats.delivered == 3000
    assert sorted(sent(emulator)) == list(range(3000))
    client.close()


def test_each_event_is_on_disk_at_once(emulator, home):
    """With durability="crash" an event is spooled when its call returns."""
    emulator.fault(status=503)
    client = made(emulator, home, durability="crash")
    sell(client, 1, 2, 3)

    assert (client.stats.spooled, client.stats.pending) == (3, 0)
    emulator.clear_faults()
    assert client.flush(10)
    assert sent(emulator) == [1, 2, 3]
    client.close()


def test_a_new_key_has_a_spool_of_its_own(emulator, home):
    """Events spooled for the old key are not sent with the new one."""
    with Emulator(key="other-key") as other:
        emulator.fault(status=503)
        client = made(emulator, home, durability="crash")
        sell(client, 1)
        client.configure("other-key", api_host=other.url)
        sell(client, 2)
        emulator.clear_faults()

        assert client.flush(10)
        assert (sent(emulator), sent(other)) == ([1], [2])
        assert balanced(client.stats)
        client.close()


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_events_without_a_key_go_to_the_first_one(emulator, home, durability):
    """What was logged before there was a key goes to the first one."""
    client = OdpClient(spool=home, durability=durability, shutdown_timeout=0.1)
    sell(client, 1, 2)
    client.configure(KEY, api_host=emulator.url)

    assert client.flush(10)
    assert sent(emulator) == [1, 2]
    client.close()


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_rejected_events_are_kept_as_dead_letters(emulator, home, durability):
    """With both durabilities, the stats say rejected and not spooled."""
    emulator.fault(events=[0], count=1, status=400)
    client = made(emulator, home, durability=durability)
    sell(client, 1, 2)

    assert client.flush(10)
    assert client.stats.rejected == {"refused": 1}
    assert client.stats.spooled == 0
    assert balanced(client.stats)
    (file,) = home.glob("*.spool")
    with SpoolReader(file) as reader:
        assert [each.reason for each in reader.read_dead_letters()] == [
            "refused by fault"
        ]
    client.close()


def test_an_event_sent_by_before_send_is_rejected(emulator, home, logger):
    """A before_send that sends an event of its own client does not loop."""
    holder: list[OdpClient] = []

    def before_send(event: Any) -> Any:
        sell(holder[0], 99)
        return event

    client = made(emulator, home, durability="crash", before_send=before_send)
    holder.append(client)
    sell(client, 1)

    assert client.flush(10)
    assert sent(emulator) == [1]
    assert client.stats.rejected == {"in_callback": 1}
    client.close()


def test_invalid_events_are_reported_with_their_line(emulator, home, caplog):
    """In crash mode too, the log has file and line of the call."""
    client = made(emulator, home, durability="crash")
    client.send_odp_event("sold", {})
    assert client.flush(10)

    assert client.stats.rejected == {"no_identifiers": 1}
    assert "test_durability.py" in caplog.text
    client.close()


def test_the_spool_works_without_a_thread(emulator, home):
    """With background=False, an outage is spooled and sent by a later call."""
    emulator.fault(status=503)
    client = made(
        emulator, home, background=False, durability="crash", max_retry_delay=0.01
    )
    sell(client, 1, 2)
    assert client.stats.spooled == 2
    emulator.clear_faults()

    assert client.flush(10)
    assert sent(emulator) == [1, 2]
    client.close()


def test_aflush_waits_for_spooled_events(emulator, home):
    """It returns True only when the spool is empty too."""
    client = made(emulator, home, durability="crash")

    async def run() -> bool:
        sell(client, *range(250))
        return await client.aflush(10)

    assert asyncio.run(run())
    assert len(sent(emulator)) == 250
    client.close()


def test_dropped_events_of_an_earlier_process_are_counted(emulator, home):
    """on_drop and stats include them."""
    emulator.fault(status=503)
    first = made(emulator, home, durability="crash")
    sell(first, *range(2500))
    for flusher in first._destinations.list_flushers():  # as at the end of a process
        flusher.abandon("exit")
    emulator.clear_faults()
    told: list[int] = []

    def tell(events: Any, reason: str) -> None:
        assert reason == "spool_full"
        told.extend(event.data["n"] for event in events)

    client = made(emulator, home, spool_max_bytes=100_000, on_drop=tell)
    until(lambda: client.stats.replayed + len(told) == 2500)
    stats = client.stats
    client.close()
    first.close()

    assert told == list(range(len(told)))
    assert 1500 < len(told) < 2500
    assert stats.dropped == {"spool_full": len(told)}
    assert stats.accepted == len(told)
    assert emulator.stats()["unique"] == stats.replayed


def test_events_of_an_earlier_process_are_sent_without_a_log_call(emulator, home):
    """Building a client is enough."""
    emulator.fault(status=503)
    first = made(emulator, home, durability="crash")
    sell(first, 1, 2)
    for flusher in first._destinations.list_flushers():  # as at the end of a process
        flusher.abandon("exit")
    emulator.clear_faults()
    second = made(emulator, home)

    assert emulator.wait_for(unique=2, timeout=10)
    until(lambda: second.stats.replayed == 2)
    assert second.stats.accepted == 0
    second.close()
    first.close()


@pytest.mark.parametrize("status", [403, 503])
def test_events_of_an_earlier_process_that_stay_are_reported(
    emulator, home, caplog, status
):
    """A process that logs nothing itself tells why they are not sent."""
    emulator.fault(status=status)
    first = made(emulator, home, durability="crash")
    sell(first, 1, 2, 3)
    for flusher in first._destinations.list_flushers():  # as at the end of a process
        flusher.abandon("exit")
    caplog.clear()
    second = made(emulator, home)
    text = f"answered {status}"
    text += "" if status == 503 else " and refuses the key …" + KEY[-4:]
    until(
        lambda: f"{text}; 3 events of earlier processes are kept in" in caplog.text,
        "the line",
    )
    emulator.clear_faults()
    second.close()
    first.close()


def test_crash_durability_needs_a_spool():
    """The combination is refused at once."""
    with pytest.raises(ConfigurationError, match="spool=DIR"):
        OdpClient(KEY, durability="crash")


def test_an_unusable_spool_is_reported_once(emulator, tmp_path, caplog):
    """Delivery goes on from memory, and the line says what to do."""
    (tmp_path / "spool").write_text("a file")
    client = made(emulator, tmp_path / "spool", durability="crash")
    sell(client, *range(20))

    assert client.flush(10)
    assert sent(emulator) == list(range(20))
    assert caplog.text.count("cannot be used: it is no directory") == 1
    client.close()


def test_a_time_limit_after_a_spill_keeps_the_counts_right(tmp_path: Path) -> None:
    """The events are delivered once."""
    with Emulator() as odp:
        odp.fault(status=503)
        client = OdpClient(
            "key",
            api_host=odp.url,
            spool=tmp_path / "spool",
            max_queue_size=100,
            max_batch_size=50,
            flush_interval=60,
            backpressure=False,
        )
        assert client._destinations.flusher.spool_flusher is not None
        spool: Any = client._destinations.flusher.spool_flusher.store
        keep, cut_off = spool.take_over, [1]

        def cut(events: Any) -> bool:
            kept: bool = keep(events)
            if cut_off and threading.current_thread() is threading.main_thread():
                cut_off.pop()
                raise TimeoutError
            return kept

        spool.take_over = cut
        for number in range(400):
            with contextlib.suppress(TimeoutError):
                client.send_odp_event("a", {"fs_user_id": "u"}, data={"n": number})
        odp.clear_faults()
        assert client.flush(20)
        stats = client.stats
        assert (stats.accepted, stats.delivered, stats.pending) == (400, 400, 0)
        assert odp.stats()["unique"] == 400
