"""What `OdpProcessor` adds to a chain of structlog, beside what the handler adds.

The chain is that of structlog's documentation: merge_contextvars, add_log_level,
TimeStamper, JSONRenderer, to a PrintLogger that writes to the null device.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

from odp_logging import OdpClient, OdpHandler, OdpProcessor

from . import amid
from .figures import Figure
from .programs import run
from .shop import fields, on_root, purchase
from .sink import running

if TYPE_CHECKING:
    from typing import TextIO

ROUNDS = 80
BURST = 900
CALLS = 2_000
"""Calls amid other work."""

_FLOOR = "the same chain without OdpProcessor"
_STRIPPED = "the same chain, a processor that only removes the fields"
_TARGETS = {"burst": 1.35, "amid": 1.25}
_KINDS = {"burst": f"median of bursts of {BURST}", "amid": "p50 amid other work"}


def measure() -> list[Figure]:
    """Return the processor's cost in bursts and amid other work."""
    if find_spec("structlog") is None:
        return []
    found = run("structlog_calls")
    return [figure for kind in _KINDS for figure in _compare(_KINDS[kind], kind, found)]


def _compare(name: str, kind: str, found: dict[str, Any]) -> list[Figure]:
    took = found[kind]
    ours, floor, target = took["processor"], took["chain"], _TARGETS[kind]
    stripped = took["stripping"]
    added = ours - stripped
    by_handler = took["handler"] - took["bare"]
    call = f"structlog: a tagged call, {name}"
    return [
        Figure(12, call, ours, "µs", floor, _FLOOR, target),
        Figure(12, call, ours, "µs", stripped, _STRIPPED, target),
        Figure(
            12,
            f"structlog: what the processor adds to that chain, {name}",
            added,
            "µs",
            by_handler,
            f"what OdpHandler adds, {took['handler']:.3g} over {took['bare']:.3g}",
            1.2,
        ),
    ]


# The program that is measured.


def main() -> None:
    """Measure all subjects in turns, and print microseconds of a call."""
    with running() as sink, open(os.devnull, "w", encoding="utf-8") as null:
        client = OdpClient("key", api_host=sink.host)
        subjects = _build_subjects(client, null)
        bursts = _time_bursts(subjects)
        amid.take_turns([*subjects.values()], CALLS)
        client.close(30)
        delivered = sink.counts()["events"]
    each = (ROUNDS + 5) * BURST + CALLS + amid.BLOCK
    assert delivered == 2 * each, (delivered, 2 * each)
    print(
        json.dumps(
            {
                "burst": {name: median(times) for name, times in bursts.items()},
                "amid": {
                    name: subject.read_percentile(50)
                    for name, subject in subjects.items()
                },
            }
        )
    )


def _build_subjects(client: OdpClient, null: TextIO) -> dict[str, amid.Subject]:
    handlers = {"bare": logging.NullHandler(), "handler": OdpHandler(client=client)}
    subjects = {
        name: amid.Subject(purchase, _put_on_root(handler))
        for name, handler in handlers.items()
    }
    chains: dict[str, list[Any]] = {
        "chain": [],
        "stripping": [_strip_fields],
        "processor": [OdpProcessor(client)],
    }
    for name, processors in chains.items():
        subjects[name] = amid.Subject(_build_call(processors, null))
    for subject in subjects.values():
        subject.end = lambda: client.flush(30)
    return subjects


def _put_on_root(handler: logging.Handler) -> Callable[[], None]:
    return lambda: on_root(handler)


def _strip_fields(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in ("odp_action", "odp_identifiers", "odp_data"):
        del event[name]
    return event


def _build_call(processors: list[Any], null: TextIO) -> Callable[[], object]:
    import structlog

    logger = structlog.wrap_logger(
        structlog.PrintLogger(null),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *processors,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    ).bind()

    def call() -> None:
        logger.info("purchase", **fields())

    return call


def _time_bursts(subjects: dict[str, amid.Subject]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(-5, ROUNDS):
        for name, subject in subjects.items():
            subject.begin()
            call = subject.call
            began = time.perf_counter()
            for _ in range(BURST):
                call()
            seconds = time.perf_counter() - began
            subject.end()
            if number >= 0:
                times[name].append(1e6 * seconds / BURST)
    return times


if __name__ == "__main__":
    main()
