"""The engine for PostgreSQL on a real server: leases, order, accounts, counts."""

from __future__ import annotations

import threading
import time

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.base import QueueEngine
from odp_logging._stores.queue.messages import LeasedMessage, QueueMessage
from odp_logging._stores.queue.postgresql import leases
from odp_logging._stores.queue.postgresql.leases import build_channel
from odp_logging._stores.queue.postgresql.statements import (
    build_insert,
    build_parameters,
)
from odp_logging._stores.queue.postgresql.tables import Tables
from odp_logging._stores.queue.store import QueueStore

from ...postgresql import PostgresServer, needs_postgresql
from ...waiting import until
from ..contract import QueueStoreContract, event
from .contract import QueueEngineContract, build_message
from .postgresql_stores import (
    ROOM,
    build_engine,
    build_store,
    end_leases,
    lease,
    name_keys,
    publish,
)

pytestmark = needs_postgresql

SHORT = 0.2
"""Seconds of a lease in tests that wait for its end."""


class TestContract(QueueStoreContract, QueueEngineContract):
    @pytest.fixture(autouse=True)
    def _postgres(self, postgres: PostgresServer) -> None:
        self.postgres = postgres

    def make_engine(self) -> QueueEngine:
        """Return an engine for the queue of this test."""
        return build_engine(self.postgres)

    def make(self) -> QueueStore:
        """Return a store with the queue of this test."""
        return build_store(self.postgres)


# Publishing.


def test_a_row_is_an_event_without_an_identifier_of_its_own(postgres):
    """It has the alias of the account, a hash of the customer, version and JSON."""
    sold = event(1)
    build_store(postgres, "account=shop").put(sold)
    ((account, version, body),) = postgres.ask(
        "SELECT account, version, body FROM odp_events"
    )

    assert (account, version, body) == ("shop", "1", sold.json)


def test_a_full_queue_refuses_events_and_loses_none(postgres):
    """From the high-water mark on it takes no more, until relays make room."""
    store = build_store(postgres, "high_water=5")
    refused = store.hand_over([event(number) for number in range(8)])
    again = store.hand_over([event(8)])
    batch = store.take()
    store.settle(batch, Delivery(len(batch.events)))

    assert sorted(refused) == [5, 6, 7] and sorted(again) == [0]
    assert "is full: high_water=5 is reached" in refused[5].message
    assert not refused[5].in_doubt
    assert store.hand_over([event(9)]) == {}


def test_the_mark_holds_with_other_producers(postgres):
    """Near the mark each of them counts again."""
    first, second = (build_store(postgres, "high_water=6") for _ in range(2))
    first.hand_over([event(number) for number in range(4)])
    refused = second.hand_over([event(number) for number in range(4)])

    assert sorted(refused) == [2, 3]
    assert sorted(first.hand_over([event(9)])) == [0]


def test_a_large_batch_is_inserted_in_parts(postgres, monkeypatch):
    """Each with bodies of a bounded size, in the order of the batch."""
    module = "odp_logging._stores.queue.postgresql.publishing"
    monkeypatch.setattr(f"{module}._MAX_STATEMENT_BYTES", 100)
    engine = build_engine(postgres)
    publish(engine, *(f"u{n}" for n in range(10)))

    assert name_keys(lease(engine)) == [f"u{n}" for n in range(10)]


def test_an_event_that_is_too_large_is_refused_alone(postgres, monkeypatch):
    """The others are stored."""
    module = "odp_logging._stores.queue.postgresql.publishing"
    monkeypatch.setattr(f"{module}._MAX_BODY_BYTES", 100)
    engine = build_engine(postgres)
    large = QueueMessage(b"u1", b"x" * 101, "default")
    refused = engine.publish([build_message("u0"), large, build_message("u2")], None)

    assert list(refused) == [1]
    assert "takes events of at most 100 bytes" in refused[1].message
    assert name_keys(lease(engine)) == ["u0", "u2"]


# Leases.


