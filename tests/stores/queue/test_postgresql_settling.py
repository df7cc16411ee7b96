"""The engine for PostgreSQL: accounts, dead letters, pauses, workers, counts."""

from __future__ import annotations

import pytest

from odp_logging import OdpEvent
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.postgresql import counter, dead_letters, leases
from odp_logging._stores.queue.postgresql.engine import PostgresEngine

from ...postgresql import needs_postgresql
from ...waiting import until
from ..contract import event, numbers
from .contract import build_message
from .postgresql_stores import (
    build_engine,
    build_store,
    end_leases,
    fill_store,
    lease,
    publish,
)
from .redis_stores import parse_url

pytestmark = needs_postgresql


# Accounts.


def test_two_accounts_in_one_table_are_apart(postgres):
    """Events, depth, dead letters, workers and pauses are those of one account."""
    shop, blog = (build_engine(postgres, f"account={name}") for name in ("s", "b"))
    shop.publish([build_message("u", n)._replace(alias="s") for n in range(3)], None)
    blog.publish([build_message("u", 9)._replace(alias="b")], None)
    of_blog = lease(blog)
    of_shop = lease(shop)
    blog.acknowledge([], [(of_blog[0], "no")])
    shop.register_worker(30.0)
    shop.start_pause(30.0)

    assert [found.message.alias for found in of_blog] == ["b"]
    assert [found.message.alias for found in of_shop] == ["s"] * 3
    assert (shop.read_depth().leased, shop.read_depth().dead) == (3, 0)
    assert (blog.read_depth().leased, blog.read_depth().dead) == (0, 1)
    assert shop.list_dead_letters() == []
    (letter,) = blog.list_dead_letters()
    shop.retry_dead_letters([letter])
    shop.delete_dead_letters([letter])
    assert blog.list_dead_letters() == [letter]
    assert [worker.pending for worker in shop.list_consumers()] == [3]
    assert blog.list_consumers() == []
    assert shop.read_pause() > 20 and blog.read_pause() == 0


# Dead letters.


def test_a_reason_with_special_characters_is_kept(postgres):
    """It is ODP's text. A NUL character, which PostgreSQL cannot store, is left out."""
    engine = build_engine(postgres)
    publish(engine, "a")
    reason = "it's 100 % \\ wrong: {ids} $1 \x00ü\n"
    engine.acknowledge([], [(lease(engine)[0], reason)])

    assert [letter.reason for letter in engine.list_dead_letters()] == [
        reason.replace("\x00", "")
    ]


def test_dead_letters_are_read_in_parts(postgres, monkeypatch):
    """By number and by bytes; all are listed, from the oldest."""
    monkeypatch.setattr(dead_letters, "_PAGE_SIZE", 4)
    monkeypatch.setattr(dead_letters, "_PAGE_BYTES", 60)
    engine = build_engine(postgres)
    publish(engine, *(f"u{n}" for n in range(10)))
    held = lease(engine)
    engine.acknowledge([], [(found, "no") for found in held])

    letters = engine.list_dead_letters()
    assert [letter.message.body for letter in letters] == [
        found.message.body for found in held
    ]


@pytest.mark.parametrize("change", ["retry", "delete"])
def test_dead_letters_are_changed_in_parts(postgres, monkeypatch, change):
    """Each within the time of a call; a part that fails leaves those before it done."""
    monkeypatch.setattr(dead_letters, "_PAGE_SIZE", 100)
    engine = build_engine(postgres)
    engine._server._call_seconds = 0.5  # the server's limit is a second more
    publish(engine, *(f"u{n}" for n in range(250)))
    engine.acknowledge([], [(found, "no") for found in lease(engine, 250)])
    letters = engine.list_dead_letters()
    run = getattr(engine, f"{change}_dead_letters")
    bodies = [letter.message.body for letter in letters]
    with postgres.connect(autocommit=False) as other:
        other.execute(
            "SELECT 1 FROM odp_events_dead WHERE id = %s FOR UPDATE", (letters[150].id,)
        )
        with pytest.raises(QueueError, match=r"0\.5 s\. At least 100 of 250 dead let"):
            run(letters)
        until(
            lambda: (
                not postgres.ask(
                    "SELECT 1 FROM pg_stat_activity WHERE query ~ 'DELETE' AND"
                    " application_name = 'odp-logging'"
                )
            ),
            "the end of the statement",
        )
    after_failure = engine.list_dead_letters()
    run(after_failure)

    assert after_failure == letters[100:]
    assert engine.list_dead_letters() == []
    retried = lease(engine, 250)
    expected = bodies if change == "retry" else []
    assert [found.message.body for found in retried] == expected


