"""What the engine for PostgreSQL reports when a server fails, refuses or hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.postgresql.engine import PostgresEngine
from odp_logging._stores.queue.postgresql.values import (
    encode_blob_array,
    encode_text,
    encode_text_array,
)

from ...postgresql import PostgresServer, needs_postgresql
from ...transports.conftest import certificate as certificate
from ...waiting import until
from .contract import build_message
from .postgresql_stores import build_engine
from .redis_stores import parse_url

pytestmark = needs_postgresql

SECRET = "S3cretPassw0rdXq7Z"


def fail(url: str, seconds: float = 5.0, body: bytes = b"{}") -> str:
    """Publish one message; return what is wrong, without the queue's URL."""
    PostgresEngine.load()
    engine = PostgresEngine(parse_url(url))
    message = build_message("u1")._replace(body=body)
    with pytest.raises(QueueError) as caught:
        engine.publish([message], time.monotonic() + seconds)
    engine.close()
    prefix = f"the queue {engine.url.display_url} "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


@pytest.fixture
def killable() -> Iterator[PostgresServer]:
    """A server that a test may kill or suspend, with the tables of a queue."""
    with PostgresServer() as running:
        running.create_tables()
        yield running


@contextmanager
def serve(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Accept one connection, and pass it to *answer*; yield the URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def accept() -> None:
            accepted, _ = listening.accept()
            with accepted:
                answer(accepted)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"postgresql://u@127.0.0.1:{listening.getsockname()[1]}/d"
        finally:
            thread.join(20)
    assert not thread.is_alive()


# No connection.


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://u@127.0.0.1:1/d", "refused the connection"),
        ("postgresql://u@127.0.0.1:1,127.0.0.1:2/d", "refused the connection"),
        ("postgresql://u@h.invalid/d", "has a host name that cannot be resolved"),
    ],
)
def test_a_server_that_cannot_be_reached_is_reported(url, problem):
    """In words, for one host and for several."""
    assert fail(url) == problem


@pytest.mark.parametrize(
    ("user", "database", "problem"),
    [
        ("postgres", "none", "has no database of that name"),
        ("none", "postgres", "refuses the user or password of its URL"),
    ],
)
def test_a_refused_login_is_reported(postgres, user, database, problem):
    """A user or database that does not exist."""
    assert fail(postgres.build_url(user=user, database=database)) == problem


def test_parameters_show_no_value():
    """They hold the events, and are in the frames of a traceback."""
    parameters = [
        encode_text("anna"),
        encode_blob_array([b"anna"]),
        encode_text_array(["anna", "anna"]),
    ]

    assert "anna" not in repr(parameters)
    assert repr(parameters[0]) == "<Parameter of type 25: 4 bytes>"


def test_a_wrong_password_is_reported_and_not_shown():
    """The password is in no message, repr or traceback."""
    with PostgresServer(password="right") as guarded:
        guarded.create_tables()
        where = f"127.0.0.1:{guarded.port}/postgres"
        assert fail(f"postgresql://postgres@{where}") == (
            "requires a password, which its URL does not have"
        )
        url = parse_url(f"postgresql://postgres:{SECRET}@{where}")
        engine = PostgresEngine(url)
        with pytest.raises(QueueError, match="refuses the user or password") as caught:
            engine.read_depth()
        right = PostgresEngine(parse_url(f"postgresql://postgres:right@{where}"))
        assert right.read_depth().ready == 0
        shown_connection = repr(vars(right._server))
        right.close()
    shown = "".join(
        line
        for error in (caught.value, caught.value.__context__)
        if error is not None
        for line in traceback.TracebackException.from_exception(
            error, capture_locals=True
        ).format()
        if "url = parse_url" not in line
    )

    assert SECRET not in shown
    assert SECRET not in f"{url!r}{vars(engine)}{vars(engine._server)}"
    assert "right" not in shown_connection