def test_events_of_one_customer_are_with_one_worker_at_a_time(postgres):
    """Another worker takes the events of other customers."""
    first, second = build_engine(postgres), build_engine(postgres)
    publish(first, "a", "b", "a", "c", "b", "a")
    held = lease(first, 2)
    others = lease(second)
    rest = lease(first)

    assert name_keys(held) == ["a", "b"]
    assert name_keys(others) == ["c"]
    assert name_keys(rest) == ["a", "b", "a"]


def test_events_of_one_customer_go_to_the_next_worker_in_their_order(postgres):
    """The later ones wait until the earlier ones are acknowledged or released."""
    first, second = build_engine(postgres), build_engine(postgres)
    publish(first, "a", "a", "a")
    held = lease(first, 2)
    assert lease(second) == []
    first.acknowledge(held[:1], [])
    first.release(held[1:])
    taken = lease(second)

    assert taken[0].message == held[1].message
    assert [found.deliveries for found in taken] == [1, 1]


def test_workers_that_lease_at_the_same_time_share_no_customer(postgres):
    """Eight threads lease and acknowledge; each event is leased once, in order."""
    count, workers = 600, 8
    publish(build_engine(postgres), *(f"u{n % 30}" for n in range(count)))
    seen: list[bytes] = []
    holders: dict[str, object] = {}
    clashes: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        engine = build_engine(postgres)
        while len(seen) < count and not clashes:
            found = lease(engine, 7)
            with lock:
                for name, message in zip(name_keys(found), found):
                    if holders.setdefault(name, engine) is not engine:
                        clashes.append(name)
                    seen.append(message.message.body)
            with lock:
                for name in set(name_keys(found)):
                    del holders[name]
                engine.acknowledge(found, [])
        engine.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert clashes == []
    assert len(seen) == len(set(seen)) == count
    for customer in range(30):
        found = [body for body in seen if b'"u%d"' % customer in body]
        order = [int(body.split(b":")[-1][:-1]) for body in found]
        assert order == sorted(order)


def test_a_customer_with_many_events_does_not_hide_the_others(postgres, monkeypatch):
    """Another worker looks among the oldest events, as far as the window reaches."""
    monkeypatch.setattr(leases, "_WINDOW", 20)
    first, second = build_engine(postgres), build_engine(postgres)
    publish(first, *["a"] * 18, "b", "b", "c")
    lease(first, 1)
    found = lease(second)

    assert name_keys(found) == ["b", "b"]
    assert name_keys(lease(second)) == []


def test_events_of_a_dead_worker_are_leased_again(postgres):
    """As another delivery, before later events of the same customers."""
    dead, alive = build_engine(postgres), build_engine(postgres)
    publish(dead, "a", "a", "b")
    lost = lease(dead, 1)
    assert name_keys(lease(alive)) == ["b"]
    end_leases(postgres)
    found = lease(build_engine(postgres))

    assert found[0].message == lost[0].message
    assert [message.deliveries for message in found] == [2, 1, 2]


def test_a_lease_ends_by_the_clock_of_the_server(postgres):
    """Without a renewal, another worker has the event a moment later."""
    dead, alive = (build_engine(postgres, lease_seconds=SHORT) for _ in range(2))
    publish(dead, "a")
    lease(dead)
    found: list[LeasedMessage] = []
    until(lambda: found.extend(lease(alive)) or found, "the lease to end")

    assert found[0].deliveries == 2


def test_a_worker_that_renews_keeps_its_events(postgres):
    """A renewal is due four times per lease, and counts no delivery."""
    now = [100.0]
    engine = build_engine(postgres, clock=lambda: now[0])
    publish(engine, "a", "b")
    held = lease(engine)
    ends = "SELECT min(leased_until), max(deliveries) FROM odp_events_leases"
    assert engine.renew(held) == held
    ((first, _),) = postgres.ask(ends)
    now[0] += 7.0
    assert engine.renew(held) == held
    ((not_due, _),) = postgres.ask(ends)
    now[0] += 1.0
    assert engine.renew(held) == held
    ((renewed, deliveries),) = postgres.ask(ends)

    assert first == not_due < renewed
    assert deliveries == 1


