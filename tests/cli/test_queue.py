"""The command ``queue``: the SQL of a queue, and creating or upgrading its tables."""

from __future__ import annotations

import sys

import pytest

from odp_logging._cli.main import main
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.postgresql.engine import PostgresEngine
from odp_logging._stores.queue.postgresql.schema import MIGRATIONS
from odp_logging._stores.queue.postgresql.tables import Tables
from odp_logging._stores.queue.postgresql.upgrade import upgrade_tables

from ..conftest import KEY
from ..postgresql import PostgresServer, needs_postgresql
from ..postgresql import postgres as postgres
from ..postgresql import postgres_server as postgres_server
from ..stores.queue.contract import build_message
from ..stores.queue.postgresql_stores import build_engine
from ..stores.queue.redis_stores import parse_url


def list_tables(server: PostgresServer) -> list[str]:
    """Return the names of all tables."""
    rows = server.ask(
        "SELECT relname FROM pg_stat_user_tables ORDER BY 1",
    )
    return [name for (name,) in rows]


@pytest.mark.parametrize("command", ["schema", "apply"])
def test_a_queue_without_a_schema_says_so(command, capsys):
    """In one line, and with success: Redis creates its streams itself."""
    assert main(["queue", command, "redis://127.0.0.1:1"]) == 0
    output = capsys.readouterr()

    assert "needs no schema" in output.out + output.err
    assert (output.out + output.err).count("\n") == 1


def test_the_schema_of_a_kind_needs_no_server(capsys):
    """The name of the kind is enough; a URL also has the table."""
    assert main(["queue", "schema", "postgresql"]) == 0
    of_kind = capsys.readouterr().out
    assert main(["queue", "schema", "postgresql://none.invalid?table=s.events"]) == 0
    of_url = capsys.readouterr().out

    assert of_kind.startswith('CREATE TABLE "odp_events" (\n')
    assert of_url == of_kind.replace('"odp_events', '"s"."events')


