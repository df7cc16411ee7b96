"""Requests that fail half-way: which events are in doubt, and how long it takes."""

from __future__ import annotations

import time

import pytest

from odp_logging.emulator import Emulator

from .conftest import (
    ACCEPTED,
    Connection,
    NewHttp,
    NewPeer,
    Script,
    always,
    build_batch,
    hang_after_request,
    is_all_pending,
    read_ids,
    reply,
    reset_after_request,
    send_garbage,
)


def _reset_at_once(connection: Connection) -> None:
    connection.reset()


def _reset_in_head(connection: Connection) -> None:
    connection.sock.recv(10)
    connection.reset()


def _close_after_all(connection: Connection) -> None:
    connection.request()


def _reset_in_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 202 Acc")
    connection.reset()


def _close_in_answer_head(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 20")


def _hang_in_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 202 OK\r\nContent-")
    connection.hang()


def _send_head_slowly(connection: Connection) -> None:
    connection.request()
    connection.dribble(b"HTTP/1.1 202 OK\r\n" + b"X-Slow: yes\r\n" * 1000)


def _send_1xx_endlessly(connection: Connection) -> None:
    connection.request()
    while not connection.peer.released.wait(0.01):
        connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize(
    "script",
    [
        reset_after_request,
        _close_after_all,
        _reset_in_answer,
        _close_in_answer_head,
        send_garbage,
        hang_after_request,
        _hang_in_answer,
        _send_head_slowly,
        _send_1xx_endlessly,
    ],
)
def test_sent_events_without_an_answer_are_in_doubt(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """A request that was sent whole may have arrived: in doubt, same ids again."""
    server = peer(script, always(reply()))
    transport = http(server.url, timeout=0.5)
    batch = build_batch()

    start = time.monotonic()
    answer = transport.send(batch)
    duration = time.monotonic() - start

    assert is_all_pending(answer, in_doubt=True)
    assert answer.requests == 1
    assert duration < 1.0
    assert transport.send(batch) == ACCEPTED
    first, second = (read_ids(body) for _, body in server.requests)
    assert first == second


@pytest.mark.parametrize("script", [_reset_at_once, _reset_in_head])
def test_partly_sent_events_are_not_in_doubt(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """A request that was cut off cannot have been accepted: kept and not in doubt."""
    server = peer(script, always(reply()))
    transport = http(server.url, timeout=3)
    # More than the socket buffers hold, so it cannot have been sent whole.
    large = build_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    assert is_all_pending(transport.send(large), in_doubt=False)
    assert transport.send(build_batch()) == ACCEPTED


def test_a_peer_that_never_reads_times_out(http: NewHttp, peer: NewPeer) -> None:
    """A request that the peer does not read times out, and is not in doubt."""
    transport = http(peer(Connection.hang).url, timeout=0.5)
    large = build_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    start = time.monotonic()
    answer = transport.send(large)

    assert is_all_pending(answer, in_doubt=False)
    assert time.monotonic() - start < 1.0


def test_an_answer_before_the_body_was_read_loses_nothing(
    http: NewHttp, peer: NewPeer
) -> None:
    """An answer before the body was read delivers nothing."""

    def script(connection: Connection) -> None:
        connection.sock.recv(100)
        connection.send(reply(503, b"busy", "Connection: close"))

    transport = http(peer(script, always(reply())).url, timeout=1)
    large = build_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    assert is_all_pending(transport.send(large), in_doubt=False)
    assert transport.send(build_batch()) == ACCEPTED


def test_an_accepted_batch_with_a_lost_answer_leaves_one_copy(
    http: NewHttp, odp: Emulator
) -> None:
    """A server that accepted a batch and reset gets the same ids again."""
    odp.fault(drop="after", count=1)
    transport = http(odp.url)
    batch = build_batch()

    assert is_all_pending(transport.send(batch), in_doubt=True)
    assert transport.send(batch) == ACCEPTED
    assert odp.stats()["unique"] == 3
    assert odp.stats()["duplicates"] == 3


def test_a_slow_body_is_cut_at_the_timeout(http: NewHttp, peer: NewPeer) -> None:
    """After a 202, the wait for the body ends at the timeout; it is not needed."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 202 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.dribble(b" " * 1000)

    transport = http(peer(script, always(reply())).url, timeout=0.5)

    start = time.monotonic()
    answer = transport.send(build_batch())

    assert answer == ACCEPTED
    assert time.monotonic() - start < 1.0
    assert transport.send(build_batch()) == ACCEPTED


@pytest.mark.parametrize(
    "script", [hang_after_request, _hang_in_answer, _send_head_slowly]
)
def test_the_deadline_shortens_the_timeout(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """A request with 0.3 seconds to its deadline ends then, whatever the timeout."""
    transport = http(peer(script).url, timeout=10)
    transport.prepare()

    start = time.monotonic()
    transport.send(build_batch(), deadline=start + 0.3)

    assert 0.25 < time.monotonic() - start < 0.8


def test_a_past_deadline_leaves_a_minimum_timeout(http: NewHttp, peer: NewPeer) -> None:
    """A request after its deadline is still tried, with the minimum timeout."""
    quick, slow = http(peer(always(reply())).url), http(peer(hang_after_request).url)
    quick.prepare()
    slow.prepare()

    start = time.monotonic()
    quick.send(build_batch(), deadline=start - 5)
    slow.send(build_batch(), deadline=start - 5)

    assert time.monotonic() - start < 0.5