def test_a_suspended_worker_gives_up_what_another_one_has(postgres):
    """It learns so when it renews, and its acknowledgement still counts."""
    slow, quick = build_engine(postgres), build_engine(postgres)
    publish(slow, "a")
    held = lease(slow)
    end_leases(postgres)
    found = lease(quick)

    assert list(slow.renew(held)) == []
    slow.acknowledge(held, [])
    assert postgres.ask("SELECT count(*) FROM odp_events") == [(0,)]
    assert list(quick.renew(found)) == []


def test_events_of_a_lost_answer_are_not_held_until_their_lease_ends(
    postgres, monkeypatch
):
    """The next lease of the worker releases them, and counts no delivery for it."""
    engine = build_engine(postgres)
    publish(engine, "a", "b")
    (held,) = lease(engine, 1)

    def lose(deliveries: dict[int, int]) -> list[LeasedMessage]:
        engine.close()
        raise ConnectionResetError(104, "of the test")

    monkeypatch.setattr(engine._leases, "_read_messages", lose)
    with pytest.raises(Exception, match="cannot be reached"):
        lease(engine)
    monkeypatch.undo()
    found = lease(engine)

    assert name_keys(found) == ["b"]
    assert found[0].deliveries == 1
    assert list(engine.renew([held, *found])) == [held, *found]


def test_leases_beyond_deleted_events_do_not_read_them_again(postgres, monkeypatch):
    """The search starts at the oldest event, and finds one that commits late."""
    monkeypatch.setattr(leases, "_MIN_ID_SECONDS", 0.0)
    monkeypatch.setattr(leases, "_MIN_ID_FACTOR", 0)
    engine = build_engine(postgres)
    of_outbox = event(7)
    with postgres.connect(autocommit=False) as late:
        late.execute(build_insert("odp_events"), build_parameters(of_outbox, "default"))
        publish(engine, "a", "b", "c")
        engine.acknowledge(lease(engine, 2), [])
        assert name_keys(lease(engine, 2)) == ["c"]
        assert engine._leases._min_id == 4
    found = lease(engine)

    assert [message.message.body for message in found] == [of_outbox.json]


def test_a_worker_that_waits_is_woken_by_an_event(postgres):
    """The call returns long before the end of its wait."""
    engine, found = build_engine(postgres), []
    thread = threading.Thread(target=lambda: found.extend(engine.lease(9, 60.0, ROOM)))
    thread.start()
    until(
        lambda: postgres.ask("SELECT 1 FROM pg_stat_activity WHERE query ~ 'oldest'"),
        "the worker to wait",
    )
    publish(build_engine(postgres), "a")
    thread.join(10)

    assert not thread.is_alive()
    assert name_keys(found) == ["a"]


def test_a_worker_that_is_woken_in_vain_sleeps_longer(postgres):
    """A notification wakes all workers, and only one of them finds the event."""
    engine = build_engine(postgres)
    server, taken = engine._server, engine._leases
    engine.lease(9, 0.01, ROOM)
    postgres.ask("SELECT pg_notify(%s, '')", build_channel(Tables(), "default"))
    found = [list(engine.lease(9, 60.0, ROOM))]
    vain = taken._idle_count
    publish(build_engine(postgres), "a")
    found.append(list(engine.lease(9, 60.0, ROOM)))

    with server.connect():
        postgres.ask("SELECT pg_notify(%s, '')", build_channel(Tables(), "default"))
        start = time.monotonic()
        assert server.wait_for_notify(60.0, 0.2)
        assert 0.2 <= time.monotonic() - start < 10
        assert not server.wait_for_notify(0.01)
    assert found[0] == [] and vain == 1
    assert name_keys(found[1]) == ["a"]


def test_a_worker_finds_events_without_a_notification(postgres):
    """Those of an outbox: NOTIFY would make transactions of the application wait."""
    engine = build_engine(postgres)
    assert list(engine.lease(9, 0.01, ROOM)) == []
    of_outbox = event(3)
    postgres.ask(build_insert("odp_events"), *build_parameters(of_outbox, "default"))

    assert [found.message.body for found in lease(engine)] == [of_outbox.json]
