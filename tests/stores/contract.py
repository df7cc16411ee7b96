"""What every Store does; a test class derives from it and says how one is made."""

from __future__ import annotations

from typing import Any

from odp_logging import OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging.stores._base import Store


def event(number: int, **data: Any) -> OdpEvent:
    """Return an event that can be told from others by its number."""
    return OdpEvent(
        "viewed", {"fs_user_id": "u1"}, data={"n": number, **data}, timestamp=1.0
    )


def numbers(events: Any) -> list[int]:
    """Return the numbers of *events*, in their order."""
    return [each.data["n"] for each in events]


def balanced(store: Store) -> bool:
    """Whether every event the store accepted is accounted for."""
    counts = store.counts()
    settled = (
        counts.delivered + sum(counts.rejected.values()) + sum(counts.dropped.values())
    )
    return counts.accepted == settled + counts.waiting + counts.moved


class StoreContract:
    """Tests that hold for every store; batches hold ten events."""

    def make(self) -> Store:
        """Return an empty store whose batches hold ten events."""
        raise NotImplementedError

    def test_what_is_put_is_taken_in_order(self):
        """Events come back oldest first, a batch at most."""
        store = self.make()
        for number in range(25):
            store.put(event(number))

        batch = store.take()

        assert numbers(batch.events) == list(range(10))
        assert store.counts().waiting == 25
        assert balanced(store)

    def test_an_empty_store_yields_an_empty_batch(self):
        """Taking from an empty store is no error."""
        store = self.make()
        batch = store.take()
        store.settle(batch, Delivery(0))

        assert list(batch.events) == []
        assert store.entered() == store.passed() == 0

    def test_accepted_events_are_forgotten(self):
        """What was accepted is delivered, and the next batch follows."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        store.settle(store.take(), Delivery(10))

        assert store.counts().delivered == 10
        assert store.passed() == 10
        assert numbers(store.take().events) == [10, 11]
        assert balanced(store)

    def test_pending_events_stay_in_their_place(self):
        """What is pending comes back first, ahead of what was put later."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        store.settle(batch, Delivery(10, pending=(2, 5), cause=Cause.PASSING))

        assert store.passed() == 2
        assert numbers(store.take().events) == [2, 5, 10, 11]
        assert store.counts().retried == 2
        assert balanced(store)

    def test_rejected_events_are_counted_apart(self):
        """What ODP rejected is neither delivered nor kept."""
        store = self.make()
        for number in range(3):
            store.put(event(number))
        store.settle(store.take(), Delivery(3, rejected={1: "missing type"}))

        assert store.counts().delivered == 2
        assert store.counts().rejected == {"refused": 1}
        assert store.counts().waiting == 0
        assert balanced(store)

    def test_refused_events_are_counted(self):
        """An event that never came to rest is accepted and rejected in one."""
        store = self.make()
        store.refuse("in_callback")

        assert store.counts().accepted == 1
        assert store.counts().rejected == {"in_callback": 1}
        assert balanced(store)

    def test_what_is_refused_amid_the_books_is_counted(self):
        """An event refused by who interrupts the store is not lost to the counts."""
        store: Any = self.make()
        with store._lock.section():
            store.refuse("in_callback")

        assert store.counts().rejected == {"in_callback": 1}
        assert store.counts().accepted == 1
        assert balanced(store)

    def test_a_child_does_not_take_what_its_parent_took(self):
        """In the child nothing was counted, and nothing is sent that the parent has."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        store.after_fork()

        assert store.counts().accepted == 0
        assert not set(numbers(store.take().events)) & set(numbers(batch.events))

    def test_nobody_is_in_the_middle_of_a_resting_store(self):
        """Between calls no thread holds the store."""
        store = self.make()
        store.put(event(1))

        assert not store.is_mine()


class LocalContract(StoreContract):
    """Tests that hold for every store that is a process's own."""

    def test_a_store_is_empty_after_a_fork(self):
        """In the child nothing is left and nothing was counted."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        store.take()
        store.after_fork()

        assert store.counts().accepted == 0
        assert list(store.take().events) == []


class SharedContract(StoreContract):
    """Tests that hold for every store beyond the process; `make` is another way in."""

    def test_what_one_put_another_takes(self):
        """An event crosses from process to process byte for byte."""
        one, two = self.make(), self.make()
        sold = event(1)
        one.put(sold)

        assert [each.json for each in two.take().events] == [sold.json]

    def test_no_two_have_the_same_event(self):
        """What one took and did not settle is not taken by another."""
        one, two = self.make(), self.make()
        for number in range(15):
            one.put(event(number))

        first, second = numbers(one.take().events), numbers(two.take().events)
        assert first == list(range(10))
        assert second in ([], list(range(10, 15)))

    def test_what_is_settled_is_gone_for_all(self):
        """Accepted and rejected events are not delivered a second time."""
        one, two = self.make(), self.make()
        for number in range(3):
            one.put(event(number))
        two.settle(two.take(), Delivery(3, rejected={1: "missing type"}))
        two.give_up("exit")

        assert list(one.take().events) == []

    def test_what_is_given_up_is_taken_by_another(self):
        """A worker that ends leaves what it did not settle to the others, at once."""
        one, two = self.make(), self.make()
        for number in range(3):
            one.put(event(number))
        one.settle(one.take(), Delivery(3, pending=(1, 2), cause=Cause.PASSING))

        assert one.give_up("exit") == 0
        assert numbers(two.take().events) == [1, 2]
