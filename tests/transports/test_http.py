"""One request against a real peer: what is sent, what comes back, what is in doubt."""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import statistics
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odp_logging._delivery import Cause
from odp_logging._event import VERSION
from odp_logging.emulator import Emulator
from odp_logging.transports._http import Http, _root
from odp_logging.transports._retry import Retry
from odp_logging.transports._session import _inherited

from .conftest import (
    ACCEPTED,
    KEY,
    Connection,
    Peer,
    Script,
    a_batch,
    always,
    ids,
    kept,
    replies,
    reply,
)

NewHttp = Callable[..., Http]
NewPeer = Callable[..., Peer]


# The request.


def test_a_request_is_what_odp_expects(http: NewHttp, peer: NewPeer) -> None:
    """A batch is one POST of a JSON array to /v3/events, with the key."""
    server = peer(always(reply()))
    batch = a_batch(3, {"name": "Zoë"})

    http(server.url).send(batch)

    ((head, body),) = server.requests
    line, *lines = head.decode().strip().split("\r\n")
    headers = dict(one.split(": ", 1) for one in lines)
    assert line == "POST /v3/events HTTP/1.1"
    assert json.loads(body) == [event.to_dict() for event in batch.events]
    assert "Zoë".encode() in body
    assert headers == {
        "Host": f"127.0.0.1:{server.port}",
        "User-Agent": f"odp-logging/{VERSION}",
        "Accept-Encoding": "identity",
        "Accept": "*/*",
        "Connection": "keep-alive",
        "Content-Type": "application/json",
        "x-api-key": KEY,
        "Content-Length": str(len(body)),
    }


def test_one_connection_carries_many_batches(http: NewHttp, peer: NewPeer) -> None:
    """Batch after batch goes over the same connection, whatever the answers are."""
    page = reply(200, b"<html>", "Content-Type: text/html")
    moved = reply(302, b"moved", "Location: /elsewhere")
    answers = [reply(), reply(204, b""), reply(503), reply(400, b"{}"), page, moved]
    server = peer(replies(*answers * 5))
    transport = http(server.url)

    for _ in range(30):
        transport.send(a_batch())

    assert len(server.requests) == 30
    assert server.accepts == 1


def test_posts_are_not_held_up(http: NewHttp, odp: Emulator) -> None:
    """Head and body of a request leave without waiting for an acknowledgement."""
    transport = http(odp.url)
    batch = a_batch(100, {"note": "x" * 700})
    times = []
    for _ in range(50):
        start = time.perf_counter()
        transport.send(batch)
        times.append(time.perf_counter() - start)

    median = statistics.median(times)
    print(f"{batch.size:,} bytes: median {median * 1e3:.2f} ms")
    assert odp.stats()["received"] == 5_000
    assert median < 0.5


def test_no_cookie_is_kept(http: NewHttp, peer: NewPeer) -> None:
    """A cookie that an answer sets is not sent with the next request."""
    server = peer(always(reply(202, b"{}", "Set-Cookie: who=you; Path=/")))
    transport = http(server.url)

    transport.send(a_batch())
    transport.send(a_batch())

    assert len(server.requests) == 2
    assert all(b"cookie" not in head.lower() for head, _ in server.requests)


def test_a_netrc_file_adds_nothing(http: NewHttp, peer: NewPeer) -> None:
    """A ~/.netrc that knows the host does not add an Authorization header."""
    netrc = Path(os.environ["HOME"], ".netrc")
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    server = peer(always(reply()))

    assert http(server.url, direct=False).send(a_batch()) == ACCEPTED
    assert b"authorization" not in server.requests[0][0].lower()


@pytest.mark.odp_network
def test_a_proxy_of_the_environment_is_used(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to another host goes through the proxy that the environment names."""
    proxy = peer(always(reply()))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)

    answer = http("http://odp.invalid", direct=False).send(a_batch())

    assert answer == ACCEPTED
    ((head, _),) = proxy.requests
    assert head.startswith(b"POST http://odp.invalid/v3/events HTTP/1.1\r\n")


def test_a_direct_request_uses_no_proxy(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A direct transport, as for loopback, leaves the environment's proxies alone."""
    proxy, server = peer(always(reply(503))), peer(always(reply()))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)

    assert http(server.url, direct=True).send(a_batch()) == ACCEPTED
    assert proxy.accepted_before_now() == 0