def test_too_many_connections_are_reported():
    """What the server's limit is called, and what helps."""
    with PostgresServer({"max_connections": 4}) as small:
        small.create_tables()
        small.ask("CREATE ROLE shop LOGIN; GRANT ALL ON odp_events TO shop")
        small.options["superuser_reserved_connections"] = 0
        held = []
        until(
            lambda: _open_until_refused(small, held),
            "the last connection of the server",
        )
        problem = fail(small.build_url(user="shop"))
        for connection_ in held:
            connection_.close()

    assert problem == (
        "accepts no more connections; increase its max_connections, or use a pooler"
    )


def _open_until_refused(server: PostgresServer, held: list) -> bool:
    try:
        held.append(server.connect())
    except Exception:
        return True
    return False


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda accepted: None, "closed the connection"),
        (
            lambda accepted: (
                accepted.recv(1000) and accepted.sendall(b"HTTP/1.1 400\r\n")
            ),
            "does not speak the protocol of PostgreSQL",
        ),
    ],
)
def test_a_server_that_is_no_postgresql_is_reported(answer, problem):
    """Also one that ends the connection at once."""
    with serve(answer) as url:
        assert fail(f"{url}?sslmode=disable") == problem


def test_a_server_with_tls_is_verified(certificate, tmp_path):
    """By the file of its authority, and the name of its host."""
    trusted = certificate("IP:127.0.0.1")
    with PostgresServer({"ssl": "on"}, certificate=trusted) as server:
        server.create_tables()

        def build_url(options: str, host: str = "127.0.0.1") -> str:
            return f"postgresql://postgres@{host}:{server.port}/postgres?{options}"

        untrusted = fail(build_url("sslmode=verify-full&sslrootcert=/none"))
        other = fail(
            build_url(f"sslmode=verify-full&sslrootcert={trusted}", "localhost")
        )
        url = build_url(f"sslmode=verify-full&sslrootcert={trusted}")
        engine = PostgresEngine(parse_url(url))
        large = build_message("u1")._replace(body=b"x" * 3_000_000)
        engine.publish([build_message("u0"), large], None)
        found = engine.lease(10, 0.0, 10_000_000)
        rows = server.ask("SELECT count(*) FROM pg_stat_ssl WHERE ssl")
        engine.close()

    assert untrusted == (
        "cannot be verified: set sslrootcert= to the file of its authority"
    )
    assert other == "has a certificate for another host"
    assert found[1].message.body == large.body
    assert rows[0][0] >= 1


def test_a_server_without_tls_is_reported(postgres):
    """Where the URL requires it."""
    assert fail(postgres.build_url("sslmode=require")) == (
        "does not support TLS, which sslmode= requires"
    )


# A server that refuses a statement.


def test_a_missing_table_is_reported_with_the_command(postgres):
    """At the login, and when it is dropped later."""
    engine = build_engine(postgres)
    engine.publish([build_message("u1")], None)
    postgres.ask("DROP TABLE odp_events")
    problem = "has no table odp_events; create it with odp-logging queue apply URL"
    with pytest.raises(QueueError, match=problem):
        engine.publish([build_message("u1")], None)

    assert fail(postgres.url) == problem
    assert fail(postgres.build_url("table=none.t")) == problem.replace(
        "odp_events", "none.t"
    )


def test_tables_of_another_version_are_reported(postgres):
    """A table without the comment, or with a newer version."""
    problem = "has tables of another version of this library"
    for comment in ("NULL", "'odp-logging queue, schema 99'"):
        postgres.ask(f"COMMENT ON TABLE odp_events IS {comment}")
        assert fail(postgres.url).startswith(problem)


def test_a_revoked_right_is_reported(postgres):
    """By what is missing; delivery goes on when it is granted again."""
    postgres.ask("DROP ROLE IF EXISTS shop; CREATE ROLE shop LOGIN")
    postgres.ask("GRANT SELECT ON odp_events TO shop")
    problem = fail(postgres.build_url(user="shop"))
    postgres.ask("DROP OWNED BY shop; DROP ROLE shop")

    assert problem.startswith("does not permit this user a statement")


