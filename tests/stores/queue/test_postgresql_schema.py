"""The tables of a queue in PostgreSQL: names, versions, rights, and the insert."""

from __future__ import annotations

import pytest

from odp_logging import OdpEvent
from odp_logging._stores.queue.postgresql.schema import (
    SCHEMA_VERSION,
    build_grants,
    build_schema,
    parse_version,
)
from odp_logging._stores.queue.postgresql.statements import (
    build_insert,
    build_parameters,
    hash_key,
)
from odp_logging._stores.queue.postgresql.tables import Tables

from ...postgresql import PostgresServer, needs_postgresql
from .contract import build_message
from .postgresql_stores import build_engine

SUFFIXES = ("", "_dead", "_leases", "_pauses", "_workers")


def list_tables(server: PostgresServer, schema: str = "public") -> list[str]:
    """Return the names of all tables in *schema*."""
    rows = server.ask(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", schema
    )
    return [name for (name,) in rows]


def read_comment(server: PostgresServer, table: str = "odp_events") -> str:
    """Return the comment of *table*."""
    ((comment,),) = server.ask("SELECT obj_description(%s::regclass)", table)
    return str(comment)


@pytest.mark.parametrize(
    "table", ["", "a-b", 'a"b', "a.b.c", "1a", ".a", "a.", "ä", "a" * 56, "a b"]
)
def test_a_text_that_is_no_name_of_a_table_is_refused(table):
    """The name is a part of SQL texts; so it has letters, digits and _ only."""
    with pytest.raises(ValueError, match="table is a name such as odp_events"):
        Tables(table)


def test_a_key_has_one_number_everywhere():
    """It is within the column's range, and follows from the bytes alone."""
    assert [hash_key(key) for key in (b"", b"fs_user_id=u1", b"a")] == [
        0,
        -774253578,
        -390611389,
    ]


@needs_postgresql
def test_the_schema_creates_all_tables(postgres):
    """With the version of the tables in a comment."""
    assert list_tables(postgres) == [f"odp_events{suffix}" for suffix in SUFFIXES]
    assert parse_version(read_comment(postgres)) == SCHEMA_VERSION


@needs_postgresql
def test_tables_have_the_name_and_schema_of_the_url(postgres):
    """Upper and lower case differ, and the longest name is not cut."""
    postgres.ask('DROP SCHEMA IF EXISTS "Shop" CASCADE; CREATE SCHEMA "Shop"')
    name = "E" * 55
    postgres.create_tables(f"Shop.{name}")

    assert list_tables(postgres, "Shop") == [f"{name}{suffix}" for suffix in SUFFIXES]
    postgres.ask('DROP SCHEMA "Shop" CASCADE')


@needs_postgresql
def test_a_dropped_table_of_events_is_created_again(postgres):
    """The dead letters are kept; leases of the dropped events hold no others."""
    first = build_engine(postgres)
    first.publish([build_message("u1"), build_message("u2")], None)
    leased, _ = first.lease(2, 0, 1_000_000)
    first.acknowledge([], [(leased, "no")])
    postgres.ask("DROP TABLE odp_events")
    postgres.create_tables()
    first.publish([build_message("u1"), build_message("u2")], None)

    assert len(build_engine(postgres).lease(9, 0, 1_000_000)) == 2
    assert len(first.list_dead_letters()) == 1


@needs_postgresql
def test_a_schema_that_runs_again_keeps_the_leases(postgres):
    """As with `psql -f`, which goes on after the error that the tables exist."""
    first, second = build_engine(postgres), build_engine(postgres)
    first.publish([build_message("u1")], None)
    held = first.lease(1, 0, 1_000_000)
    script = postgres.data.parent / "schema.sql"
    script.write_text(build_schema(Tables()))
    where = ("-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres")
    postgres.run("psql", "-X", *where, "-f", str(script))

    assert second.lease(1, 0, 1_000_000) == []
    assert first.renew(held) == held
    assert postgres.ask("SELECT count(*) FROM odp_events_leases") == [(1,)]


@needs_postgresql
def test_tables_of_an_older_version_are_upgraded(postgres):
    """Only the missing steps run, and the comment has the new version."""
    migrations = ("SELECT 1 / 0;\n", "ALTER TABLE {events} ADD COLUMN extra text;\n")
    postgres.ask(build_schema(Tables(), since=1, migrations=migrations))

    assert postgres.ask("SELECT extra FROM odp_events") == []
    assert parse_version(read_comment(postgres)) == 2


@pytest.mark.parametrize(
    ("comment", "version"),
    [
        (None, None),
        ("our events", None),
        ("7", None),
        ("odp-logging queue, schema x", None),
        ("odp-logging queue, schema 12", 12),
    ],
)
def test_a_comment_of_another_table_is_no_version(comment, version):
    """Only a comment that this library wrote has one."""
    assert parse_version(comment) == version


@needs_postgresql
def test_one_event_is_inserted_with_the_parameters_of_an_outbox(postgres):
    """Account, hash of the customer, version and JSON; the rest are defaults."""
    event = OdpEvent("sold", {"fs_user_id": "u1"}, data={"note": "50 % ü"})
    postgres.ask(build_insert("odp_events"), *build_parameters(event, "shop"))
    rows = postgres.ask("SELECT account, key, version, body FROM odp_events")

    assert rows == [("shop", hash_key(b"fs_user_id=u1"), "1", event.json)]


@needs_postgresql
def test_a_producer_can_insert_and_count_only(postgres):
    """It cannot read, change or delete an event."""
    postgres.ask(
        "DROP ROLE IF EXISTS shop; DROP ROLE IF EXISTS relay;"
        "CREATE ROLE shop LOGIN; CREATE ROLE relay LOGIN"
    )
    postgres.ask(build_grants(Tables(), producer="shop", relay="relay"))
    event = OdpEvent("sold", {"fs_user_id": "u1"})
    refused = []
    with postgres.connect(user="shop") as connection:
        connection.execute(build_insert("odp_events"), build_parameters(event, "a"))
        for statement in (
            "SELECT body FROM odp_events",
            "DELETE FROM odp_events",
            "UPDATE odp_events SET key = 1",
            "SELECT 1 FROM odp_events_dead",
            "INSERT INTO odp_events_pauses VALUES (now(), 'a')",
        ):
            try:
                connection.execute(statement)
            except Exception as error:
                refused.append(getattr(error, "sqlstate", None))
        found = connection.execute("SELECT account, id FROM odp_events").fetchall()
    postgres.ask("DROP OWNED BY shop, relay; DROP ROLE shop, relay")

    assert refused == ["42501"] * 5
    assert found == [("a", 1)]
