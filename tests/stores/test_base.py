"""A store derived from `BaseStore`: the eight methods of `Store` are all it needs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Delivery
from odp_logging._flusher.flusher import Flusher
from odp_logging._stores.base import BaseStore, Store
from odp_logging._stores.counts import Counts
from odp_logging._stores.inbox import EventHolder
from odp_logging._transports.base import BaseTransport

from .contract import LocalStoreContract, balanced, event, numbers


class ListStore(BaseStore):
    """Holds events in a list, without bounds."""

    def _reset(self) -> None:
        super()._reset()
        self._events: list[tuple[int, OdpEvent]] = []
        self._last_sequence = 0
        self._current: Batch | None = None
        self._pending: Sequence[OdpEvent] = ()

    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        self._last_sequence += 1
        self._counters.accepted += 1
        self._events.append((self._last_sequence, logged))
        if holder:
            holder.clear()
        return len(self._events) >= 10

    def take(self, requests: int = 1) -> Batch:
        events = [event for _, event in self._events[: 10 * requests]]
        self._counters.retried += sum(event in self._pending for event in events)
        self._current = Batch(events, truncated=len(events) < len(self._events))
        return self._current

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        if batch is not self._current:
            return
        size = len(batch.events)
        self._pending = [batch.events[index] for index in delivery.pending]
        pending = [self._events[index] for index in delivery.pending]
        self._events[:size] = pending
        self._counters.reject("refused", len(delivery.rejected))
        self._counters.delivered += len(delivery.accepted)

    def discard(self, reason: str) -> int:
        count = len(self._events)
        self._counters.drop(reason, count)
        self._events.clear()
        self._current = None
        return count

    def close(self) -> None: ...

    def counts(self) -> Counts:
        self._lock.run(self._count_early_outcomes, -1)
        return self._counters.read(
            pending=len(self._events), spooled=0, uncounted=0, size=0
        )

    def get_last_sequence(self) -> int:
        return self._last_sequence

    def get_settled_sequence(self) -> int:
        return self._events[0][0] - 1 if self._events else self._last_sequence


class TestContract(LocalStoreContract):
    def make(self) -> ListStore:
        """Return an empty store."""
        return ListStore()


class Recorder(BaseTransport):
    """A transport that accepts everything."""

    def __init__(self) -> None:
        self.sent: list[OdpEvent] = []

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.sent += batch.events
        return Delivery(len(batch.events))

    def close(self) -> None: ...


def test_a_flusher_delivers_from_a_store_with_eight_methods():
    """The defaults of `BaseStore` are enough for put, flush, fork hooks and exit."""
    store, transport = ListStore(), Recorder()
    flusher = Flusher(store, lambda: transport, batch_size=10, interval=60.0)
    for number in range(25):
        if store.put(event(number)):
            flusher.wake(batch_full=True)

    assert flusher.flush(20.0)
    assert numbers(transport.sent) == list(range(25))
    flusher.before_fork(0.0)
    flusher.after_fork_in_parent()
    store.put(event(25))
    assert flusher.abandon("exit") == 1
    assert store.counts().dropped == {"exit": 1}
    assert balanced(store)
    flusher.finish()


def test_a_store_without_one_of_the_methods_cannot_be_created():
    """Python names the missing method when the store is created."""
    methods = [
        name
        for name, _ in inspect.getmembers(Store, inspect.isfunction)
        if name[0] != "_"
    ]
    assert len(methods) == 8
    for name in methods:
        implemented = {other: getattr(ListStore, other) for other in methods}
        del implemented[name]
        incomplete = type("Incomplete", (BaseStore,), implemented)
        with pytest.raises(TypeError, match=name):
            incomplete()
