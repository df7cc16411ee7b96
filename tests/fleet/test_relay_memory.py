"""The memory of a relay is bounded, whatever waits in Redis."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from odp_logging import OdpEvent
from odp_logging.emulator import Emulator

from ..redis_server import RedisServer, needs_redis
from ..stores.queue.redis_stores import DEAD_KEY, KEY, fill_store
from ..waiting import until
from .processes import RelayProcess

pytestmark = [
    needs_redis,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc"),
]

MIB = 1024**2


def read_peak(process_id: int) -> int:
    """Return the most memory that a process had, in bytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def add(server: RedisServer, body: bytes, count: int) -> None:
    """Add the same entry *count* times."""
    with server.connect() as client:
        for _ in range(count):
            client.xadd(KEY, {"v": "1", "a": "default", "e": body})


def test_large_events_after_small_ones_do_not_fill_the_memory(
    tmp_path: Path, emulator: Emulator
):
    """A read meant for 100 small events meets 60 of 10 MB, and one of 150 MB."""
    large = OdpEvent(
        "viewed",
        {"fs_user_id": "u1"},
        data={f"text{index}": "x" * 1_000 for index in range(9_900)},
    ).json
    with RedisServer(tmp_path, "--appendonly", "no") as server:
        fill_store(server, 2_000)
        with RelayProcess(server.url, emulator, "--workers", "2") as relay:
            until(lambda: not server.ask("XLEN", KEY), "the small events", seconds=60)
            before = read_peak(relay.process.pid)
            os.kill(relay.process.pid, signal.SIGSTOP)  # so that all of them wait
            try:
                add(server, large, 30)
                add(server, b"x" * (150 * MIB), 1)
                add(server, large, 30)
            finally:
                os.kill(relay.process.pid, signal.SIGCONT)
            until(lambda: not server.ask("XLEN", KEY), "the large events", seconds=120)
            peak = read_peak(relay.process.pid)
            assert relay.end() == 0, relay.text
        dead = server.ask("XLEN", DEAD_KEY)

    # One worker with an answer of 64 MiB, the other with one of 16 MiB and a batch;
    # each is in memory about three times.
    assert peak - before < 300 * MIB
    assert dead == 1
