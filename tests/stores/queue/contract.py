"""What every queue engine does; a test class derives from it and builds the engines.

`QueueStoreContract` tests a store over an engine. The tests here call the engine
itself, and cover what relays and the command line need.
"""

from __future__ import annotations

from odp_logging._stores.queue.base import QueueEngine
from odp_logging._stores.queue.messages import LeasedMessage, QueueMessage

from ...waiting import until

ROOM = 1_000_000
"""Bytes of a lease that no test fills, where bytes are not its subject."""


def build_message(key: str, number: int = 0) -> QueueMessage:
    """Return a message whose body names *key* and *number*."""
    body = f'{{"key":"{key}","number":{number}}}'.encode()
    return QueueMessage(key.encode(), body, "default")


def read_bodies(leased: list[LeasedMessage]) -> list[bytes]:
    """Return the bodies of *leased*, in their order."""
    return [found.message.body for found in leased]


class QueueEngineContract:
    """Tests that hold for every engine."""

    def make_engine(self) -> QueueEngine:
        """Return an engine with the queue of this test, which is empty at first."""
        raise NotImplementedError

    def lease(self, engine: QueueEngine, count: int) -> list[LeasedMessage]:
        """Lease until *engine* has returned *count* messages."""
        found: list[LeasedMessage] = []

        def lease_more() -> bool:
            found.extend(engine.lease(count - len(found), 0.05, ROOM))
            return len(found) >= count

        until(lease_more, f"{count} messages")
        return found

    def test_a_message_comes_back_as_it_was_published(self):
        """Body, alias and version are the same, and it is the first delivery."""
        engine = self.make_engine()
        message = build_message("ü", 1)
        assert not engine.publish([message], None)
        (leased,) = self.lease(engine, 1)

        assert leased.message[1:] == message[1:]
        assert leased.deliveries == 1

    def test_messages_with_one_key_stay_in_order(self):
        """Whatever messages with other keys are between them."""
        engine = self.make_engine()
        published = [build_message(f"u{n % 3}", n) for n in range(30)]
        engine.publish(published, None)
        bodies = read_bodies(self.lease(engine, 30))

        for key in (b"u0", b"u1", b"u2"):
            expected = [message.body for message in published if message.key == key]
            assert [body for body in bodies if body in expected] == expected

    def test_an_empty_queue_yields_nothing(self):
        """With and without waiting."""
        engine = self.make_engine()

        assert list(engine.lease(10, 0.0, ROOM)) == []
        assert list(engine.lease(10, 0.01, ROOM)) == []
        assert list(engine.renew([])) == []

    def test_large_messages_are_leased_in_parts(self):
        """A lease ends near its bytes, and the next one continues."""
        engine = self.make_engine()
        published = [build_message("u1" * 500, n) for n in range(10)]
        engine.publish(published, None)
        parts: list[int] = []
        while leased := engine.lease(10, 0.0, 2_500):
            parts.append(sum(len(found.message.body) for found in leased))

        size = len(published[0].body)
        assert sum(parts) == 10 * size
        assert max(parts) <= 2_500 + size
        assert len(parts) >= 3

    def test_a_message_larger_than_a_lease_comes_alone(self):
        """It is leased without others, and does not stay for ever."""
        engine = self.make_engine()
        engine.publish([build_message("u1" * 2_000), build_message("u1" * 2_000)], None)

        assert len(engine.lease(10, 0.0, 100)) == 1
        assert len(engine.lease(10, 0.0, 100)) == 1

    def test_a_lease_is_exclusive(self):
        """A second worker does not get a message while the first one holds it."""
        first, second = self.make_engine(), self.make_engine()
        first.publish([build_message("u1")], None)
        leased = self.lease(first, 1)

        assert list(second.lease(10, 0.0, ROOM)) == []
        assert list(first.renew(leased)) == leased

    def test_a_released_message_was_not_delivered(self):
        """Another worker gets it at once, as the first delivery."""
        first, second = self.make_engine(), self.make_engine()
        first.publish([build_message("u1")], None)
        first.release(self.lease(first, 1))
        (leased,) = self.lease(second, 1)

        assert leased.deliveries == 1
        assert list(second.renew([leased])) == [leased]

    def test_an_acknowledged_message_is_gone(self):
        """Also when it is acknowledged twice, as after a lost answer."""
        engine = self.make_engine()
        engine.publish([build_message("u1", n) for n in range(3)], None)
        leased = self.lease(engine, 3)
        engine.acknowledge(leased, [])
        engine.acknowledge(leased, [])
        depth = engine.read_depth()

        assert list(engine.lease(10, 0.0, ROOM)) == []
        assert (depth.ready, depth.leased, depth.dead) == (0, 0, 0)

    def test_the_depth_counts_messages(self):
        """A leased message counts as leased, or as ready in a queue without leases."""
        engine = self.make_engine()
        engine.publish([build_message("u1", n) for n in range(5)], None)
        leased = self.lease(engine, 2)
        engine.acknowledge(leased[:1], [])
        depth = engine.read_depth()

        assert depth.ready + depth.leased == 4
        assert depth.dead == 0

    def add_dead_letters(self, engine: QueueEngine, count: int) -> list[QueueMessage]:
        """Publish messages and turn them into dead letters."""
        messages = [build_message(f"u{n}", n) for n in range(count)]
        engine.publish(messages, None)
        leased = self.lease(engine, count)
        engine.acknowledge([], [(found, "missing type") for found in leased])
        return messages

    def test_a_dead_letter_has_its_message_and_reason(self):
        """It is not leased any more, and counts as dead."""
        engine = self.make_engine()
        (message,) = self.add_dead_letters(engine, 1)
        (letter,) = engine.list_dead_letters()

        assert letter.message[1:] == message[1:]
        assert (letter.reason, letter.deliveries) == ("missing type", 1)
        assert list(engine.lease(10, 0.0, ROOM)) == []
        assert engine.read_depth().dead == 1

    def test_a_repr_shows_no_customer_and_no_event(self):
        """Messages are in tracebacks with local variables, and so are dead letters."""
        engine = self.make_engine()
        message = build_message("anna")
        engine.publish([message], None)
        held = self.lease(engine, 1)
        shown = [repr(message), repr(held)]
        engine.acknowledge([], [(held[0], "no such customer: anna")])
        (letter,) = engine.list_dead_letters()
        shown += [repr(letter), repr(letter.message)]

        assert [text for text in shown if "anna" in text or "number" in text] == []
        assert letter.id in repr(letter)

    def test_dead_letters_are_listed_from_the_oldest(self):
        """Each with an id of its own."""
        engine = self.make_engine()
        self.add_dead_letters(engine, 5)
        letters = engine.list_dead_letters()
        times = [letter.dead_since for letter in letters]

        assert times == sorted(times)
        assert len({letter.id for letter in letters}) == 5

    def test_a_retried_dead_letter_is_leased_again(self):
        """As a first delivery; the others stay dead."""
        engine = self.make_engine()
        self.add_dead_letters(engine, 2)
        retried, kept = engine.list_dead_letters()
        engine.retry_dead_letters([retried])
        (leased,) = self.lease(engine, 1)

        assert leased.message[1:] == retried.message[1:]
        assert leased.deliveries == 1
        assert list(engine.list_dead_letters()) == [kept]

    def test_a_deleted_dead_letter_is_gone(self):
        """It is not leased again; the others stay."""
        engine = self.make_engine()
        self.add_dead_letters(engine, 2)
        deleted, kept = engine.list_dead_letters()
        engine.delete_dead_letters([deleted])

        assert list(engine.list_dead_letters()) == [kept]
        assert list(engine.lease(10, 0.0, ROOM)) == []

    def test_only_registered_workers_are_alive(self):
        """An engine that knows workers lists one from its registration to its end."""
        engine, other = self.make_engine(), self.make_engine()

        def count_live() -> int:
            return sum(worker.is_alive for worker in other.list_consumers())

        before = count_live()
        engine.register_worker(30.0)
        registered = count_live()
        engine.unregister_worker()
        engine.unregister_worker()

        # An engine without this knowledge lists none.
        assert (before, registered) in {(0, 1), (0, 0)}
        assert count_live() == 0

    def test_a_pause_can_be_shortened(self):
        """An engine that shares pauses limits one that is too long."""
        engine, other = self.make_engine(), self.make_engine()
        engine.start_pause(1000.0)
        shared = other.read_pause()
        other.limit_pause(10.0)

        # An engine that shares none has no pause.
        assert shared == 0.0 or 900.0 < shared <= 1000.0
        assert engine.read_pause() <= 10.0

    def test_the_setup_of_the_queue_is_checked(self):
        """Nothing is reported for a server of these tests."""
        assert list(self.make_engine().find_problems()) == []

    def test_a_closed_engine_opens_connections_again(self):
        """A client closes its engine at exit, and may hand over more afterwards."""
        engine = self.make_engine()
        engine.close()
        engine.publish([build_message("u1")], None)
        engine.close()

        assert engine.read_depth().ready == 1
        engine.close()

    def test_a_forked_child_is_another_worker(self):
        """It does not hold what its parent leased."""
        engine = self.make_engine()
        engine.publish([build_message("u1")], None)
        leased = self.lease(engine, 1)
        engine.after_fork()

        assert list(engine.renew(leased)) == []
        assert list(engine.lease(10, 0.0, ROOM)) == []
        engine.close()
