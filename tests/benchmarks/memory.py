"""What an event takes while it waits, and what a full buffer of the default size takes.

python -m tests.benchmarks.memory hold ours|floor EVENTS own|shared traced|rss
python -m tests.benchmarks.memory fill HOST EVENTS
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from odp_logging import OdpHandler

from . import shop, sink
from .figures import Figure
from .programs import run

_DEFAULT = 10_000
_ROUNDS = 3
_FLOOR = "both dicts copied, and a tuple of them, action and time, in a deque"


def measure() -> list[Figure]:
    """Return bytes per event, traced and resident, and the peak of a full buffer."""
    return [*_per_event(), _peak()]


def _per_event() -> Iterator[Figure]:
    for what, events, values, how, target in (
        ("memory per buffered event", 9_000, "own", "traced", 1.145),
        ("memory per buffered event", 100_000, "own", "traced", 1.145),
        ("the same, values not counted", 9_000, "shared", "traced", None),
        ("resident memory per buffered event", 100_000, "own", "rss", None),
    ):
        rounds = 1 if how == "traced" else _ROUNDS
        ours, floor = [], []
        for _ in range(rounds):
            ours.append(_held("ours", events, values, how))
            floor.append(_held("floor", events, values, how))
        yield Figure(
            5,
            f"{what}, {events:,} of them",
            median(ours),
            "bytes",
            median(floor),
            _FLOOR,
            target,
        )


def _held(whose: str, events: int, values: str, how: str) -> float:
    found: float = run("memory", "hold", whose, events, values, how)["bytes"]
    return found


def _peak() -> Figure:
    full, one = [], []
    for _ in range(_ROUNDS):
        with sink.running("hang") as server:
            full.append(run("memory", "fill", server.host, 2 * _DEFAULT)["peak"])
            one.append(run("memory", "fill", server.host, 1)["peak"])
    return Figure(
        5,
        "peak resident memory, buffer of the default size full and overflowing",
        median(full) / 2**20,
        "MiB",
        median(one) / 2**20,
        "the same program with one event",
        note=f"{(median(full) - median(one)) / 2**20:.1f} MiB more",
    )


# The programs that are measured.


def _fields(number: int) -> dict[str, Any]:
    """Return an event whose values are its own, as in life; its action is shared."""
    return {
        "odp_action": "purchased",
        "odp_identifiers": {
            "fs_user_id": f"u-{number}",
            "email": f"ada{number}@example.com",
        },
        "odp_data": {"item": f"shirt {number}", "price": number + 0.5},
    }


def hold(whose: str, events: int, values: str, how: str) -> dict[str, float]:
    """Log *events* that nobody sends; return the bytes that each takes."""
    shop.on_root(keeping() if whose == "floor" else _handler(events))
    log = _purchase if values == "own" else lambda number: shop.purchase()
    for number in range(1000):  # what the first calls leave behind is not counted
        log(-number)
    gc.collect()
    if how == "traced":
        tracemalloc.start()
    before = _taken(how)
    for number in range(events):
        log(number)
    gc.collect()
    return {"bytes": (_taken(how) - before) / events}


def _purchase(number: int) -> None:
    shop.LOGGER.info("purchase", extra=_fields(number))


def _handler(events: int) -> logging.Handler:
    # Without a key events are kept, and no thread starts.
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    return OdpHandler(
        max_queue_size=events + 2000, max_queue_bytes=2**31, handle_sigterm=False
    )


def keeping() -> logging.Handler:
    """Return a handler that keeps no more of a record than it must."""
    kept: deque[Any] = deque()

    class Keeping(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            fields = record.__dict__
            kept.append(
                (
                    fields["odp_action"],
                    fields["odp_identifiers"].copy(),
                    fields["odp_data"].copy(),
                    record.created,
                )
            )
            return True

    return Keeping()


def _taken(how: str) -> float:
    if how == "traced":
        return tracemalloc.get_traced_memory()[0]
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return _peak_of_process()


def _peak_of_process() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fill(host: str, events: int) -> dict[str, float]:
    """Log *events* to a server that never answers; return the peak of the process."""
    shop.on_root(OdpHandler("key", api_host=host, shutdown_timeout=0))
    for number in range(events):
        _purchase(number)
    return {"peak": _peak_of_process()}


def main() -> None:
    """Do what the command line says; print what was measured."""
    what, *rest = sys.argv[1:]
    if what == "hold":
        found = hold(rest[0], int(rest[1]), rest[2], rest[3])
    else:
        found = fill(rest[0], int(rest[1]))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
