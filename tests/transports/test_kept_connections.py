"""Connections that are kept: stale ones, closed ones, and forks."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

import pytest

from odp_logging._transports.session import _inherited_connections

from .conftest import (
    ACCEPTED,
    Connection,
    NewHttp,
    NewPeer,
    Script,
    always,
    build_batch,
    is_all_pending,
    read_ids,
    reply,
    reset_after_request,
)


def _serve_one_then(end: Callable[[Connection], object]) -> Script:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(reply())
        connection.request()
        end(connection)

    return script


@pytest.mark.parametrize("end", [Connection.reset, lambda connection: None])
def test_a_stale_connection_is_replaced_at_once(
    http: NewHttp, peer: NewPeer, end: Callable[[Connection], object]
) -> None:
    """A kept connection that ends during a request costs one more request."""
    server = peer(_serve_one_then(end), always(reply()))
    transport = http(server.url)
    transport.send(build_batch())

    answer = transport.send(build_batch())

    assert answer.accepted == (0, 1, 2)
    assert answer.cause is None
    assert (answer.requests, answer.resent) == (2, 3)
    _, first, second = (read_ids(body) for _, body in server.requests)
    assert first == second


def test_a_closed_idle_connection_is_replaced(http: NewHttp, peer: NewPeer) -> None:
    """A kept connection that the peer closed meanwhile is not used again."""
    ended = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(reply())
        connection.sock.close()
        ended.set()

    server = peer(script, always(reply()))
    transport = http(server.url)
    transport.send(build_batch())
    assert ended.wait(5)

    answer = transport.send(build_batch())

    assert answer.accepted == (0, 1, 2)
    assert answer.requests in (1, 2)
    assert server.accepts == 2


def test_a_stale_connection_is_replaced_once(http: NewHttp, peer: NewPeer) -> None:
    """If the new connection fails, too, the events are kept and in doubt."""
    server = peer(_serve_one_then(Connection.reset), reset_after_request)
    transport = http(server.url)
    transport.send(build_batch())

    answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=True)
    assert answer.requests == 2
    assert server.accepts == 2


def test_events_stay_in_doubt_after_the_repetition(
    http: NewHttp, peer: NewPeer
) -> None:
    """Events sent over a stale connection stay in doubt if a 503 follows."""
    server = peer(_serve_one_then(Connection.reset), always(reply(503)))
    transport = http(server.url)
    transport.send(build_batch())

    assert is_all_pending(transport.send(build_batch()), in_doubt=True)


@pytest.mark.parametrize(
    "end",
    [
        lambda connection: connection.send(b"HTTP/1.1 20"),
        lambda connection: connection.send(b"garbage\r\n\r\n"),
        Connection.hang,
    ],
)
def test_a_connection_that_answered_is_not_stale(
    http: NewHttp, peer: NewPeer, end: Callable[[Connection], object]
) -> None:
    """A kept connection with a bad or late answer is not replaced at once."""
    server = peer(_serve_one_then(end), always(reply()))
    transport = http(server.url, timeout=0.5)
    transport.send(build_batch())

    answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=True)
    assert answer.requests == 1


def test_a_closed_transport_opens_a_new_connection(
    http: NewHttp, peer: NewPeer
) -> None:
    """A transport that was closed opens a new connection at the next send."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(build_batch())
    transport.close()
    transport.close()

    assert transport.send(build_batch()) == ACCEPTED
    assert server.accepts == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_use_the_parents_connection(
    http: NewHttp, peer: NewPeer
) -> None:
    """A forked child opens its own connection; the parent's stays open."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(build_batch())

    child = os.fork()
    if child == 0:
        status = 1
        try:
            transport.after_fork()
            gc.collect()
            status = 0 if transport.send(build_batch()) == ACCEPTED else 2
            transport.close()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert transport.send(build_batch()) == ACCEPTED
    assert len(server.requests) == 3
    assert server.accepts == 2


def test_after_a_fork_the_connection_is_discarded_not_closed(
    http: NewHttp, peer: NewPeer
) -> None:
    """The parent's connection is not closed; the next batch opens a new one."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(build_batch())
    transport.after_fork()

    assert transport.send(build_batch()) == ACCEPTED
    assert server.accepts == 2
    parents = _inherited_connections.pop()
    assert parents.sock is not None
    parents.close()
