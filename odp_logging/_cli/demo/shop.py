"""The demo's shop: its threads log what customers do, and measure each log call."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from ..._client.client import OdpClient
from ..._inputs.handler import OdpHandler
from ..._inputs.processor import OdpProcessor
from ..._runtime.lock import monotonic

_WORKERS = 4
_MAX_VISITS = 15
"""Customers of each thread; fewer if there are fewer events."""

_PRODUCTS = (
    ("85123A", "White hanging heart", 2.55),
    ("71053", "White metal lantern", 3.39),
    ("22752", "Set of 7 babushka boxes", 7.65),
    ("21730", "Glass star frosted holder", 4.25),
)

_Log = Callable[[str, dict[str, Any]], object]


class Shop:
    """
    Is open for *seconds*, in which its threads log *events* in all.

    Used as a context manager, which stops all threads at its end.

    Args:
        client: Where the events go.
        closing: Set to stop the threads early.
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
        self._interval = seconds * _WORKERS / events
        functions = (_build_logging_call(client), _build_structlog_call(client))
        self.workers = [
            _ShopWorker(number, functions[number % 2], range(number, events, _WORKERS))
            for number in range(min(_WORKERS, events))
        ]

    def __enter__(self) -> Shop:
        opened_at = monotonic()
        self._threads = [
            threading.Thread(
                target=worker.log_events,
                args=(opened_at, self._interval, self._closing),
                name=f"shop-{worker.number}",
            )
            for worker in self.workers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.join()

    def join(self) -> None:
        """Wait until every thread has logged all its events, or has stopped."""
        for thread in self._threads:
            thread.join()

    def list_call_times(self) -> list[int]:
        """Return the nanoseconds of each log call, sorted."""
        return sorted(
            call_time for worker in self.workers for call_time in worker.call_times
        )


class _ShopWorker:
    """One thread of the shop; `call_times` holds the nanoseconds of each log call."""

    def __init__(self, number: int, log: _Log, events: range) -> None:
        self.number = number
        self.call_times: list[int] = []
        self._log = log
        self._events = events

    def log_events(
        self, opened_at: float, interval: float, closing: threading.Event
    ) -> None:
        """Log an event every *interval* seconds, until all are or *closing* is set."""
        # Seeded: every demo logs the same events.
        random_source = random.Random(self.number)
        events_per_visit = max(1, len(self._events) // _MAX_VISITS)
        for index, number in enumerate(self._events):
            # The events of one customer come at once, as those of one web request do.
            first_of_visit = index - index % events_per_visit
            wait = opened_at + interval * first_of_visit - monotonic()
            if closing.wait(max(0.0, wait)):
                return
            action, fields = _build_event(number, random_source)
            start = time.perf_counter_ns()
            self._log(action, fields)
            self.call_times.append(time.perf_counter_ns() - start)


def _build_event(
    number: int, random_source: random.Random
) -> tuple[str, dict[str, Any]]:
    """Return a message and the fields of a view, a purchase or a return."""
    product, name, price = random_source.choice(_PRODUCTS)
    kind, action = random_source.choices(
        (("product", "detail"), ("order", "purchase"), ("order", "return")),
        weights=(6, 3, 1),
    )[0]
    data: dict[str, Any] = {"product_id": product, "name": name}
    if kind == "order":
        quantity = random_source.randint(1, 6)
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


def _build_logging_call(client: OdpClient) -> _Log:
    # Outside of the tree of loggers: the demo does not change the process's logging.
    logger = logging.Logger("shop", logging.INFO)
    logger.addHandler(OdpHandler(client=client))
    return lambda message, fields: logger.info(message, extra=fields)


def _build_structlog_call(client: OdpClient) -> _Log:
    # Not configure(), which would change structlog for the whole process.
    logger = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[OdpProcessor(client=client), _print_nothing],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind()
    return lambda message, fields: logger.info(message, **fields)


def _print_nothing(logger: Any, name: str, event_dict: Any) -> Any:
    """Drop the event dict after OdpProcessor has seen it."""
    raise structlog.DropEvent
