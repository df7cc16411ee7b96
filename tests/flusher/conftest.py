"""A flusher with a transport that records what it sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from odp_logging import OdpEvent
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._flusher.flusher import Flusher
from odp_logging._flusher.reports import Reports
from odp_logging._runtime.diagnostics import Diagnostics
from odp_logging._stores.buffer import Buffer
from odp_logging._transports.base import BaseTransport


class RecordingTransport(BaseTransport):
    """A transport that records each batch and returns the given answers in turn."""

    def __init__(self, *answers: Callable[[int], Delivery]) -> None:
        self.batches: list[Sequence[OdpEvent]] = []
        self.deadlines: list[float | None] = []
        self.threads: list[int] = []
        self.prepared = threading.Event()
        self.sent = threading.Semaphore(0)
        self._answers = list(answers)

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.batches.append(batch.events)
        self.deadlines.append(deadline)
        self.threads.append(threading.get_ident())
        answer = self._answers.pop(0) if self._answers else Delivery
        try:
            return answer(len(batch.events))
        finally:
            self.sent.release()

    def prepare(self) -> None:
        self.prepared.set()

    def close(self) -> None: ...

    def after_fork(self) -> None:
        self.batches.clear()


class FakeCapture:
    """Stands for the capture of a log call."""

    size = 100
    origin = None

    def __init__(self, action: str) -> None:
        self.action = action


def answer_down(size: int, **changes: float) -> Delivery:
    """Return the delivery of a server that is down."""
    return replace(Delivery.all_pending(size, Cause.TRANSIENT, "down"), **changes)


def make_flusher(transport: RecordingTransport | None, **settings: Any) -> Flusher:
    """Return a flusher with batches of 3 events and an interval of 60 s."""
    store = Buffer(
        lambda capture, event_id=None: OdpEvent(
            capture.action, {"email": "a@b.example"}
        ),
        batch_size=3,
        batch_bytes=10_000,
        max_size=100,
        max_bytes=100_000,
        keep_dropped="on_drop" in settings,
    )
    callbacks = (settings.pop("on_delivery", None), settings.pop("on_drop", None))
    options: dict[str, Any] = {"batch_size": 3, "interval": 60.0, **settings}
    reports = Reports(Diagnostics(), *callbacks)
    build = None if transport is None else lambda: transport
    return Flusher(store, build, reports=reports, **options)


def put_events(flusher: Flusher, *actions: str) -> None:
    """Put events as a client does."""
    for action in actions:
        if flusher.store.put(FakeCapture(action)):
            flusher.wake(batch_full=True)
        elif flusher.idle:
            flusher.wake()


def list_sending_threads() -> set[threading.Thread]:
    """Return the threads of all flushers."""
    return {thread for thread in threading.enumerate() if thread.name == "odp-logging"}


def start_sending(flusher: Flusher, event: str = "a") -> threading.Thread:
    """Put *event*, and return the thread that the flusher starts for it."""
    others = list_sending_threads()
    put_events(flusher, event)
    (thread,) = list_sending_threads() - others
    return thread
