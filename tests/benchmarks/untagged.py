"""What a record without a tag costs, with our handler on the root logger."""

from __future__ import annotations

import json
import logging
import time
from statistics import median

from odp_logging import OdpHandler

from .figures import Figure
from .programs import run
from .shop import on_root, view, view_plain

ROUNDS = 150
BURST = 2_000


class Cheapest(logging.Handler):
    """The cheapest filter that can be written: one look-up, and nothing done."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Look for the tag."""
        if "odp_action" in record.__dict__:
            raise AssertionError
        return False


def measure() -> list[Figure]:
    """Return the figures of outcome 2, with fields in ``extra`` and without."""
    found = run("untagged")
    return [
        *_compare("untagged record", found["with"]),
        *_compare("record without extra", found["without"]),
    ]


def _compare(record: str, found: dict[str, float]) -> list[Figure]:
    bare, ours, cheapest = found["bare"], found["ours"], found["cheapest"]
    compared = [
        (f"{record}, ours beside another handler", bare, "the other alone", 1.08),
        (f"{record}, over the cheapest filter", cheapest, "one look-up", 1.1),
    ]
    added = Figure(
        2,
        f"{record}, what our handler adds",
        ours - bare,
        "µs",
        cheapest - bare,
        "what the cheapest filter adds",
        note="differences of near figures",
    )
    figures = [
        Figure(2, subject, ours, "µs", floor, against, target)
        for subject, floor, against, target in compared
    ]
    return [*figures, added]


def main() -> None:
    """Measure and print what was found."""
    handlers: dict[str, list[logging.Handler]] = {
        "bare": [],
        "cheapest": [Cheapest()],
        "ours": [OdpHandler(api_key="key", api_host="http://127.0.0.1:9")],
    }
    another = logging.NullHandler()
    calls = {"with": view, "without": view_plain}
    took: dict[str, dict[str, list[float]]] = {
        call: {name: [] for name in handlers} for call in calls
    }
    for number in range(ROUNDS):
        # In another order each time: what a round leaves in the caches is not ours.
        names = sorted(handlers, key=lambda name: hash((name, number)))
        for name in names:
            on_root(another, *handlers[name])
            for call, log in calls.items():
                began = time.perf_counter()
                for _ in range(BURST):
                    log()
                seconds = (time.perf_counter() - began) / BURST
                took[call][name].append(seconds * 1e6)
    print(
        json.dumps(
            {
                call: {name: median(times) for name, times in rounds.items()}
                for call, rounds in took.items()
            }
        )
    )


if __name__ == "__main__":
    main()