@pytest.mark.parametrize("change", ["retry", "delete"])
def test_a_part_of_the_dead_letters_is_found_without_the_others(
    postgres, monkeypatch, change
):
    """In a table without statistics, too: reading all of it would take too long."""
    monkeypatch.setattr(dead_letters, "_PAGE_SIZE", 100)
    postgres.ask(
        "ALTER TABLE odp_events_dead SET (autovacuum_enabled = off);"
        "INSERT INTO odp_events_dead"
        " (event_id, created_at, key, deliveries, account, version, reason, body)"
        " SELECT n, now(), n, 1, 'default', '1', 'no', '{}'"
        " FROM generate_series(1, 5000) AS n"
    )
    engine = build_engine(postgres)
    getattr(engine, f"{change}_dead_letters")(engine.list_dead_letters())
    engine.close()

    def read_counts() -> tuple[int, int]:
        return postgres.ask(
            "SELECT n_tup_del, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables"
            " WHERE relname = 'odp_events_dead'"
        )[0]

    until(lambda: read_counts()[0] == 5_000, "the counts of the server")
    # Each is read once for the list, and once for the change.
    assert read_counts()[1] < 15_000


@pytest.mark.slow
def test_more_dead_letters_than_one_statement_moves_in_time_are_retried(postgres):
    """Each call has its own time."""
    postgres.ask(
        "INSERT INTO odp_events_dead"
        " (event_id, created_at, key, deliveries, account, version, reason, body)"
        " SELECT n, now(), n, 1, 'default', '1', 'no', '{}'"
        " FROM generate_series(1, 200000) AS n"
    )
    engine = build_engine(postgres)
    letters = engine.list_dead_letters()
    engine._server._call_seconds = 0.5
    engine.retry_dead_letters(letters)

    assert postgres.ask("SELECT count(*) FROM odp_events") == [(200_000,)]
    assert postgres.ask("SELECT count(*) FROM odp_events_dead") == [(0,)]


def test_events_and_dead_letters_are_settled_together(postgres):
    """One statement deletes the events and stores the dead ones."""
    engine = build_engine(postgres)
    publish(engine, "a", "b", "c")
    held = lease(engine)
    engine.acknowledge(held[:1], [(held[1], "no")])
    engine.acknowledge(held[:1], [(held[1], "no")])
    depth = engine.read_depth()

    assert (depth.ready, depth.leased, depth.dead) == (0, 1, 1)
    assert postgres.ask("SELECT count(*) FROM odp_events_leases") == [(1,)]


def test_an_event_that_is_too_large_to_read_costs_itself_alone(postgres, monkeypatch):
    """It becomes a dead letter on the server; the others are delivered."""
    monkeypatch.setattr(leases, "MAX_BODY_BYTES", 1000)
    monkeypatch.setattr(dead_letters, "_PAGE_BYTES", 1000)
    large = OdpEvent("sold", {"fs_user_id": "u1"}, data={"note": "x" * 2000})
    store = build_store(postgres)
    store.hand_over([event(1), large, event(2)])
    found = store.take()
    store.settle(found, Delivery(len(found.events)))
    (letter,) = store.engine.list_dead_letters()
    kept = postgres.ask("SELECT body FROM odp_events_dead")

    assert numbers(found.events) == [1, 2]
    assert letter.reason == "unreadable: it has more than 64 MiB"
    assert (letter.message.body, kept) == (b"", [(large.json,)])
    assert store.counts().rejected == {"unreadable": 1}


# A store over it.


def test_an_event_leased_too_often_becomes_a_dead_letter(postgres):
    """It may be what kills the workers."""
    fill_store(postgres, 1)
    for _ in range(2):
        assert lease(build_engine(postgres))
        end_leases(postgres)
    store = build_store(postgres, max_deliveries=2)
    store.take()

    (letter,) = store.engine.list_dead_letters()
    assert letter.reason == "deliveries: 2 workers had it, and none settled it"
    assert store.counts().rejected == {"deliveries": 1}


def test_an_event_leased_often_is_sent_alone(postgres):
    """The others of its lease return to the queue, and count no delivery."""
    store = fill_store(postgres, 3)
    lease(store.engine)
    postgres.ask("UPDATE odp_events_leases SET deliveries = 4")
    postgres.ask("UPDATE odp_events_leases SET leased_until = '-infinity'")
    taken = build_store(postgres).take()

    assert numbers(taken.events) == [0]
    rows = postgres.ask("SELECT deliveries FROM odp_events_leases ORDER BY id")
    assert rows == [(5,), (4,), (4,)]


def test_outcomes_of_a_batch_do_not_settle_other_events(postgres):
    """Where another worker took over one of its events, the rest is sent again."""
    store = fill_store(postgres, 3)
    batch = store.take()
    end_leases(postgres)
    (lost,) = lease(build_engine(postgres), 1)
    store.renew_leases()
    store.settle(batch, Delivery(3, pending=(2,)))

    assert lost.message.body == batch.events[0].json
    assert postgres.ask("SELECT count(*) FROM odp_events") == [(3,)]
    assert numbers(store.take().events) == [1, 2]
    assert store.counts().delivered == 0


def test_a_pause_holds_for_all_relays_and_the_longer_one_stays(postgres):
    """ODP asks one of them; the others of the account wait, too."""
    store, other = fill_store(postgres, 2), build_store(postgres)
    batch = store.take()
    store.settle(
        batch,
        Delivery(2, pending=(0, 1), cause=Cause.TRANSIENT, retry_after=30.0),
    )
    other.engine.start_pause(1.0)

    assert 29 < other.engine.read_pause() <= 30
    assert list(other.take().events) == []


