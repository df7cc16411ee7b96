"""What durability="crash" costs the caller, over the bare commit of the same bytes.

    python -m tests.benchmarks.crash [SECONDS]

prints the raw figures of one run, as JSON.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from odp_logging import OdpEvent, OdpHandler

from . import programs, shop, sink
from .figures import Figure

SECONDS = 20.0
BURST = 400
"""Calls in a row of one subject, before it is the next one's turn."""

THREADS = 4


class Bare(logging.Handler):
    """Commits the same bytes for each record, and does nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        fields = shop.fields()
        self._bytes = OdpEvent(
            fields["odp_action"],
            fields["odp_identifiers"],
            data=fields["odp_data"],
            timestamp=time.time(),
        ).json
        self._number = 0
        self._writing = threading.Lock()
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "CREATE TABLE events (number INTEGER PRIMARY KEY, body BLOB, checksum INT)",
        ):
            self._connection.execute(statement)

    def commit(self) -> None:
        """Commit one row."""
        self._number += 1
        self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?)",
            (self._number, self._bytes, zlib.crc32(self._bytes)),
        )

    def handle(self, record: logging.LogRecord) -> Any:
        """Commit one row, and only one at a time."""
        with self._writing:
            self.commit()


def each(call: Callable[[], object], times: list[float]) -> None:
    """Make a burst of calls, and note what each took."""
    clock = time.perf_counter
    for _ in range(BURST):
        began = clock()
        call()
        times.append(clock() - began)


def together(threads: int) -> float:
    """Return seconds per event of a burst that *threads* log at the same time."""

    def log() -> None:
        for _ in range(BURST // threads):
            shop.purchase()

    running = [threading.Thread(target=log) for _ in range(threads)]
    began = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return (time.perf_counter() - began) / BURST


def run(seconds: float) -> dict[str, Any]:
    """Let the bare commit, a handler that only commits, and ours take turns."""
    calls: dict[str, list[float]] = {"commit": [], "bare": [], "ours": []}
    bursts: dict[str, list[float]] = {
        "bare1": [],
        "bare4": [],
        "ours1": [],
        "ours4": [],
    }
    with tempfile.TemporaryDirectory() as home, sink.running() as odp:
        bare = Bare(Path(home, "bare.db"))
        ours = OdpHandler(
            "key", api_host=odp.host, spool=Path(home, "spool"), durability="crash"
        )
        shop.on_root(ours)
        shop.purchase()
        ours.client.flush(30)  # its imports are made
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            each(bare.commit, calls["commit"])
            shop.on_root(bare)
            each(shop.purchase, calls["bare"])
            bursts["bare1"].append(together(1))
            bursts["bare4"].append(together(THREADS))
            shop.on_root(ours)
            each(shop.purchase, calls["ours"])
            bursts["ours1"].append(together(1))
            bursts["ours4"].append(together(THREADS))
            ours.client.flush(30)
        stats = ours.client.stats
        ours.close()
        came = odp.counts()["events"]
    if not came == stats.accepted == stats.delivered:
        raise RuntimeError(f"{stats.accepted} logged, {came} came: {stats}")
    return {
        **{f"{name}.p50": _at(times, 0.5) for name, times in calls.items()},
        **{f"{name}.p99": _at(times, 0.99) for name, times in calls.items()},
        **{name: 1e6 * median(times) for name, times in bursts.items()},
    }


def _at(times: list[float], share: float) -> float:
    """Return, in microseconds, what *share* of the calls did not exceed."""
    return 1e6 * sorted(times)[int(share * len(times))]


def measure(seconds: float = SECONDS) -> list[Figure]:
    """Measure in a fresh interpreter."""
    found = programs.run("crash", seconds, limit=4 * seconds + 60)

    def figure(
        subject: str, name: str, floor: str, against: str, **more: Any
    ) -> Figure:
        return Figure(8, subject, found[name], "µs", found[floor], against, **more)

    whole, commit = 'durability="crash": the whole log call', "bare one-row commit"
    handler = "a handler that only commits"
    mean = "µs per event, the flusher sending"
    return [
        figure(f"{whole}, p50", "ours.p50", "commit.p50", commit, target=1.8),
        Figure(8, f"{whole}, p50", found["ours.p50"], "µs", target=40.0, absolute=True),
        figure(f"{whole}, p50", "ours.p50", "bare.p50", handler),
        figure(f"{whole}, p99", "ours.p99", "bare.p99", handler),
        figure(f"one thread, {mean}", "ours1", "bare1", handler),
        figure(f"{THREADS} threads, {mean}", "ours4", "bare4", f"{handler}, locked"),
        figure(
            f"{THREADS} threads over one, {mean}",
            "ours4",
            "ours1",
            "one thread",
            target=1.0,
        ),
        Figure(
            8,
            'durability="crash": events logged per second, four threads',
            1e6 / found["ours4"],
            "events/s",
            1e6 / found["bare4"],
            f"{handler}, locked",
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(run(float(sys.argv[1]) if sys.argv[1:] else SECONDS)))
