"""How late an asyncio loop's tasks run while 100,000 events are logged from that loop.

python -m tests.benchmarks.heartbeat bare|HOST
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from statistics import median

from odp_logging import OdpHandler

from . import shop, sink
from .figures import Figure
from .programs import run

_EVENTS = 100_000
_CHUNK = 100
_BEAT = 0.001
_ROUNDS = 5


def measure() -> list[Figure]:
    """Return the worst slip of a beat, with ODP hanging and with ODP up."""
    found: dict[str, list[dict[str, float]]] = {"bare": [], "hangs": [], "is up": []}
    for _ in range(_ROUNDS):
        found["bare"].append(run("heartbeat", "bare"))
        for mode, what in (("hang", "hangs"), ("ok", "is up")):
            with sink.running(mode) as server:
                found[what].append(run("heartbeat", server.host))
    bare = found.pop("bare")
    return [_figure(what, rounds, bare) for what, rounds in found.items()]


def _figure(
    what: str, rounds: list[dict[str, float]], bare: list[dict[str, float]]
) -> Figure:
    floor = max(each["worst"] for each in bare)
    return Figure(
        10,
        f"worst slip of a 1 ms heartbeat in {_ROUNDS} runs, ODP {what}",
        max(each["worst"] for each in rounds),
        "ms",
        floor,
        "NullHandler",
        20,
        absolute=True,
        note=f"median of the runs' worst {_median(rounds, 'worst'):.1f} ms,"
        f" NullHandler {_median(bare, 'worst'):.1f}; p99 {_median(rounds, 'p99'):.1f},"
        f" NullHandler {_median(bare, 'p99'):.1f}",
    )


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return median([each[name] for each in rounds])


# The program that is measured.


async def beat(slips: list[float]) -> None:
    """Sleep a millisecond, again and again; note how much longer it took."""
    clock = time.perf_counter
    while True:
        began = clock()
        await asyncio.sleep(_BEAT)
        slips.append(clock() - began - _BEAT)


async def log_all() -> list[float]:
    """Log all events from this loop, and return the slips of its heartbeat."""
    slips: list[float] = []
    heart = asyncio.create_task(beat(slips))
    await asyncio.sleep(0.05)
    for _ in range(_EVENTS // _CHUNK):
        for _ in range(_CHUNK):
            shop.purchase()
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    heart.cancel()
    return slips


def main() -> None:
    """Log to the host named on the command line; print the slips."""
    host = sys.argv[1]
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    if host == "bare":
        shop.on_root(logging.NullHandler())
    else:
        shop.on_root(OdpHandler("key", api_host=host, shutdown_timeout=0))
    slips = sorted(asyncio.run(log_all()))
    found = {"worst": slips[-1] * 1000, "p99": slips[len(slips) * 99 // 100] * 1000}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