@pytest.mark.parametrize(
    ("module", "url"),
    [("psycopg", "postgresql://localhost/shop"), ("redis", "redis://localhost/0")],
)
def test_only_the_schema_needs_no_client_library(module, url, monkeypatch, capsys):
    """All other commands say which module is missing, and how to install it."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["queue", "schema", url]) == 0
    capsys.readouterr()

    for words in (
        ["queue", "apply", url],
        ["relay", "--from", url],
        ["relay", "status", "--from", url],
        ["dead", "list", "--from", url],
    ):
        assert main(words) == 2
        message = capsys.readouterr().err
        assert f"the module {module} is missing; pip install" in message
        assert message.count("\n") == 1


def test_the_queue_of_the_environment_is_the_default(monkeypatch, capsys):
    """Its password is not in the list of processes of the machine."""
    monkeypatch.setenv("ODP_QUEUE_URL", "postgresql://u:pw@h/d?table=shop")
    assert main(["queue", "schema"]) == 0

    assert 'CREATE TABLE "shop" (' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        ("kafka", "no kind of queue is known by that scheme"),
        ("postgresql://h?table=a-b", "table is a name such as odp_events"),
        ("postgresql://h?shards=2", "its options are table, sslmode, sslrootcert,"),
        ("postgresql://h?sslmode=no", "sslmode is disable, allow, prefer, require,"),
        ("redis://h?table=x", "its options are stream, shards"),
        ("postgresql+psycopg://h", "its scheme is postgresql, without a +"),
        ("postgresqls://h", "use sslmode=verify-full for TLS"),
        ("postgresql://h/a/b", "its path must be the name of a database"),
    ],
)
def test_a_url_that_cannot_be_used_is_reported(queue, problem, capsys):
    """In one line that names the option, and those that this kind has."""
    assert main(["queue", "apply", queue]) == 2
    error = capsys.readouterr().err

    assert problem in error
    assert error.count("\n") == 1


@needs_postgresql
def test_the_tables_are_created_once(postgres_server, capsys):
    """Repeating the command changes nothing."""
    postgres_server.clear()
    url = postgres_server.url
    statuses = [main(["queue", "apply", url]) for _ in range(2)]
    first, second = capsys.readouterr().out.splitlines()

    assert statuses == [0, 0]
    assert first.endswith("?table=odp_events: the tables are created, in version 1")
    assert second.endswith("the tables have version 1; nothing to do")
    assert len(list_tables(postgres_server)) == 5


@needs_postgresql
def test_the_printed_sql_creates_what_the_command_creates(postgres_server, capsys):
    """A person may apply it in place of the command."""
    postgres_server.clear()
    assert main(["queue", "schema", "postgresql"]) == 0
    postgres_server.ask(capsys.readouterr().out)
    assert main(["queue", "apply", postgres_server.url]) == 0

    assert "nothing to do" in capsys.readouterr().out


@needs_postgresql
def test_a_table_of_another_program_is_not_touched(postgres_server, capsys):
    """The name may be taken already."""
    postgres_server.clear()
    postgres_server.ask("CREATE TABLE odp_events (id int)")
    assert main(["queue", "apply", postgres_server.url]) == 2

    assert "a table of that name that is not of this" in capsys.readouterr().err
    assert list_tables(postgres_server) == ["odp_events"]


@needs_postgresql
def test_older_tables_are_upgraded_and_newer_ones_refused(postgres):
    """In one transaction: a step that fails changes nothing."""
    url, tables = parse_url(postgres.url), Tables()
    engine = build_engine(postgres)
    engine.publish([build_message("u1")], None)

    def upgrade(*migrations: str) -> str:
        return upgrade_tables(
            url, tables, clock=engine._clock, migrations=(*MIGRATIONS, *migrations)
        )

    added = "ALTER TABLE {events} ADD COLUMN extra text;\n"
    with pytest.raises(QueueError, match="answered with the error 42601"):
        upgrade(added, "SELECT nonsense nonsense nonsense;")
    assert "nothing to do" in upgrade()
    assert upgrade(added).endswith("upgraded from version 1 to 2")
    with pytest.raises(QueueError, match="version 2, and this library knows 1"):
        upgrade()

    assert postgres.ask("SELECT extra FROM odp_events") == [(None,)]


@needs_postgresql
def test_two_commands_at_the_same_time_create_the_tables_once(postgres_server):
    """One of them waits for the other one."""
    import threading

    postgres_server.clear()
    PostgresEngine.load()
    results: list[str] = []

    def apply() -> None:
        engine = PostgresEngine(parse_url(postgres_server.url))
        results.append(engine.apply_schema())

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted("created" in result for result in results) == [False] * 3 + [True]


@needs_postgresql
def test_the_printed_rights_are_enough_for_both_roles(postgres, capsys):
    """A producer publishes; a relay leases, settles, retries and reads the status."""
    postgres.ask(
        "DROP ROLE IF EXISTS shop; DROP ROLE IF EXISTS relay;"
        "CREATE ROLE shop LOGIN; CREATE ROLE relay LOGIN"
    )
    command = ["queue", "schema", postgres.url, "--grants", "shop", "relay"]
    assert main(command) == 0
    postgres.ask(capsys.readouterr().out)
    try:
        producer = PostgresEngine(parse_url(postgres.build_url(user="shop")))
        relay = PostgresEngine(parse_url(postgres.build_url(user="relay")))
        producer.publish([build_message(f"u{n}", n) for n in range(3)], None)
        for _ in range(2):
            relay.register_worker(30.0)
            held = relay.lease(10, 0.01, 1_000_000)
            relay.start_pause(0.01)
            relay._leases._next_renewal_at = 0.0
            assert relay.renew(held) == held
            relay.release(held[2:])
            relay.acknowledge(held[:1], [(held[1], "no")])
            relay.retry_dead_letters(relay.list_dead_letters())
        relay.delete_dead_letters(relay.list_dead_letters())
        relay.read_pause()
        depth = relay.read_depth()
        (worker,) = relay.list_consumers()
        relay.unregister_worker()
        with pytest.raises(QueueError, match="does not permit this user"):
            producer.lease(1, 0.0, 1)
        producer.close()
        relay.close()
    finally:
        postgres.ask("DROP OWNED BY shop, relay; DROP ROLE shop, relay")

    assert (depth.ready, depth.dead) == (1, 0)
    assert worker.is_alive