def test_a_pause_without_end_can_be_limited(postgres):
    """A user with rights for the table may forge one; a relay limits it."""
    engine = build_engine(postgres)
    postgres.ask("INSERT INTO odp_events_pauses VALUES ('infinity', 'default')")
    before = engine.read_pause()
    engine.limit_pause(30.0)

    assert before == float("inf")
    assert 29 < engine.read_pause() <= 30


def test_settings_that_lose_events_are_told(postgres):
    """By applications, relays and `relay status`, in one line each."""
    assert build_engine(postgres).find_problems() == []
    postgres.ask("DROP ROLE IF EXISTS shop; CREATE ROLE shop LOGIN SUPERUSER")
    postgres.ask("ALTER ROLE shop SET synchronous_commit = off")
    engine = PostgresEngine(parse_url(postgres.build_url(user="shop")))
    (problem,) = engine.find_problems()
    engine.close()
    postgres.ask("DROP ROLE shop")

    assert "has synchronous_commit=off: a crash loses the last events" in problem


def test_a_killed_worker_counts_until_its_registration_ends(postgres):
    """It is listed as ended while it holds events."""
    killed, other = build_engine(postgres), build_engine(postgres)
    publish(killed, "a", "b")
    lease(killed, 1)
    killed.register_worker(30.0)
    (alive,) = other.list_consumers()
    postgres.ask("UPDATE odp_events_workers SET expires = clock_timestamp()")
    (ended,) = other.list_consumers()

    assert (alive.name, alive.pending, alive.is_alive) == (killed.worker, 1, True)
    assert (ended.name, ended.pending, ended.is_alive) == (killed.worker, 1, False)
    assert 0 <= ended.idle < 20


def test_what_ended_long_ago_is_removed(postgres):
    """Registrations of killed workers, and leases of events deleted by hand."""
    engine = build_engine(postgres)
    publish(engine, "a", "b")
    lease(engine)
    postgres.ask("DELETE FROM odp_events WHERE id = 1")
    postgres.ask("UPDATE odp_events_leases SET leased_until = now() - interval '2 d'")
    engine.register_worker(30.0)
    postgres.ask("UPDATE odp_events_workers SET expires = now() - interval '2 days'")
    build_engine(postgres).register_worker(30.0)

    assert postgres.ask("SELECT id FROM odp_events_leases") == [(2,)]
    assert postgres.ask("SELECT count(*) FROM odp_events_workers") == [(1,)]


# Counting.


def test_many_events_are_estimated(postgres, monkeypatch):
    """From samples, with gaps and another account between; few are counted."""
    monkeypatch.setattr(counter, "_EXACT", 100)
    monkeypatch.setattr(counter, "_SAMPLE_IDS", 50)
    postgres.ask(
        "INSERT INTO odp_events (account, key, body)"
        " SELECT CASE WHEN n % 3 = 0 THEN 'other' ELSE 'default' END, n, 'x'"
        " FROM generate_series(1, 30000) AS n"
    )
    engine = build_engine(postgres)
    many = engine.read_depth().ready
    postgres.ask("DELETE FROM odp_events WHERE id > 90")

    assert 18_000 < many < 22_000
    assert engine.read_depth().ready == 60


def test_a_slow_count_is_not_repeated_at_once(postgres, monkeypatch):
    """Its result holds for 20 times as long; a quick one is repeated each time."""
    monkeypatch.setattr(counter, "_SLOW_SECONDS", 0.0)
    times = [0.0, 0.5, 1.0, 9.0, 10.0, 10.5]
    engine = build_engine(postgres, clock=lambda: 0.0)
    engine._counter._clock = lambda: times.pop(0)
    publish(engine, "a", "b")
    counts = [engine.read_depth().ready for _ in range(3)]

    assert counts == [0, 0, 2]
    assert times == []


def test_the_age_of_the_oldest_event_is_that_of_the_server(postgres):
    """The clocks of the hosts may differ."""
    engine = build_engine(postgres)
    assert engine.read_depth().oldest == 0
    publish(engine, "a")
    postgres.ask("UPDATE odp_events SET created_at = created_at - interval '1 hour'")

    assert 3600 <= engine.read_depth().oldest < 3700


def test_rows_of_events_are_never_updated(postgres):
    """They are inserted and deleted; renewed leases stay in their page (HOT)."""
    engine = build_engine(postgres, lease_seconds=0.0001)
    publish(engine, *(f"u{n}" for n in range(50)))
    held = lease(engine)
    for _ in range(3):
        until(lambda: engine.renew(held), "the time of a renewal")
    engine.acknowledge(held, [])
    engine.close()

    def read(table: str) -> tuple[int, int, int]:
        ((*figures,),) = postgres.ask(
            "SELECT n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables"
            " WHERE relname = %s",
            table,
        )
        return tuple(figures)

    until(lambda: read("odp_events")[2] == 50, "the statistics")
    updated, hot, _ = read("odp_events_leases")
    assert read("odp_events")[0] == 0
    # A page is nearly full at times, until its old versions are removed.
    assert 0.9 * updated <= hot > 0
