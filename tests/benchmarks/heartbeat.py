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
from .memory import keeping
from .programs import run

_EVENTS = 100_000
_CHUNK = 100
_BEAT = 0.001
_ROUNDS = 5
_KEPT_ROUNDS = 3


def measure() -> list[Figure]:
    """Return how late a beat is, p99 and worst, with ODP hanging and with ODP up."""
    bare: list[dict[str, float]] = []
    hangs: list[dict[str, float]] = []
    up: list[dict[str, float]] = []
    for _ in range(_ROUNDS):
        bare.append(run("heartbeat", "bare"))
        hangs.append(_with("hang"))
        up.append(_with("ok"))
    floor = [run("heartbeat", "keeping") for _ in range(_KEPT_ROUNDS)]
    kept = [_with("hang", 2 * _EVENTS) for _ in range(_KEPT_ROUNDS)]
    return [
        _late("ODP hangs", hangs, bare),
        _late("ODP is up", up, bare),
        _worst("ODP hangs", hangs, bare, "NullHandler", 20),
        _worst("ODP is up", up, bare, "NullHandler", 20),
        _worst(
            f"ODP hangs, max_queue_size={2 * _EVENTS:_} so that all events stay",
            kept,
            floor,
            "a handler that keeps two copied dicts and a tuple",
        ),
    ]


def _with(mode: str, room: int = 10_000) -> dict[str, float]:
    with sink.running(mode) as server:
        found: dict[str, float] = run("heartbeat", server.host, room)
    return found


def _late(
    what: str, rounds: list[dict[str, float]], floor: list[dict[str, float]]
) -> Figure:
    return Figure(
        10,
        f"a 1 ms heartbeat's slip, p99, median of {len(rounds)} runs, {what}",
        _median(rounds, "p99"),
        "ms",
        _median(floor, "p99"),
        "NullHandler",
        3,
        absolute=True,
    )


def _worst(
    what: str,
    rounds: list[dict[str, float]],
    floor: list[dict[str, float]],
    against: str,
    target: float | None = None,
) -> Figure:
    return Figure(
        10,
        f"the worst slip of all {len(rounds)} runs, {what}",
        max(each["worst"] for each in rounds),
        "ms",
        max(each["worst"] for each in floor),
        against,
        target,
        absolute=True,
        note=f"median of the runs' worst {_median(rounds, 'worst'):.1f} ms,"
        f" of the floor {_median(floor, 'worst'):.1f}",
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
    host, *rest = sys.argv[1:]
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    shop.on_root(_handler(host, *map(int, rest)))
    slips = sorted(asyncio.run(log_all()))
    found = {"worst": slips[-1] * 1000, "p99": slips[len(slips) * 99 // 100] * 1000}
    print(json.dumps(found), flush=True)


def _handler(host: str, room: int = 10_000) -> logging.Handler:
    if host == "bare":
        return logging.NullHandler()
    if host == "keeping":
        return keeping()
    return OdpHandler(
        "key",
        api_host=host,
        shutdown_timeout=0,
        max_queue_size=room,
        max_queue_bytes=2**30,
    )


if __name__ == "__main__":
    main()
