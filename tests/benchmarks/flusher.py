"""Where the flusher's time goes: CPU per event for each of its steps, in turn.

The steps are those of `Flusher.step`, made here by hand on one thread, so that nobody
competes for the interpreter: what is measured is work, not waiting.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

from odp_logging import OdpHandler

from ..waiting import held
from .figures import Figure
from .programs import run
from .shop import on_root, purchase
from .sink import running

ROUNDS = 60
BATCHES = (100, 500)


def measure() -> list[Figure]:
    """Return the figures of outcome 4."""
    figures: list[Figure] = []
    for batch in BATCHES:
        found = run("flusher", batch)
        whole = sum(found[step] for step in STEPS)
        name = f"the flusher's CPU per event, batch {batch}"
        figures.append(Figure(4, name, whole, "µs"))
        for step, what in STEPS.items():
            figures.append(Figure(4, f"- {what}", found[step], "µs", whole, "of all"))
    by_json = found["json"]
    name = "building and encoding, over `json.dumps` alone"
    figures.append(Figure(4, name, found["build"], "µs", by_json, "json.dumps"))
    if find_spec("msgspec"):
        fast = run("flusher", 500, "fast")["build"]
        figures.append(Figure(4, f"{name}, `fast`", fast, "µs", by_json, "json.dumps"))
    return figures


STEPS = {
    "size": "sorting in: sizes and bounds",
    "build": "building and encoding: checks, an id, JSON",
    "send": "sending: one request with `requests`",
    "settle": "settling: what became of each",
}


def main(batch: int, fast: bool) -> None:
    """Measure batches of that size and print microseconds per event."""
    if not fast:
        sys.modules["msgspec"] = None  # type: ignore[assignment]
    with running() as sink:
        handler = OdpHandler(
            api_key="key", api_host=sink.host, max_batch_size=batch, background=False
        )
        on_root(handler)
        flusher: Any = handler.client._destinations.flusher
        flusher._dispatcher.prepare()
        flusher._inline.try_once = lambda: None  # steps are made below
        took: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            _round(flusher, batch, took)
        assert sink.counts()["events"] == ROUNDS * batch
    print(json.dumps({step: median(each) for step, each in took.items()}))


def _round(flusher: Any, batch: int, took: dict[str, list[float]]) -> None:
    store, transport = flusher.store, flusher._dispatcher._transport

    def timed(step: str, work: Callable[[], Any]) -> Any:
        sent_at = time.thread_time()
        result = work()
        took.setdefault(step, []).append((time.thread_time() - sent_at) / batch * 1e6)
        return result

    for _ in range(batch):
        purchase()
    with held(store._lock):
        timed("size", store._account_incoming)
    taken = timed("build", store.take)
    bodies = [event.to_dict() for event in taken.events]
    timed("json", lambda: [json.dumps(body) for body in bodies])
    delivery = timed("send", lambda: transport.send(taken))
    timed("settle", lambda: store.settle(taken, delivery))


if __name__ == "__main__":
    main(int(sys.argv[1]), "fast" in sys.argv)
