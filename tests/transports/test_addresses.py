"""Connecting to a host: several addresses, silent ones, and the time for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from odp_logging._transports.addresses import _sort_addresses
from odp_logging._transports.request_state import RequestState

from .conftest import (
    ACCEPTED,
    Certificate,
    Connection,
    NewHttp,
    NewPeer,
    Peer,
    always,
    build_batch,
    is_all_pending,
    reply,
)


@pytest.fixture
def full_port() -> Iterator[int]:
    """The port of a listener that accepts no connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(64):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("this system accepts connections beyond the backlog")
        yield listener.getsockname()[1]


def test_connecting_times_out(http: NewHttp, full_port: int) -> None:
    """A connection that is not established in time carried no event."""
    transport = http(f"http://127.0.0.1:{full_port}", timeout=0.5)

    start = time.monotonic()
    answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert "gave no answer within" in answer.message
    assert time.monotonic() - start < 1.2


def _resolve_to(monkeypatch: pytest.MonkeyPatch, port: int, *hosts: str) -> None:
    """Make every host name resolve to *hosts*."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: list(found))


@pytest.fixture
def beside(peer: NewPeer) -> Iterator[Callable[[Peer], socket.socket]]:
    """Listen on 127.0.0.2, at the port of a peer."""
    with ExitStack() as stack:

        def listen(server: Peer) -> socket.socket:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.2", server.port))
            except OSError:
                pytest.skip("this system has one loopback address")
            listener.listen(0)
            return listener

        yield listen


def _fill(listener: socket.socket, stack: ExitStack) -> None:
    for _ in range(64):
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0.2)
        try:
            waiting.connect(listener.getsockname())
        except TimeoutError:
            return
    pytest.skip("this system accepts connections beyond the backlog")


def test_a_silent_address_does_not_block_another(
    http: NewHttp,
    peer: NewPeer,
    beside: Callable[[Peer], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the first address of a host is silent, the second gets each event once."""
    server = peer(always(reply()))
    with ExitStack() as stack:
        _fill(beside(server), stack)
        _resolve_to(monkeypatch, server.port, "127.0.0.2", "127.0.0.1")
        transport = http(f"http://localhost:{server.port}", timeout=20)

        start = time.monotonic()
        answers = [transport.send(build_batch()) for _ in range(2)]
        took = time.monotonic() - start

    assert answers == [ACCEPTED, ACCEPTED]
    assert took < 5
    assert len(server.requests) == 2


def test_an_address_that_refuses_is_skipped(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first addresses of a host refuse the connection, the last is used."""
    server = peer(always(reply()))
    _resolve_to(monkeypatch, server.port, "127.0.0.3", "127.0.0.2", "127.0.0.1")

    assert http(f"http://localhost:{server.port}").send(build_batch()) == ACCEPTED


def test_if_all_addresses_refuse_events_are_not_in_doubt(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no address accepts a connection, the reason is that of the last."""
    gone = peer(always(reply()))
    gone.close()
    _resolve_to(monkeypatch, gone.port, "127.0.0.2", "127.0.0.1")

    answer = http(f"http://localhost:{gone.port}").send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert "refused the connection" in answer.message


def test_silent_addresses_share_one_timeout(
    http: NewHttp,
    peer: NewPeer,
    beside: Callable[[Peer], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connecting to several silent addresses ends at the timeout of one request."""
    server = peer(always(reply()))
    with ExitStack() as stack:
        _fill(beside(server), stack)
        _resolve_to(monkeypatch, server.port, "127.0.0.2", "127.0.0.2")
        transport = http(f"http://localhost:{server.port}", timeout=1)

        start = time.monotonic()
        answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert time.monotonic() - start < 2
    assert server.requests == []


def test_an_address_that_never_answers_is_tried_last(
    http: NewHttp,
    peer: NewPeer,
    beside: Callable[[Peer], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an address did not answer a request, another address is used."""
    server = peer(always(reply()))
    beside(server)  # accepts connections, and no more
    _resolve_to(monkeypatch, server.port, "127.0.0.2", "127.0.0.1")
    transport = http(f"http://localhost:{server.port}", timeout=1)

    first, second = transport.send(build_batch()), transport.send(build_batch())

    assert is_all_pending(first, in_doubt=True)
    assert second == ACCEPTED


def test_the_address_that_worked_comes_first() -> None:
    """Good addresses come first and bad ones last, with alternating families."""
    state = RequestState()
    found = [
        (family, 1, 6, "", (name, 443))
        for family, name in [(6, "six"), (6, "seven"), (4, "four"), (4, "five")]
    ]

    def names() -> list[str]:
        return [address[4][0] for address in _sort_addresses(found, state)]

    assert names() == ["six", "four", "seven", "five"]
    state.address = ("five", 443)
    state.record_success()
    assert names() == ["five", "six", "four", "seven"]
    state.record_failure()
    assert names() == ["six", "four", "seven", "five"]


def test_nothing_is_sent_without_time_for_an_answer(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """A connection established too late for an answer carries no events."""
    path = trusted("IP:127.0.0.1")

    def script(connection: Connection) -> None:
        connection.peer.released.wait(1.8)
        connection.secure(path)
        connection.request()

    server = peer(script)
    transport = http(server.url.replace("http:", "https:"), timeout=2)

    assert is_all_pending(transport.send(build_batch()), in_doubt=False)
    assert server.requests == []
