"""The engine for PostgreSQL while a server hangs, ends or starts again."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.queue.messages import PublishFailure, QueueError
from odp_logging._stores.queue.postgresql import connection
from odp_logging._stores.queue.postgresql.engine import PostgresEngine

from ...postgresql import PostgresServer, freeze, needs_postgresql
from ...waiting import until
from ..contract import event, numbers
from .contract import build_message
from .postgresql_stores import (
    build_engine,
    build_store,
    fill_store,
    lease,
    name_keys,
    publish,
)
from .redis_stores import Warnings, parse_url

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


def find_backend(server: PostgresServer) -> int:
    """Return the process that serves the only connection of an engine."""
    ((backend,),) = server.ask(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'odp-logging'"
    )
    return int(backend)


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


# A server that does not answer.


def test_a_silent_server_holds_no_call_beyond_its_deadline():
    """The deadline limits the login."""
    ended = threading.Event()
    with serve(lambda accepted: ended.wait(20)) as url:
        start = time.monotonic()
        problem = fail(url, 0.5)
        took = time.monotonic() - start
        ended.set()

    assert problem == "gave no answer within 0.5 s"
    assert took < 2.0


def test_a_server_that_drips_bytes_holds_no_call_beyond_its_deadline():
    """Each byte arrives in time; the whole answer does not."""

    def drip(accepted: socket.socket) -> None:
        accepted.recv(1000)
        login = b"R" + (1_000).to_bytes(4, "big")
        pause = threading.Event()
        try:
            for byte in login + b"x" * 400:
                accepted.sendall(bytes([byte]))
                pause.wait(0.05)
        except OSError:  # the client has given up
            pass

    with serve(drip) as url:
        start = time.monotonic()
        problem = fail(f"{url}?sslmode=disable", 1.0)
        took = time.monotonic() - start

    assert problem == "gave no answer within 1 s"
    assert took < 3.0


def test_a_suspended_server_holds_no_call_beyond_its_deadline(killable):
    """A connection that is open, with an answer that does not come."""
    store = fill_store(killable, 1)
    backend = find_backend(killable)
    with freeze(killable.pid, backend):
        start = time.monotonic()
        with pytest.raises(QueueError, match=r"gave no answer within 0\.5 s"):
            store.hand_over([event(1)], time.monotonic() + 0.5)
        took = time.monotonic() - start
    again = store.hand_over([event(1)])

    assert took < 2.0
    assert again == {}


def test_a_server_that_is_suspended_after_an_insert_holds_no_call(killable):
    """The deadline limits the look at its settings, too, which a later call repeats."""
    warnings = Warnings()
    store = build_store(killable, warn=warnings)
    publish_messages = store.engine.publish
    killable.ask("ALTER ROLE postgres SET synchronous_commit = off")
    with ExitStack() as frozen:

        def publish_and_freeze(*arguments: Any) -> Mapping[int, PublishFailure]:
            refused = publish_messages(*arguments)
            frozen.enter_context(freeze(killable.pid, find_backend(killable)))
            return refused

        store.engine.publish = publish_and_freeze
        start = time.monotonic()
        assert store.hand_over([event(1)], start + 0.5) == {}
        took = time.monotonic() - start
    store.engine.publish = publish_messages
    on_time = list(warnings)
    store.hand_over([event(2)], time.monotonic() + 5.0)

    assert took < 2.0
    assert on_time == []
    assert ["has synchronous_commit=off" in warning for warning in warnings] == [True]


def test_a_large_batch_to_a_suspended_server_ends_at_its_deadline(killable):
    """Its bytes do not fit into the buffers of the sockets."""
    engine = build_engine(killable)
    engine.publish([build_message("u1")], None)
    backend = find_backend(killable)
    large = build_message("u2")._replace(body=b"x" * 50_000_000)
    with freeze(killable.pid, backend):
        start = time.monotonic()
        with pytest.raises(QueueError, match="gave no answer within"):
            engine.publish([large], time.monotonic() + 0.5)
        took = time.monotonic() - start
    engine.close()

    assert took < 3.0


def test_a_statement_that_waits_for_a_lock_ends_on_the_server_too(
    postgres, monkeypatch
):
    """The client gives up at its deadline, and the server a moment later."""
    monkeypatch.setattr(connection, "_CALL_SECONDS", 0.5)
    engine = build_engine(postgres)
    engine._server._call_seconds = 0.5
    with postgres.connect(autocommit=False) as other:
        other.execute("LOCK TABLE odp_events")
        with pytest.raises(QueueError, match=r"gave no answer within 0\.5 s"):
            engine.publish([build_message("u1")], None)
        until(
            lambda: (
                not postgres.ask(
                    "SELECT 1 FROM pg_stat_activity WHERE query ~ 'unnest'"
                    " AND application_name = 'odp-logging'"
                )
            ),
            "the end of the statement",
        )
    engine.close()
    assert postgres.ask("SELECT count(*) FROM odp_events") == [(0,)]


# Outages.


def test_a_killed_server_loses_nothing_that_was_handed_over(killable):
    """It recovers all events; a worker that holds some may settle them afterwards."""
    store = fill_store(killable, 5)
    batch = store.take()
    killable.kill()
    with pytest.raises(QueueError, match=r"(closed|refused) the connection|starting"):
        store.hand_over([event(6)])
    killable.start()
    store.settle(batch, Delivery(5, pending=(3, 4), cause=Cause.TRANSIENT))

    assert killable.ask("SELECT count(*) FROM odp_events") == [(2,)]
    assert numbers(store.take().events) == [3, 4]


def test_events_delivered_while_the_server_is_down_are_acknowledged_later(killable):
    """The worker remembers them and does not send them again."""
    warnings = Warnings()
    store = build_store(killable, warn=warnings)
    store.hand_over([event(number) for number in range(3)])
    batch = store.take()
    killable.kill()
    store.settle(batch, Delivery(3))
    while_down = store.take()
    killable.start()
    after_restart = store.take()

    assert list(while_down.events) == list(after_restart.events) == []
    assert killable.ask("SELECT count(*) FROM odp_events") == [(0,)]
    assert store.counts().delivered == 3
    assert "acknowledged when the queue answers again" in warnings[0]


def test_a_connection_that_the_server_ended_is_replaced(postgres):
    """As after a restart: the next call finds out before it sends anything."""
    engine = build_engine(postgres)
    engine.publish([build_message("u1")], None)
    postgres.ask(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'odp-logging'"
    )
    engine.publish([build_message("u2")], None)

    assert engine.read_depth().ready == 2
    engine.close()


def test_a_worker_renews_its_leases_after_a_crash(postgres):
    """The server may have lost the last ones, and other workers have the events."""
    worker, other = build_engine(postgres), build_engine(postgres)
    publish(worker, "a", "b")
    held = lease(worker)
    assert worker.renew(held) == held
    postgres.ask("DELETE FROM odp_events_leases WHERE id = 1")
    assert worker.renew(held) == held
    postgres.ask(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'odp-logging'"
    )
    taken = lease(other)
    worker.read_pause()
    kept = worker.renew(held)
    worker.close()
    other.close()

    assert name_keys(taken) == ["a"]
    assert kept == held[1:]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_forked_child_does_not_end_the_session_of_its_parent(postgres, is_told):
    """It drops the connection without a word to the server, and opens its own."""
    engine = build_engine(postgres)
    engine.publish([build_message("u1")], None)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if is_told:
                engine.after_fork()
            engine.publish([build_message("u2")], None)
            engine.close()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'odp-logging'"
    (before,) = postgres.ask(backend)
    engine.publish([build_message("u3")], None)

    assert status == 0
    assert postgres.ask(backend) == [before]
    assert engine.read_depth().ready == 3
    engine.close()
