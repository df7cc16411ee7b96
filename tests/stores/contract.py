"""Tests that every store passes; a subclass creates the store."""

from __future__ import annotations

from typing import Any

from odp_logging import OdpEvent
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.base import BaseStore

from ..waiting import held


def event(number: int, **data: Any) -> OdpEvent:
    """Return an event with a number of its own."""
    return OdpEvent(
        "viewed", {"fs_user_id": "u1"}, data={"n": number, **data}, timestamp=1.0
    )


def numbers(events: Any) -> list[int]:
    """Return the numbers of *events*, in their order."""
    return [event.data["n"] for event in events]


DEEP = (
    b'{"type":"t","action":"a","identifiers":{"f":"x"},"data":{"d":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}"
)
"""JSON that the parser of the standard library rejects with a RecursionError."""


def balanced(store: BaseStore) -> bool:
    """Return whether every event that the store accepted is accounted for."""
    counts = store.counts()
    settled = (
        counts.delivered + sum(counts.rejected.values()) + sum(counts.dropped.values())
    )
    return counts.accepted == settled + counts.waiting + counts.moved


class StoreContract:
    """Tests for every store; batches hold ten events."""

    def make(self) -> BaseStore:
        """Return an empty store whose batches hold ten events."""
        raise NotImplementedError

    def test_events_are_taken_in_the_order_of_put(self):
        """take returns the oldest events, one batch at most."""
        store = self.make()
        for number in range(25):
            store.put(event(number))

        batch = store.take()

        assert numbers(batch.events) == list(range(10))
        assert store.counts().waiting == 25
        assert balanced(store)

    def test_an_empty_store_returns_an_empty_batch(self):
        """take and settle work on an empty store."""
        store = self.make()
        batch = store.take()
        store.settle(batch, Delivery(0))

        assert list(batch.events) == []
        assert store.get_last_sequence() == store.get_settled_sequence() == 0

    def test_accepted_events_are_removed(self):
        """Accepted events count as delivered, and the next batch follows."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        store.settle(store.take(), Delivery(10))

        assert store.counts().delivered == 10
        assert store.get_settled_sequence() == 10
        assert numbers(store.take().events) == [10, 11]
        assert balanced(store)

    def test_pending_events_are_taken_again_first(self):
        """Pending events come before those that were put later."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        store.settle(batch, Delivery(10, pending=(2, 5), cause=Cause.TRANSIENT))

        assert store.get_settled_sequence() == 2
        assert numbers(store.take().events) == [2, 5, 10, 11]
        assert store.counts().retried == 2
        assert balanced(store)

    def test_rejected_events_are_removed_and_counted(self):
        """Events that ODP rejected are neither delivered nor kept."""
        store = self.make()
        for number in range(3):
            store.put(event(number))
        store.settle(store.take(), Delivery(3, rejected={1: "missing type"}))

        assert store.counts().delivered == 2
        assert store.counts().rejected == {"refused": 1}
        assert store.counts().waiting == 0
        assert balanced(store)

    def test_an_early_rejection_is_counted(self):
        """An event rejected before it is stored counts as accepted and as rejected."""
        store = self.make()
        store.reject_early("in_callback")

        assert store.counts().accepted == 1
        assert store.counts().rejected == {"in_callback": 1}
        assert balanced(store)

    def test_an_early_rejection_within_an_update_is_counted(self):
        """A rejection by code that interrupted the lock holder is counted."""
        store: Any = self.make()
        with held(store._lock):
            store.reject_early("in_callback")

        assert store.counts().rejected == {"in_callback": 1}
        assert store.counts().accepted == 1
        assert balanced(store)

    def test_a_forked_child_does_not_take_events_of_its_parent(self):
        """In the child the counts are zero, and the parent's batch is not taken."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        store.after_fork()

        assert store.counts().accepted == 0
        assert not set(numbers(store.take().events)) & set(numbers(batch.events))

    def test_no_thread_holds_the_store_between_calls(self):
        """After put has returned, the calling thread does not hold the lock."""
        store = self.make()
        store.put(event(1))

        assert not store.is_held_by_current_thread()


class LocalStoreContract(StoreContract):
    """Tests for the stores of one process."""

    def test_a_store_is_empty_after_a_fork(self):
        """In the child no event is left, and the counts are zero."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        store.take()
        store.after_fork()

        assert store.counts().accepted == 0
        assert list(store.take().events) == []


class QueueStoreContract(StoreContract):
    """Tests for the stores that processes share; each `make` opens the same queue."""

    def test_an_event_put_by_one_process_is_taken_by_another(self):
        """The JSON of the event is the same, byte for byte."""
        one, two = self.make(), self.make()
        original = event(1)
        one.put(original)

        assert [taken.json for taken in two.take().events] == [original.json]

    def test_an_event_is_leased_once(self):
        """Events taken and not settled are not taken by another process."""
        one, two = self.make(), self.make()
        for number in range(15):
            one.put(event(number))

        first, second = numbers(one.take().events), numbers(two.take().events)
        assert first == list(range(10))
        assert second in ([], list(range(10, 15)))

    def test_settled_events_are_not_taken_again(self):
        """Accepted and rejected events are removed from the queue."""
        one, two = self.make(), self.make()
        for number in range(3):
            one.put(event(number))
        two.settle(two.take(), Delivery(3, rejected={1: "missing type"}))
        two.discard("exit")

        assert list(one.take().events) == []

    def test_discarded_events_are_taken_by_another_process(self):
        """discard releases unsettled events to other workers at once."""
        one, two = self.make(), self.make()
        for number in range(3):
            one.put(event(number))
        one.settle(one.take(), Delivery(3, pending=(1, 2), cause=Cause.TRANSIENT))

        assert one.discard("exit") == 0
        assert numbers(two.take().events) == [1, 2]