def test_a_read_only_server_is_reported(postgres):
    """As a standby is, whose primary is to be named."""
    postgres.ask("DROP ROLE IF EXISTS shop; CREATE ROLE shop LOGIN")
    postgres.ask("GRANT ALL ON odp_events TO shop")
    postgres.ask("ALTER ROLE shop SET default_transaction_read_only = on")
    problem = fail(postgres.build_url(user="shop"))
    several = fail(f"postgresql://shop@127.0.0.1:1,127.0.0.1:{postgres.port}/postgres")
    postgres.ask("DROP OWNED BY shop; DROP ROLE shop")

    assert problem == several
    assert problem == "is a standby or read-only; use the address of its primary"


def test_a_canceled_statement_is_reported(postgres):
    """The server's statement_timeout may be shorter than the client's limit."""
    postgres.ask("DROP ROLE IF EXISTS shop; CREATE ROLE shop LOGIN SUPERUSER")
    engine = PostgresEngine(parse_url(postgres.build_url(user="shop")))
    caught = []

    def publish() -> None:
        try:
            engine.publish([build_message("u1")], None)
        except QueueError as error:
            caught.append(str(error))

    with postgres.connect(autocommit=False) as other:
        other.execute("LOCK TABLE odp_events")
        thread = threading.Thread(target=publish)
        thread.start()
        until(
            lambda: postgres.ask(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'shop' AND wait_event_type = 'Lock'"
            ),
            "the statement to wait",
        )
        thread.join(10)
    engine.close()
    postgres.ask("DROP ROLE shop")

    assert "canceled a statement: statement_timeout, or by hand" in caught[0]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A directory with 80 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    # Not in pytest's directory, which the user of the server cannot enter.
    place = Path(tempfile.mkdtemp(prefix="odp-pg-"))
    place.chmod(0o755)
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=80m,mode=777", "tmpfs", str(place)],
            capture_output=True,
        )
        if done.returncode:
            pytest.skip("this machine permits no mount")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
    finally:
        place.rmdir()


def test_a_full_disk_is_reported_and_loses_nothing(small_disk):
    """Events are refused until there is room again; those before stay."""
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB"}
    with PostgresServer(settings, directory=small_disk) as server:
        server.create_tables()
        engine = build_engine(server)
        stored = _publish_until_full(engine)
        with pytest.raises(QueueError, match="has no disk space left; free some"):
            _publish_until_full(engine)
        assert engine.read_depth().ready == stored > 0
        engine.close()


def _publish_until_full(engine: PostgresEngine) -> int:
    """Publish incompressible messages until one fails; return how many succeeded."""
    for stored in range(1000):
        message = build_message("u1")._replace(body=os.urandom(500_000))
        try:
            engine.publish([message], None)
        except QueueError as error:
            if stored == 0:
                raise
            assert "has no disk space left" in str(error) or "closed" in str(error)
            return stored
    raise AssertionError("the disk has no limit")


def test_no_value_of_a_statement_is_shown(postgres):
    """PostgreSQL quotes whole rows in the detail of an error; a trigger may, too."""
    postgres.ask(
        "ALTER TABLE odp_events ADD CONSTRAINT small CHECK (octet_length(body) < 9)"
    )
    engine = build_engine(postgres)
    secret = b'{"email":"anna@example.com"}'
    message = build_message("u1")._replace(body=secret)
    with pytest.raises(QueueError) as caught:
        engine.publish([message], None)
    shown = "".join(
        traceback.TracebackException.from_exception(
            caught.value, capture_locals=True
        ).format()
    )

    assert str(caught.value).endswith("answered with the error 23514")
    assert caught.value.__suppress_context__
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if "/odp_logging/" in frame.f_code.co_filename and "connection" in (
            frame.f_code.co_filename
        ):
            assert "anna" not in repr(frame.f_locals)
    assert shown
