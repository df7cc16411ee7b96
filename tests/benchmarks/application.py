"""What the application's own thread notices: losses in a loop, gaps, slow calls.

python -m tests.benchmarks.application loop bare|ours
python -m tests.benchmarks.application gap json|fast
python -m tests.benchmarks.application amid
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import requests

from odp_logging import OdpHandler

from . import amid
from .figures import Figure
from .limits import build_ready_body
from .programs import has_fast, hide_fast, run
from .prototype import PrototypeHandler
from .shop import on_root, purchase
from .sink import running

LOOP = 100_000
LOOP_TURNS = 5
SENDS = 40
"""Batches whose longest gap is measured."""

BATCH = 500
CALLS = 4_000
"""Calls amid other work."""

_LONGEST_SEND_SECONDS = 10.0
_TAIL_SECONDS = 0.002
_SHORTEST_GAP_SECONDS = 20e-6


def measure() -> list[Figure]:
    """Return the figures of a loop that never waits, of gaps and of single calls."""
    return [*_loop(), *_gaps(), *_amid()]


def _loop() -> list[Figure]:
    found: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for _ in range(LOOP_TURNS):
        for subject, turns in found.items():
            turns.append(run("application", "loop", subject))
    ours = found["ours"]
    lost = max(turn["lost"] for turn in ours)
    return [
        Figure(
            14,
            f"a loop of {LOOP:,} calls, wall time per delivered event",
            median(turn["per_event"] for turn in ours),
            "µs",
            median(turn["per_event"] for turn in found["bare"]),
            "bare logging call",
            2.6,
            note=f"the loop alone {median(t['loop'] for t in ours):.3g} µs a call",
        ),
        Figure(
            14,
            f"a loop of {LOOP:,} calls, events lost; most of {LOOP_TURNS} runs",
            lost,
            "events",
            target=0,
            absolute=True,
        ),
    ]


def _gaps() -> list[Figure]:
    return [_gap(encoder) for encoder in ["json", *(["fast"] if has_fast() else [])]]


def _gap(encoder: str) -> Figure:
    found = run("application", "gap", encoder)
    label = "`fast`" if encoder == "fast" else encoder
    return Figure(
        14,
        f"longest gap of a thread that computes while {BATCH} events are sent, {label}",
        found["ours"]["longest"],
        "ms",
        found["floor"]["longest"],
        "a thread that posts a ready body with requests.Session",
        1.0,
        absolute=True,
        note=f"all gaps {found['ours']['lost']:.2g} µs per event,"
        f" of the floor {found['floor']['lost']:.2g}",
    )


def _amid() -> list[Figure]:
    found = run("application", "amid")
    figures = []
    for percent, target in ((50, None), (99, 1.8)):
        name = f"p{percent}"
        bare = found["bare"][name]
        call = f"one call amid other work, {name}"
        figures.append(
            Figure(
                14, call, found["ours"][name], "µs", bare, "bare logging call", target
            )
        )
        plain = found["prototype"][name]
        figures.append(
            Figure(14, f"{call}, the prototype", plain, "µs", bare, "bare logging call")
        )
    return figures


# The programs that are measured.


def loop(subject: str) -> dict[str, float]:
    """Log without a pause; return microseconds per delivered event, and the losses."""
    if subject == "bare":
        on_root(logging.NullHandler())
        seconds = _log_all()
        return {"per_event": 1e6 * seconds / LOOP, "loop": 1e6 * seconds / LOOP}
    with running() as sink:
        # Lost events are counted below; a line about them would be noise.
        logging.getLogger("odp_logging").addHandler(logging.NullHandler())
        handler = OdpHandler("key", api_host=sink.host)
        on_root(handler)
        purchase()
        assert handler.client.flush(30)
        began = time.perf_counter()
        in_loop = _log_all()
        assert handler.client.flush(60)
        seconds = time.perf_counter() - began
        delivered = sink.counts()["events"] - 1
        assert delivered == handler.client.stats.delivered - 1
        handler.close()
    return {
        "per_event": 1e6 * seconds / delivered,
        "loop": 1e6 * in_loop / LOOP,
        "lost": LOOP - delivered,
    }


def _log_all() -> float:
    began = time.perf_counter()
    for _ in range(LOOP):
        purchase()
    return time.perf_counter() - began


def gap(encoder: str) -> dict[str, dict[str, float]]:
    """Return the gaps while a batch is sent, by our flusher and by the floor."""
    if encoder == "json":
        hide_fast()
    sent: list[object] = []
    with running() as sink:
        handler = OdpHandler(
            "key", api_host=sink.host, max_batch_size=BATCH, on_delivery=sent.append
        )
        on_root(handler)

        def log_batch() -> None:
            for _ in range(BATCH):
                purchase()

        post = _ReadyPoster(f"{sink.host}/v3/events", sent)
        ours, floor = [], []
        for turn in range(-2, SENDS):
            for begin, gaps in ((post.begin, floor), (log_batch, ours)):
                found = _find_gaps(begin, sent)
                if turn >= 0:
                    gaps.append(found)
        assert sink.counts()["events"] == 2 * (SENDS + 2) * BATCH
        handler.close()
    return {"ours": _summarize(ours), "floor": _summarize(floor)}


def _find_gaps(begin: Callable[[], object], sent: list[object]) -> list[float]:
    """Read the clock in a loop until a batch is sent; return the seconds it missed."""
    clock = time.perf_counter
    gaps = []
    sent.clear()
    begin()
    last = clock()
    give_up = last + _LONGEST_SEND_SECONDS
    while not sent:
        now = clock()
        if now - last > _SHORTEST_GAP_SECONDS:
            gaps.append(now - last)
            assert now < give_up, "no batch was sent"
        last = now
    # The callback is not the flusher's last work for a batch.
    give_up = clock() + _TAIL_SECONDS
    while last < give_up:
        now = clock()
        if now - last > _SHORTEST_GAP_SECONDS:
            gaps.append(now - last)
        last = now
    return gaps


def _summarize(sends: list[list[float]]) -> dict[str, float]:
    return {
        "longest": 1e3 * median(max(gaps, default=0.0) for gaps in sends),
        "lost": 1e6 * median(sum(gaps) for gaps in sends) / BATCH,
    }


class _ReadyPoster:
    """A thread that posts a ready body each time it is told to."""

    def __init__(self, url: str, sent: list[object]) -> None:
        self._url = url
        self._sent = sent
        self._body = build_ready_body()
        self._due = threading.Semaphore(0)
        self.begin = self._due.release
        threading.Thread(target=self._post_all, daemon=True).start()

    def _post_all(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while self._due.acquire():
                self._sent.append(session.post(self._url, data=self._body, timeout=10))


def call_amid() -> dict[str, dict[str, float]]:
    """Time single calls: bare, with our handler and with the prototype."""
    null = logging.NullHandler()
    with running() as sink:
        ours = OdpHandler("key", api_host=sink.host)
        prototype = PrototypeHandler(sink)
        subjects = {
            "bare": amid.Subject(purchase, lambda: on_root(null)),
            "ours": amid.Subject(purchase, lambda: on_root(ours), ours.flush),
            "prototype": amid.Subject(
                purchase, lambda: on_root(prototype), prototype.flush
            ),
        }
        amid.take_turns([*subjects.values()], CALLS)
        assert sink.counts()["events"] == 2 * (CALLS + amid.BLOCK)
        ours.close()
    return {
        name: {f"p{percent}": subject.read_percentile(percent) for percent in (50, 99)}
        for name, subject in subjects.items()
    }


def main(what: str, subject: str = "") -> None:
    """Run the named program; print what it measured."""
    found: Any
    if what == "loop":
        found = loop(subject)
    elif what == "gap":
        found = gap(subject)
    else:
        found = call_amid()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
