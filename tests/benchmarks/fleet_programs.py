"""The applications that `fleet` measures, each in a fresh process.

python -m tests.benchmarks.fleet_programs caller|handoff|plain WHERE [--batch N]
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from typing import Any

from odp_logging import OdpHandler

from .caller import BURST, Times, clock_cost, get_going, timed
from .shop import on_root, purchase
from .sink import running
from .throughput import carry

EVENTS = 20_000
_ROUNDS = 30


def main() -> None:
    """Make one run and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("subject", choices=["caller", "handoff", "plain"])
    parser.add_argument("where", help="URL of a queue, or host of a sink")
    parser.add_argument("--batch", type=int, default=100)
    asked = parser.parse_args()
    if asked.subject == "caller":
        found: Any = _in_turn(asked.where)
    elif asked.subject == "plain":
        found = _carried(asked.batch, api_key="key", api_host=asked.where)
    else:
        found = _carried(asked.batch, queue_url=asked.where)
    print(json.dumps(found))


def _carried(batch: int, **where: Any) -> dict[str, float]:
    handler = OdpHandler(max_batch_size=batch, **where)
    began, cpu = time.perf_counter(), time.process_time()
    carry(handler, EVENTS)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"per_second": EVENTS / took, "per_cpu": EVENTS / cpu}


def _in_turn(url: str) -> dict[str, dict[str, float]]:
    """Return what calls took with a NullHandler, with ours, and with the hand-off."""
    room: Any = {"max_queue_size": 10 * BURST}
    with running() as sink:
        ours = {
            "plain": OdpHandler(api_key="key", api_host=sink.host, **room),
            "handoff": OdpHandler(queue_url=url, **room),
        }
        handlers: dict[str, logging.Handler] = {"bare": logging.NullHandler(), **ours}
        times = {name: Times() for name in handlers}
        for number in range(-5, _ROUNDS):
            for name, handler in handlers.items():
                on_root(handler)
                if name in ours:
                    get_going(ours[name].client)
                took = timed(purchase, BURST)
                if number >= 0:
                    times[name].add(took)
                if name in ours:
                    assert ours[name].client.flush(30)
        for mine in ours.values():
            stats = mine.client.stats
            assert stats.dropped == {} and stats.rejected == {}, stats
            assert mine.client.close(30)
    clock = clock_cost()
    return {name: each.summary(clock) for name, each in times.items()}


if __name__ == "__main__":
    main()
