"""CPU of the whole process per event, from the log call to the acknowledgement.

One process, in turns: bare logging calls, and as many with our handler until all are
delivered. Imports and set-up come before the first turn.

    python -m tests.benchmarks.process json|fast BATCH
"""

from __future__ import annotations

import json
import logging
import sys
import time
from statistics import median

from odp_logging import OdpHandler

from .figures import Figure
from .programs import has_fast, hide_fast, run
from .shop import on_root, purchase
from .sink import running
from .throughput import log_paced

TURNS = 10
EVENTS = 5_000
"""Events of a turn."""

PROCESSES = 3
BATCHES = (100, 500)
TARGETS = {("fast", 500): 2.0, ("json", 500): 2.4}


def measure() -> list[Figure]:
    """Return the CPU per event, with each encoder and size of a batch."""
    encoders = ["json", *(["fast"] if has_fast() else [])]
    kinds = [(encoder, batch) for batch in BATCHES for encoder in encoders]
    found: dict[tuple[str, int], list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(PROCESSES):
        for kind in kinds:
            found[kind].append(run("process", *kind))
    return [_figure(*kind, found[kind]) for kind in kinds]


def _figure(encoder: str, batch: int, found: list[dict[str, float]]) -> Figure:
    # The process of the median ratio, so that figure and floor are of one process.
    ratios = sorted(found, key=lambda process: process["ours"] / process["bare"])
    middle = ratios[len(ratios) // 2]
    label = "`fast`" if encoder == "fast" else encoder
    return Figure(
        3,
        f"the process's CPU per event, call to acknowledgement, batch {batch}, {label}",
        middle["ours"],
        "µs",
        middle["bare"],
        "bare logging call",
        TARGETS.get((encoder, batch)),
    )


def main(encoder: str, batch: int) -> None:
    """Measure in turns and print microseconds per event."""
    if encoder == "json":
        hide_fast()
    bare: list[float] = []
    ours: list[float] = []
    null = logging.NullHandler()
    with running() as sink:
        handler = OdpHandler("key", api_host=sink.host, max_batch_size=batch)
        for _ in range(TURNS + 1):
            on_root(null)
            began = time.process_time()
            for _ in range(EVENTS):
                purchase()
            bare.append(time.process_time() - began)
            on_root(handler)
            began = time.process_time()
            log_paced(handler.client, EVENTS)
            assert handler.client.flush(60)
            ours.append(time.process_time() - began)
        assert sink.counts()["events"] == EVENTS * (TURNS + 1)
        handler.close()
    turns = {"bare": bare, "ours": ours}
    # The first turn loads modules and opens the connection.
    per_event = {name: 1e6 * median(took[1:]) / EVENTS for name, took in turns.items()}
    print(json.dumps(per_event))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
