"""The demo's small shop: its tills log what customers do, and time each log call."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from ._client import OdpClient
from ._handler import OdpHandler
from ._processor import OdpProcessor

_TILLS = 4
_VISITS = 15
"""Customers of each till, if there are events for so many."""
_GOODS = (
    ("85123A", "White hanging heart", 2.55),
    ("71053", "White metal lantern", 3.39),
    ("22752", "Set of 7 babushka boxes", 7.65),
    ("21730", "Glass star frosted holder", 4.25),
)

_Log = Callable[[str, dict[str, Any]], object]


class Shop:
    """
    Open for *seconds*, in which its tills log *events* in all.

    Used as a context manager: at its end all tills are closed, however it comes.

    Args:
        client: Where the events go.
        closing: Set when the tills have to stop early.
    """

    def __init__(
        self,
        client: OdpClient,
        *,
        events: int,
        seconds: float,
        closing: threading.Event,
    ) -> None:
        self._closing = closing
        self._step = seconds * _TILLS / events
        ways = (_through_logging(client), _through_structlog(client))
        self.tills = [
            _Till(number, ways[number % 2], range(number, events, _TILLS))
            for number in range(min(_TILLS, events))
        ]

    def __enter__(self) -> Shop:
        opened = time.monotonic()
        self._threads = [
            threading.Thread(
                target=till.sell,
                args=(opened, self._step, self._closing),
                name=f"till-{till.number}",
            )
            for till in self.tills
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.join()

    def join(self) -> None:
        """Wait until every till has logged all its events, or was told to stop."""
        for thread in self._threads:
            thread.join()

    def costs(self) -> list[int]:
        """Return the nanoseconds of every log call that was made, sorted."""
        return sorted(cost for till in self.tills for cost in till.costs)


class _Till:
    """One thread of the shop; `costs` holds the nanoseconds of each log call."""

    def __init__(self, number: int, log: _Log, events: range) -> None:
        self.number = number
        self.costs: list[int] = []
        self._log = log
        self._events = events

    def sell(self, opened: float, step: float, closing: threading.Event) -> None:
        """Log an event every *step* seconds, until all are or *closing* is set."""
        chance = random.Random(self.number)
        steps = max(1, len(self._events) // _VISITS)
        for place, event in enumerate(self._events):
            # A customer's few steps come one upon the other, as a request logs them.
            visit = place - place % steps
            wait = opened + step * visit - time.monotonic()
            if closing.wait(max(0.0, wait)):
                return
            action, fields = _event(event, chance)
            start = time.perf_counter_ns()
            self._log(action, fields)
            self.costs.append(time.perf_counter_ns() - start)


def _event(number: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Return a message and the fields of a view, a purchase or a return."""
    product, name, price = chance.choice(_GOODS)
    kind, action = chance.choices(
        (("product", "detail"), ("order", "purchase"), ("order", "return")),
        weights=(6, 3, 1),
    )[0]
    data: dict[str, Any] = {"product_id": product, "name": name}
    if kind == "order":
        quantity = chance.randint(1, 6)
        data |= {
            "order_id": f"demo-{number}",
            "quantity": quantity,
            "total": round(quantity * price, 2),
        }
    return action, {
        "odp_action": action,
        "odp_type": kind,
        "odp_identifiers": {"customer_id": str(17850 + number % 40)},
        "odp_data": data,
    }


def _through_logging(client: OdpClient) -> _Log:
    # A logger of its own, out of the tree: the demo leaves the process's as it is.
    logger = logging.Logger("shop", logging.INFO)
    logger.addHandler(OdpHandler(client=client))
    return lambda message, fields: logger.info(message, extra=fields)


def _through_structlog(client: OdpClient) -> _Log:
    logger = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[OdpProcessor(client=client), _shown_nowhere],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind()
    return lambda message, fields: logger.info(message, **fields)


def _shown_nowhere(logger: Any, name: str, event_dict: Any) -> Any:
    """Render nothing: what an application prints is its own matter."""
    raise structlog.DropEvent