@pytest.mark.odp_network
def test_a_proxy_that_is_down_got_nothing(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the proxy cannot be reached, nothing was sent."""
    gone = peer(always(reply()))
    gone.close()
    monkeypatch.setenv("http_proxy", gone.url)

    answer = http("http://odp.invalid", direct=False).send(a_batch())

    assert kept(answer, in_doubt=False)


@pytest.mark.odp_network
def test_a_proxy_that_hangs_up_leaves_a_doubt(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that took the request and reset may have passed it on."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.reset()

    monkeypatch.setenv("http_proxy", peer(script).url)

    answer = http("http://odp.invalid", direct=False).send(a_batch())

    assert kept(answer, in_doubt=True)


# Answers that accept.


@pytest.mark.parametrize(
    "answer",
    [
        reply(200),
        reply(202),
        reply(204, b""),
        reply(202, b"not JSON"),
        reply(202, b"", "Content-Type: text/html"),
        b"HTTP/1.1 202 OK\r\nContent-Length: 9999\r\n\r\n{",
        b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.0 202 OK\r\n\r\n{}",
        b"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_2xx_is_accepted(http: NewHttp, peer: NewPeer, answer: bytes) -> None:
    """A 2xx accepts, be its body whole, broken off, badly packed or missing."""
    server = peer(replies(answer))
    transport = http(server.url)

    assert transport.send(a_batch()) == ACCEPTED
    assert transport.send(a_batch()).accepted == (0, 1, 2)
    assert len(server.requests) == 2


def test_a_captive_portal_accepts_nothing(http: NewHttp, peer: NewPeer) -> None:
    """A 200 with an HTML page is no acknowledgement: everything is kept."""
    page = reply(200, b"<!DOCTYPE html><p>Log in", "Content-Type: text/html")

    assert kept(http(peer(always(page)).url).send(a_batch()), in_doubt=False)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 3,
    ],
)
def test_informational_answers_are_passed_over(
    http: NewHttp, peer: NewPeer, first: bytes
) -> None:
    """After 1xx the real answer is read, and no later request gets an earlier one."""
    server = peer(replies(first + reply(503), first + reply(202), first + reply(503)))
    transport = http(server.url)

    causes = [transport.send(a_batch()).cause for _ in range(3)]

    assert causes == [Cause.PASSING, None, Cause.PASSING]
    assert server.accepts == 1


def test_a_huge_answer_is_not_read_into_memory(http: NewHttp, peer: NewPeer) -> None:
    """Of an answer of 256 MiB a small part is read, and the connection given up."""
    piece = bytes(256 * 1024)

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 202 OK\r\nContent-Length: 268435456\r\n\r\n")
        for _ in range(1024):
            connection.send(piece)

    transport = http(peer(script, always(reply())).url)
    transport.prepare()
    tracemalloc.start()
    try:
        answer = transport.send(a_batch())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer == ACCEPTED
    assert peak < 8 * 2**20
    assert transport.send(a_batch()) == ACCEPTED


@pytest.mark.parametrize("status", [202, 302, 400, 503])
def test_a_packed_answer_is_not_unpacked(
    http: NewHttp, peer: NewPeer, status: int
) -> None:
    """A gzip answer that would fill the memory is left packed, whatever its status."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(64 * 2**20)) + packer.flush()
    headers = ["Content-Encoding: gzip", "Location: /elsewhere"]
    transport = http(peer(always(reply(status, bomb, *headers))).url)
    transport.prepare()
    tracemalloc.start()
    try:
        transport.send(a_batch())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    "headers",
    [[f"X-{n}: y" for n in range(500)], ["X-Long: " + "y" * 200_000]],
    ids=["500 headers", "a header of 200 kB"],
)
def test_an_answer_with_too_many_headers_loses_nothing(
    http: NewHttp, peer: NewPeer, headers: list[str]
) -> None:
    """An answer whose head is too long to be read leaves the events in doubt."""
    server = peer(always(reply(202, b"{}", *headers)), always(reply()))
    transport = http(server.url)

    assert kept(transport.send(a_batch()), in_doubt=True)
    assert transport.send(a_batch()) == ACCEPTED


# Redirects.


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_a_redirect_is_not_followed(http: NewHttp, peer: NewPeer, status: int) -> None:
    """A redirect delivers nothing, and the other host sees no connection."""
    other = peer(always(reply()))
    moved = reply(status, b"moved", f"Location: {other.url}/v3/events")
    server = peer(always(moved))

    answer = Retry(http(server.url)).send(a_batch())

    assert answer.accepted == ()
    assert answer.cause is Cause.CONFIGURATION
    assert answer.message == f"{server.url} answered {status}"
    assert len(server.requests) == 1
    assert other.accepted_before_now() == 0


