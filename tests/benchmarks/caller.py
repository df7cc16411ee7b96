"""What a tagged log call costs the caller, over the bare logging call.

One process, rounds in turn: a burst with a NullHandler on the root logger, a burst with
ours and its flusher sending to the sink. Every call is timed, and what the clock itself
takes is left out.
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
from .shop import on_root, purchase
from .sink import Sink, running

ROUNDS = 60
BURST = 2_000
"""Calls a round, over all threads; the buffer holds ten times as many."""


def measure() -> list[Figure]:
    """Return the figures of outcome 1."""
    figures: list[Figure] = []
    for threads, bound in ((1, 1.12), (4, 1.25)):
        found = run("caller", threads)
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
                f"the same, median of bursts of {BURST}, per call",
                ours["burst"],
                "µs",
                bare["burst"],
                "bare logging call",
                note="waiting for the flusher's share of the interpreter included",
            )
        )
    return figures


def _sent(found: dict[str, Any]) -> str:
    share = found["sent_meanwhile"] / found["logged"]
    return f"{share:.0%} of the events were delivered within the bursts"


def main(threads: int) -> None:
    """Measure with so many *threads* and print what was found."""
    with running() as sink:
        found = Rounds(threads, sink).run()
    print(json.dumps(found))


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
    main(int(sys.argv[1]))
