"""How cost grows with what is buffered, with time, and while the server is down.

    python -m tests.benchmarks.growth --seconds N       # throughput alone, that long
    python -m tests.benchmarks.growth fill HOST
    python -m tests.benchmarks.growth carry HOST SECONDS
    python -m tests.benchmarks.growth call HOST ROOM

``ODP_BENCHMARK_SECONDS`` in the environment has a run of all look that long as well.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from odp_logging import OdpHandler

from . import shop, sink
from .figures import Figure, table
from .programs import run

_LEVELS = (1, 1_000, 100_000, 1_000_000)
_BURST = 50
_BURSTS = 10
_SECONDS = 20
_WINDOWS = 10
_AHEAD = 5_000
_CALLS = 8_000
_AT_ONCE = 10
_PAUSE = 0.001
_ROUNDS = 3
_ROOMY, _NARROW = 100_000, 1_000


def measure() -> list[Figure]:
    """Return the three: by events, by time, and by what the server does."""
    seconds = int(os.environ.get("ODP_BENCHMARK_SECONDS", _SECONDS))
    return [*_by_events(), _by_time(seconds), *_by_server()]


def _by_events() -> Iterator[Figure]:
    with sink.running("hang") as server:
        found = run("growth", "fill", server.host)
    first = found["costs"][0]
    for level, cost in zip(_LEVELS[1:], found["costs"][1:]):
        yield Figure(
            9,
            f"tagged call with {level:,} events buffered, median of bursts",
            cost,
            "x the bare logging call beside it",
            first,
            "with 1",
            1.25,
        )
    yield Figure(
        9,
        "longest pause of the garbage collector while 1,000,000 events came in",
        found["pause"] * 1000,
        "ms",
        found["floor_pause"] * 1000,
        "as many tuples with two copied dicts in a deque",
    )


def _by_time(seconds: int) -> Figure:
    with sink.running() as server:
        found = run("growth", "carry", server.host, seconds, limit=seconds + 120)
    windows = found["windows"]
    for number, (rate, per_cpu) in enumerate(windows, 1):
        print(
            f"  {number * seconds / _WINDOWS:.0f} s: {rate:,.0f} events per second,"
            f" {per_cpu:,.0f} per CPU second",
            file=sys.stderr,
        )
    rates = [rate for rate, _ in windows]
    return Figure(
        9,
        f"throughput over {seconds} s, last tenth",
        windows[-1][1],
        "events per CPU second",
        windows[0][1],
        "first tenth",
        0.9,
        ">=",
        note=f"{min(rates):,.0f} to {max(rates):,.0f} events per second on the clock,"
        f" resident memory {found['grown']:+.1f} MiB from the first tenth to the last",
    )


def _by_server() -> Iterator[Figure]:
    found: dict[str, list[float]] = {what: [] for what in _SERVERS}
    for _ in range(_ROUNDS):
        for what, (mode, room) in _SERVERS.items():
            found[what].append(_p99(mode, room))
    up = median(found.pop("is up"))
    for what, values in found.items():
        yield Figure(
            9,
            f"p99 of a tagged call while the server {what}",
            median(values) * 1e6,
            "µs",
            up * 1e6,
            "while it is up",
            2.0,
        )


_SERVERS = {
    "is up": ("ok", _ROOMY),
    "is not there": ("", _ROOMY),
    "answers 503": ("refuse", _ROOMY),
    "hangs": ("hang", _ROOMY),
    "hangs and each call drops an event": ("hang", _NARROW),
}


def _p99(mode: str, room: int) -> float:
    if not mode:
        with socket.create_server(("127.0.0.1", 0)) as free:
            host = f"http://127.0.0.1:{free.getsockname()[1]}"
        return float(run("growth", "call", host, room)["p99"])
    with sink.running(mode) as server:
        return float(run("growth", "call", server.host, room)["p99"])


# The programs that are measured.


def fill(host: str) -> dict[str, Any]:
    """Return the cost of a call at each level, while nothing gets out."""
    pauses = _watch_collector()
    bare = logging.NullHandler()
    handler = OdpHandler(
        "key",
        api_host=host,
        timeout=600,
        shutdown_timeout=0,
        max_queue_size=3 * _LEVELS[-1],
        max_queue_bytes=2**33,
    )
    _warm_up()
    shop.on_root(handler)
    shop.purchase()
    handler.client.flush(1)  # its thread waits for the answer from now on
    costs, logged = [], 1
    for level in _LEVELS:
        for _ in range(logged, level):
            shop.purchase()
        costs.append(_cost(handler, bare))
        logged = level + _BURST * _BURSTS
    return {
        "costs": costs,
        "pause": max(pauses),
        "floor_pause": _pause_of_floor(pauses),
    }


def _warm_up() -> None:
    """Have the interpreter know the code, with a client that keeps what it gets."""
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    shop.on_root(OdpHandler())
    for _ in range(20 * _BURST):
        shop.purchase()


def _cost(handler: logging.Handler, bare: logging.Handler) -> float:
    calls, floors = [], []
    for _ in range(_BURSTS):
        shop.on_root(bare)
        floors.append(_burst())
        shop.on_root(handler)
        calls.append(_burst())
    return median(calls) / median(floors)


def _burst() -> float:
    began = time.perf_counter()
    for _ in range(_BURST):
        shop.purchase()
    return (time.perf_counter() - began) / _BURST


def _watch_collector() -> list[float]:
    pauses: list[float] = []
    began = [0.0]

    def watch(phase: str, info: object) -> None:
        if phase == "start":
            began[0] = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - began[0])

    gc.callbacks.append(watch)
    return pauses


def _pause_of_floor(pauses: list[float]) -> float:
    gc.freeze()  # what was buffered before is not looked at again
    pauses.clear()
    kept: deque[Any] = deque()
    for _ in range(_LEVELS[-1]):
        made = shop.fields()
        identifiers, data = made["odp_identifiers"].copy(), made["odp_data"].copy()
        kept.append((made["odp_action"], identifiers, data, time.time()))
    return max(pauses)


def carry(host: str, seconds: float) -> dict[str, Any]:
    """Log no faster than it is carried for *seconds*; return what each tenth saw."""
    handler = OdpHandler("key", api_host=host, max_batch_size=500)
    shop.on_root(handler)
    until = time.perf_counter() + 1.0
    _log_until(handler, until)  # imports and the first connection
    windows, memory = [], []
    for _ in range(_WINDOWS):
        until += seconds / _WINDOWS
        windows.append(_log_until(handler, until))
        memory.append(_resident())
    handler.client.close()
    return {"windows": windows, "grown": (memory[-1] - memory[0]) / 2**20}


def _log_until(handler: OdpHandler, until: float) -> tuple[float, float]:
    """Return the events per second, and per CPU second, up to that moment."""
    delivered = handler.client.stats.delivered
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() < until:
        for _ in range(100):
            shop.purchase()
        if handler.client.stats.pending > _AHEAD:
            time.sleep(0.002)
    count = handler.client.stats.delivered - delivered
    return (
        count / (time.perf_counter() - began),
        count / (time.process_time() - cpu),
    )


def _resident() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def call(host: str, room: int) -> dict[str, float]:
    """Time each of many calls, some at once, then a pause, as requests come."""
    handler = OdpHandler(
        "key",
        api_host=host,
        shutdown_timeout=0,
        max_queue_size=room,
        max_queue_bytes=2**30,
    )
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    shop.on_root(handler)
    clock = time.perf_counter
    taken = []
    for number in range(_CALLS + _NARROW):
        if number % _AT_ONCE == 0:
            time.sleep(_PAUSE)
        began = clock()
        shop.purchase()
        taken.append(clock() - began)
    taken = sorted(taken[_NARROW:])  # by now a narrow buffer is full
    return {"p99": taken[len(taken) * 99 // 100]}


def main() -> None:
    """Do what the command line says; print what was measured."""
    if sys.argv[1:2] == ["--seconds"]:
        print(table([_by_time(int(sys.argv[2]))]))
        return
    what, *rest = sys.argv[1:]
    if what == "fill":
        found = fill(rest[0])
    elif what == "carry":
        found = carry(rest[0], float(rest[1]))
    else:
        found = call(rest[0], int(rest[1]))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