@pytest.mark.parametrize(
    "target", ["", "http://[", "//", "\xff", "x" * 9000, "ftp://a"]
)
def test_a_redirect_to_nowhere_is_one_too(
    http: NewHttp, peer: NewPeer, target: str
) -> None:
    """A redirect whose target makes no sense is a configuration fault too."""
    moved = reply(302, b"moved", f"Location: {target}")

    answer = http(peer(always(moved)).url).send(a_batch())

    assert answer.cause is Cause.CONFIGURATION
    assert not answer.in_doubt


# Connections that fail before the request.


def test_a_refused_connection_got_nothing(http: NewHttp, peer: NewPeer) -> None:
    """Where nothing listens, the events are kept and certainly not sent."""
    gone = peer(always(reply()))
    gone.close()

    answer = http(gone.url).send(a_batch())

    assert kept(answer, in_doubt=False)
    assert answer.message == f"{gone.url} gave no answer (ConnectionRefusedError)"


@pytest.mark.odp_network
def test_a_name_that_does_not_resolve_got_nothing(http: NewHttp) -> None:
    """Where the name leads nowhere, the events are kept and certainly not sent."""
    answer = http("http://nothing.invalid").send(a_batch())

    assert kept(answer, in_doubt=False)
    assert "gaierror" in answer.message


@pytest.mark.odp_network
@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("http://", KEY),
        ("http://127.0.0.1:99999", KEY),
        ("nonsense", KEY),
        ("ftp://127.0.0.1", KEY),
        ("http://127.0.0.1:1", f"{KEY}\nX-Evil: 1"),
        ("http://127.0.0.1:1", f" {KEY}"),
    ],
)
def test_what_cannot_be_a_request_is_a_configuration_fault(
    http: NewHttp, host: str, key: str
) -> None:
    """A host or key that no request can be made of needs a person, and is not shown."""
    answer = http(host, key=key).send(a_batch())

    assert answer.cause is Cause.CONFIGURATION
    assert not answer.in_doubt
    assert answer.requests == 1
    assert KEY not in repr(answer)


def test_a_key_outside_latin_1_is_a_configuration_fault(
    http: NewHttp, odp: Emulator
) -> None:
    """A key that HTTP cannot carry needs a person."""
    answer = http(odp.url, key="schlüssel-🔑").send(a_batch())

    assert answer.cause is Cause.CONFIGURATION
    assert not answer.in_doubt


# Connections that fail later.


def _reset_at_once(connection: Connection) -> None:
    connection.reset()


def _reset_in_head(connection: Connection) -> None:
    connection.sock.recv(10)
    connection.reset()


def _reset_after_all(connection: Connection) -> None:
    connection.request()
    connection.reset()


def _close_after_all(connection: Connection) -> None:
    connection.request()


def _reset_in_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 202 Acc")
    connection.reset()


def _close_in_head_of_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 20")


def _garbage(connection: Connection) -> None:
    connection.request()
    connection.send(b"\x00\xff\x16 this is not HTTP\r\n\r\n")


def _hang(connection: Connection) -> None:
    connection.request()
    connection.hang()


def _hang_in_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 202 OK\r\nContent-")
    connection.hang()


def _dribble_head(connection: Connection) -> None:
    connection.request()
    connection.dribble(b"HTTP/1.1 202 OK\r\n" + b"X-Slow: yes\r\n" * 1000)


