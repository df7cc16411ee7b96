"""What a tagged log call costs the caller, over the bare logging call.

One process, rounds in turn: a burst with a NullHandler on the root logger, a burst with
ours and its flusher sending to the sink. Every call is timed, and what the clock itself
takes is left out. In a program of its own, whole bursts of it and of a plain prototype
are timed, beginning with nothing that waits.

    python -m tests.benchmarks.caller calls THREADS
    python -m tests.benchmarks.caller bursts
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from odp_logging import OdpClient, OdpHandler

from .figures import Figure
from .programs import run
from .prototype import PrototypeHandler
from .shop import on_root, purchase
from .sink import Sink, running

ROUNDS = 60
BURST = 2_000
"""Calls a round, over all threads; the buffer holds ten times as many."""

WHOLE_BURSTS = (900, 2_000)
WHOLE_ROUNDS = 100
BURST_TARGET = 1.25


def measure() -> list[Figure]:
    """Return the figures of outcome 1."""
    figures: list[Figure] = []
    for threads, bound in ((1, 1.15), (4, 1.2)):
        found = run("caller", "calls", threads)
        bare, ours = found["bare"], found["ours"]
        who = "one thread" if threads == 1 else "four threads"
        for name, target in (("p50", bound), ("p99", 3.0), ("max", None)):
            figures.append(
                Figure(
                    1,
                    f"tagged call, {who}, {name}",
                    ours[name],
                    "µs",
                    bare[name],
                    "bare logging call",
                    target,
                    note=_sent(found) if name == "p50" else "",
                )
            )
        figures.append(
            Figure(
                1,
                f"tagged call, {who}, median of bursts of {BURST:,}, the flusher"
                " at work from the start",
                ours["burst"],
                "µs",
                bare["burst"],
                "bare logging call",
                BURST_TARGET if threads == 1 else None,
            )
        )
    return [*figures, *_measure_whole_bursts()]


def _measure_whole_bursts() -> list[Figure]:
    found = run("caller", "bursts")
    figures = []
    for size in WHOLE_BURSTS:
        took = found[str(size)]
        for subject, label, target in (
            ("ours", "a tagged call", BURST_TARGET),
            ("prototype", "a plain prototype's call", None),
        ):
            figures.append(
                Figure(
                    1,
                    f"{label}, median of bursts of {size:,}",
                    took[subject],
                    "µs",
                    took["bare"],
                    "bare logging call",
                    target,
                    note="the flusher's share included",
                )
            )
    return figures


def _sent(found: dict[str, Any]) -> str:
    share = found["sent_meanwhile"] / found["logged"]
    return f"{share:.0%} of the events were delivered within the bursts"


def main(what: str, threads: int = 1) -> None:
    """Measure single calls or whole bursts, and print what was found."""
    with running() as sink:
        if what == "calls":
            found = Rounds(threads, sink).run()
        else:
            found = {size: time_whole_bursts(sink, size) for size in WHOLE_BURSTS}
    print(json.dumps(found))


def time_whole_bursts(sink: Sink, size: int) -> dict[str, float]:
    """Return microseconds per call of bursts of so many, bare, ours and prototype."""
    handlers = {
        "bare": logging.NullHandler(),
        "prototype": PrototypeHandler(sink),
        "ours": OdpHandler("key", api_host=sink.host),
    }
    times: dict[str, list[float]] = {name: [] for name in handlers}
    before = sink.counts()["events"]
    for number in range(-5, WHOLE_ROUNDS):
        for name, handler in handlers.items():
            on_root(handler)
            began = time.perf_counter()
            for _ in range(size):
                purchase()
            seconds = time.perf_counter() - began
            handler.flush()
            if number >= 0:
                times[name].append(1e6 * seconds / size)
    came = sink.counts()["events"] - before
    assert came == 2 * size * (WHOLE_ROUNDS + 5), came
    handlers["ours"].close()
    return {name: median(bursts) for name, bursts in times.items()}


class Rounds:
    """Bursts in turn, with and without our handler."""

    def __init__(self, threads: int, sink: Sink) -> None:
        self._threads = threads
        self._sink = sink
        self._handler = OdpHandler(
            api_key="key", api_host=sink.host, max_queue_size=10 * BURST
        )
        self._client = self._handler.client
        self._clock = clock_cost()
        self._sent_meanwhile = 0

    def run(self) -> dict[str, Any]:
        """Return what both kinds of bursts took."""
        bare, ours = Times(), Times()
        null = logging.NullHandler()
        for number in range(-5, ROUNDS):
            on_root(null)
            self._burst(bare if number >= 0 else Times())
            on_root(self._handler)
            get_going(self._client)
            before = self._client.stats.delivered
            self._burst(ours if number >= 0 else Times())
            if number >= 0:
                self._sent_meanwhile += self._client.stats.delivered - before
            assert self._client.flush(30)
        stats = self._client.stats
        assert stats.dropped == {} and stats.rejected == {}, stats
        assert self._sink.counts()["events"] == stats.delivered
        return {
            "bare": bare.summary(self._clock),
            "ours": ours.summary(self._clock),
            "sent_meanwhile": self._sent_meanwhile,
            "logged": ROUNDS * BURST,
        }

    def _burst(self, times: Times) -> None:
        each = BURST // self._threads
        if self._threads == 1:
            times.add(timed(purchase, each))
            return
        found: list[list[int]] = []
        begin = threading.Barrier(self._threads)

        def work() -> None:
            begin.wait(10)
            found.append(timed(purchase, each))

        threads = [threading.Thread(target=work) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        times.add([took for part in found for took in part])


class Times:
    """What calls took, in nanoseconds, burst by burst."""

    def __init__(self) -> None:
        self._calls: list[int] = []
        self._bursts: list[float] = []

    def add(self, burst: list[int]) -> None:
        """Take in a burst."""
        self._calls += burst
        self._bursts.append(sum(burst) / len(burst))

    def summary(self, clock: float) -> dict[str, float]:
        """Return percentiles in microseconds, less what the *clock* takes."""
        cuts = quantiles(self._calls, n=100)
        return {
            "p50": (cuts[49] - clock) / 1000,
            "p99": (cuts[98] - clock) / 1000,
            "max": (max(self._calls) - clock) / 1000,
            "burst": (median(self._bursts) - clock) / 1000,
        }


def get_going(client: OdpClient) -> None:
    """Have the flusher at work before the first call is timed."""
    before = client.stats.delivered
    for _ in range(1_000):
        purchase()
    end = time.monotonic() + 10
    while client.stats.delivered == before and time.monotonic() < end:
        time.sleep(0.0005)


def timed(call: Callable[[], None], count: int) -> list[int]:
    """Return what each of *count* calls took, in nanoseconds by the clock."""
    clock = time.perf_counter_ns
    took = [0] * count
    for number in range(count):
        began = clock()
        call()
        took[number] = clock() - began
    return took


def clock_cost() -> float:
    """Return what the clock itself takes, in nanoseconds."""
    return median(timed(lambda: None, 20_000))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