def _endless_1xx(connection: Connection) -> None:
    connection.request()
    while not connection.peer.released.wait(0.01):
        connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize(
    "script",
    [
        _reset_after_all,
        _close_after_all,
        _reset_in_answer,
        _close_in_head_of_answer,
        _garbage,
        _hang,
        _hang_in_answer,
        _dribble_head,
        _endless_1xx,
    ],
)
def test_what_was_sent_and_not_answered_is_in_doubt(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """What left whole may have arrived: in doubt, and the same ids go again."""
    server = peer(script, always(reply()))
    transport = http(server.url, timeout=0.5)
    batch = a_batch()

    start = time.monotonic()
    answer = transport.send(batch)
    took = time.monotonic() - start

    assert kept(answer, in_doubt=True)
    assert answer.requests == 1
    assert took < 1.0
    assert transport.send(batch) == ACCEPTED
    first, second = (ids(body) for _, body in server.requests)
    assert first == second


@pytest.mark.parametrize("script", [_reset_at_once, _reset_in_head])
def test_what_could_not_leave_whole_is_not_in_doubt(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """A request cut off on its way cannot have been taken: kept, and not in doubt."""
    server = peer(script, always(reply()))
    transport = http(server.url, timeout=3)
    # More than the socket's buffers hold, so that it cannot have left.
    large = a_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    assert kept(transport.send(large), in_doubt=False)
    assert transport.send(a_batch()) == ACCEPTED


def test_a_peer_that_never_reads_is_left_in_time(http: NewHttp, peer: NewPeer) -> None:
    """A request that the peer does not read ends with the timeout, not in doubt."""
    transport = http(peer(Connection.hang).url, timeout=0.5)
    large = a_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    start = time.monotonic()
    answer = transport.send(large)

    assert kept(answer, in_doubt=False)
    assert time.monotonic() - start < 1.0


def test_an_answer_before_the_body_was_read_loses_nothing(
    http: NewHttp, peer: NewPeer
) -> None:
    """An answer that comes before the body was read delivers nothing."""

    def script(connection: Connection) -> None:
        connection.sock.recv(100)
        connection.send(reply(503, b"busy", "Connection: close"))

    transport = http(peer(script, always(reply())).url, timeout=1)
    large = a_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    assert kept(transport.send(large), in_doubt=False)
    assert transport.send(a_batch()) == ACCEPTED


def test_an_accepted_batch_whose_answer_got_lost_leaves_one_copy(
    http: NewHttp, odp: Emulator
) -> None:
    """A server that took a batch and reset gets the same ids again: one copy."""
    odp.fault(drop="after", count=1)
    transport = http(odp.url)
    batch = a_batch()

    assert kept(transport.send(batch), in_doubt=True)
    assert transport.send(batch) == ACCEPTED
    assert odp.stats()["unique"] == 3
    assert odp.stats()["duplicates"] == 3


def test_a_body_that_dribbles_is_cut_at_the_timeout(
    http: NewHttp, peer: NewPeer
) -> None:
    """After a 202 the body is waited for no longer than the timeout, and not needed."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 202 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.dribble(b" " * 1000)

    transport = http(peer(script, always(reply())).url, timeout=0.5)

    start = time.monotonic()
    answer = transport.send(a_batch())

    assert answer == ACCEPTED
    assert time.monotonic() - start < 1.0
    assert transport.send(a_batch()) == ACCEPTED


@pytest.mark.parametrize("script", [_hang, _hang_in_answer, _dribble_head])
def test_the_deadline_shortens_the_timeout(
    http: NewHttp, peer: NewPeer, script: Script
) -> None:
    """A request with 0.3 seconds left ends within about that, whatever the timeout."""
    transport = http(peer(script).url, timeout=10)
    transport.prepare()

    start = time.monotonic()
    transport.send(a_batch(), deadline=start + 0.3)

    assert 0.25 < time.monotonic() - start < 0.8


def test_a_past_deadline_leaves_a_moment(http: NewHttp, peer: NewPeer) -> None:
    """A request after its deadline is tried all the same, for a moment."""
    quick, slow = http(peer(always(reply())).url), http(peer(_hang).url)
    quick.prepare()
    slow.prepare()

    start = time.monotonic()
    quick.send(a_batch(), deadline=start - 5)
    slow.send(a_batch(), deadline=start - 5)

    assert time.monotonic() - start < 0.5


# Kept connections.


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
    """A kept connection that ends under a request costs one more, no failure."""
    server = peer(_serve_one_then(end), always(reply()))
    transport = http(server.url)
    transport.send(a_batch())

    answer = transport.send(a_batch())

    assert answer.accepted == (0, 1, 2)
    assert answer.cause is None
    assert (answer.requests, answer.resent) == (2, 3)
    _, first, second = (ids(body) for _, body in server.requests)
    assert first == second


def test_an_idle_connection_that_was_closed_is_noticed(
    http: NewHttp, peer: NewPeer
) -> None:
    """A kept connection that the peer closed in the meantime is not used again."""
    ended = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(reply())
        connection.sock.close()
        ended.set()

    server = peer(script, always(reply()))
    transport = http(server.url)
    transport.send(a_batch())
    assert ended.wait(5)

    answer = transport.send(a_batch())

    assert answer.accepted == (0, 1, 2)
    assert answer.requests in (1, 2)
    assert server.accepts == 2


def test_a_stale_connection_is_replaced_once(http: NewHttp, peer: NewPeer) -> None:
    """If the new connection fails too, the events are kept, and in doubt."""
    server = peer(_serve_one_then(Connection.reset), _reset_after_all)
    transport = http(server.url)
    transport.send(a_batch())

    answer = transport.send(a_batch())

    assert kept(answer, in_doubt=True)
    assert answer.requests == 2
    assert server.accepts == 2


def test_a_doubt_outlives_the_repetition(http: NewHttp, peer: NewPeer) -> None:
    """What a stale connection may have taken stays in doubt if a 503 follows."""
    server = peer(_serve_one_then(Connection.reset), always(reply(503)))
    transport = http(server.url)
    transport.send(a_batch())

    assert kept(transport.send(a_batch()), in_doubt=True)


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
    """A kept connection that answers badly, or not in time, is a common fault."""
    server = peer(_serve_one_then(end), always(reply()))
    transport = http(server.url, timeout=0.5)
    transport.send(a_batch())

    answer = transport.send(a_batch())

    assert kept(answer, in_doubt=True)
    assert answer.requests == 1


def test_closing_is_not_the_end(http: NewHttp, peer: NewPeer) -> None:
    """A transport that was closed opens a new connection when it has to."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(a_batch())
    transport.close()
    transport.close()

    assert transport.send(a_batch()) == ACCEPTED
    assert server.accepts == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_leaves_its_parents_connection_alone(
    http: NewHttp, peer: NewPeer
) -> None:
    """A forked child sends over a connection of its own; the parent's one lives on."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(a_batch())

    child = os.fork()
    if child == 0:
        status = 1
        try:
            transport.after_fork()
            gc.collect()
            status = 0 if transport.send(a_batch()) == ACCEPTED else 2
            transport.close()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert transport.send(a_batch()) == ACCEPTED
    assert len(server.requests) == 3
    assert server.accepts == 2


def test_after_a_fork_the_connection_is_forgotten_not_closed(
    http: NewHttp, peer: NewPeer
) -> None:
    """What belongs to the parent is left as it is; the next batch gets a new one."""
    server = peer(always(reply()))
    transport = http(server.url)
    transport.send(a_batch())
    transport.after_fork()

    assert transport.send(a_batch()) == ACCEPTED
    assert server.accepts == 2
    parents = _inherited.pop()
    assert parents.sock is not None
    parents.close()


# Signal handlers that raise.


def test_no_lock_is_taken_for_a_connection(http: NewHttp, peer: NewPeer) -> None:
    """Nothing within `queue` runs: what is raised in there leaves its lock taken.

    With ``background=False`` a request runs where Ctrl-C does; the next one hung.
    """
    server = peer(always(reply()))
    transport = http(server.url)
    seen: set[str] = set()

    def note(frame: Any, event: str, _: object) -> None:
        seen.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        answers = [transport.send(a_batch()) for _ in range(2)]
        transport.close()
    finally:
        sys.setprofile(before)

    assert answers == [ACCEPTED, ACCEPTED]
    assert server.accepts == 1
    assert any("urllib3" in name for name in seen)
    assert queue.__file__ not in seen


# The key.


def test_the_key_is_shown_nowhere(
    http: NewHttp,
    peer: NewPeer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever happens, at DEBUG, the key is in no log line, report or repr."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    quoting = json.dumps({"detail": {"message": f"bad key {KEY}"}}).encode()
    named = {"detail": {"invalids": [{"event": 0, "message": f"key {KEY}"}]}}
    moved = reply(302, b"", f"Location: http://127.0.0.1:1/{KEY}")
    answers = [reply(), reply(403, quoting), reply(400, quoting), moved]
    answers += [reply(400, json.dumps(named).encode()), reply(503)]
    scripts = [replies(*answers), _garbage, _reset_after_all, _hang]
    server = peer(*scripts)
    transport = http(server.url, timeout=0.3)
    retry = Retry(transport)

    reports = [retry.send(a_batch(1)) for _ in range(9)]
    server.close()
    reports.append(retry.send(a_batch()))
    reports.append(http("http://127.0.0.1:1", key=f"{KEY}\n").send(a_batch()))

    assert len(server.requests) == 9
    assert "POST /v3/events" in caplog.text
    shown = [repr(x) for x in (transport, retry, vars(transport), vars(retry))]
    shown += [repr(reports), caplog.text, *capsys.readouterr()]
    assert all(KEY not in text for text in shown)
    assert any(
        "bad key ***" in reason for r in reports for reason in r.rejected.values()
    )


def test_an_error_that_causes_itself_is_named() -> None:
    """The search for what came first ends, even where the causes go in a circle."""
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one

    assert _root(one) in (one, other)
