"""One request against a real peer: what is sent, what comes back, what is in doubt."""

from __future__ import annotations

import json
import logging
import os
import queue
import statistics
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from odp_logging._events.delivery import Cause
from odp_logging._transports.retry import Retry
from odp_logging._version import VERSION
from odp_logging.emulator import Emulator

from .conftest import (
    ACCEPTED,
    KEY,
    Connection,
    NewHttp,
    NewPeer,
    always,
    build_batch,
    hang_after_request,
    is_all_pending,
    replies,
    reply,
    reset_after_request,
    send_garbage,
)


def test_a_request_is_a_post_of_a_json_array(http: NewHttp, peer: NewPeer) -> None:
    """A batch is one POST of a JSON array to /v3/events with the key in a header."""
    server = peer(always(reply()))
    batch = build_batch(3, {"name": "Zoë"})

    http(server.url).send(batch)

    ((head, body),) = server.requests
    request_line, *header_lines = head.decode().strip().split("\r\n")
    headers = dict(header.split(": ", 1) for header in header_lines)
    assert request_line == "POST /v3/events HTTP/1.1"
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
    """Batches are sent over the same connection, whatever the answers are."""
    page = reply(200, b"<html>", "Content-Type: text/html")
    moved = reply(302, b"moved", "Location: /elsewhere")
    answers = [
        reply(),
        reply(204, b""),
        reply(503),
        reply(400, b"{}"),
        page,
        moved,
    ]
    server = peer(replies(*answers * 5))
    transport = http(server.url)

    for _ in range(30):
        transport.send(build_batch())

    assert len(server.requests) == 30
    assert server.accepts == 1


def test_posts_do_not_wait_for_acknowledgements(http: NewHttp, odp: Emulator) -> None:
    """Head and body of a request are sent without waiting for a TCP acknowledgement."""
    transport = http(odp.url)
    batch = build_batch(100, {"note": "x" * 700})
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
    """A cookie set by an answer is not sent with the next request."""
    server = peer(always(reply(202, b"{}", "Set-Cookie: who=you; Path=/")))
    transport = http(server.url)

    transport.send(build_batch())
    transport.send(build_batch())

    assert len(server.requests) == 2
    assert all(b"cookie" not in head.lower() for head, _ in server.requests)


def test_a_netrc_file_adds_nothing(http: NewHttp, peer: NewPeer) -> None:
    """A ~/.netrc with an entry for the host adds no Authorization header."""
    netrc = Path(os.environ["HOME"], ".netrc")
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    server = peer(always(reply()))

    assert http(server.url, ignore_proxy=False).send(build_batch()) == ACCEPTED
    assert b"authorization" not in server.requests[0][0].lower()


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
    """A 2xx accepts, even if its body is cut off, badly compressed or missing."""
    server = peer(replies(answer))
    transport = http(server.url)

    assert transport.send(build_batch()) == ACCEPTED
    assert transport.send(build_batch()).accepted == (0, 1, 2)
    assert len(server.requests) == 2


def test_a_captive_portal_accepts_nothing(http: NewHttp, peer: NewPeer) -> None:
    """A 200 with an HTML page accepts nothing: all events are kept."""
    page = reply(200, b"<!DOCTYPE html><p>Log in", "Content-Type: text/html")

    assert is_all_pending(
        http(peer(always(page)).url).send(build_batch()), in_doubt=False
    )


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 3,
    ],
)
def test_informational_answers_are_skipped(
    http: NewHttp, peer: NewPeer, first: bytes
) -> None:
    """1xx answers are skipped, and no request gets the answer of an earlier one."""
    server = peer(replies(first + reply(503), first + reply(202), first + reply(503)))
    transport = http(server.url)

    causes = [transport.send(build_batch()).cause for _ in range(3)]

    assert causes == [Cause.TRANSIENT, None, Cause.TRANSIENT]
    assert server.accepts == 1


def test_a_huge_answer_is_not_read_into_memory(http: NewHttp, peer: NewPeer) -> None:
    """Of an answer of 256 MiB a small part is read, and the connection is closed."""
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
        answer = transport.send(build_batch())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer == ACCEPTED
    assert peak < 8 * 2**20
    assert transport.send(build_batch()) == ACCEPTED


@pytest.mark.parametrize("status", [202, 302, 400, 503])
def test_a_compressed_answer_is_not_decompressed(
    http: NewHttp, peer: NewPeer, status: int
) -> None:
    """A gzip answer that would fill memory is not decompressed, whatever its status."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(64 * 2**20)) + packer.flush()
    headers = ["Content-Encoding: gzip", "Location: /elsewhere"]
    transport = http(peer(always(reply(status, bomb, *headers))).url)
    transport.prepare()
    tracemalloc.start()
    try:
        transport.send(build_batch())
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
    """An answer with a head that is too long leaves the events in doubt."""
    server = peer(always(reply(202, b"{}", *headers)), always(reply()))
    transport = http(server.url)

    assert is_all_pending(transport.send(build_batch()), in_doubt=True)
    assert transport.send(build_batch()) == ACCEPTED


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_a_redirect_is_not_followed(http: NewHttp, peer: NewPeer, status: int) -> None:
    """A redirect delivers nothing, and the other host gets no connection."""
    other = peer(always(reply()))
    moved = reply(status, b"moved", f"Location: {other.url}/v3/events")
    server = peer(always(moved))

    answer = Retry(http(server.url)).send(build_batch())

    assert answer.accepted == ()
    assert answer.cause is Cause.MISCONFIGURED
    assert answer.message == f"{server.url} answered {status}"
    assert len(server.requests) == 1
    assert other.accepted_before_now() == 0


@pytest.mark.parametrize(
    "target", ["", "http://[", "//", "\xff", "x" * 9000, "ftp://a"]
)
def test_a_redirect_with_an_invalid_target_is_not_followed(
    http: NewHttp, peer: NewPeer, target: str
) -> None:
    """A redirect with an invalid target is a wrong configuration, too."""
    moved = reply(302, b"moved", f"Location: {target}")

    answer = http(peer(always(moved)).url).send(build_batch())

    assert answer.cause is Cause.MISCONFIGURED
    assert not answer.in_doubt


def test_a_refused_connection_leaves_events_not_in_doubt(
    http: NewHttp, peer: NewPeer
) -> None:
    """If no process listens, the events are kept and not in doubt."""
    gone = peer(always(reply()))
    gone.close()

    answer = http(gone.url).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert (
        answer.message == f"{gone.url.removeprefix('http://')} refused the connection"
    )


@pytest.mark.odp_network
def test_an_unknown_host_leaves_events_not_in_doubt(http: NewHttp) -> None:
    """If the name does not resolve, the events are kept and not in doubt."""
    answer = http("http://nothing.invalid").send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert "cannot resolve" in answer.message


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
def test_an_invalid_host_or_key_is_a_wrong_configuration(
    http: NewHttp, host: str, key: str
) -> None:
    """A host or key that makes no valid request is misconfigured, and not shown."""
    answer = http(host, key=key).send(build_batch())

    assert answer.cause is Cause.MISCONFIGURED
    assert not answer.in_doubt
    assert answer.requests == 1
    assert KEY not in repr(answer)


def test_a_key_outside_latin_1_is_a_wrong_configuration(
    http: NewHttp, odp: Emulator
) -> None:
    """A key that no HTTP header can hold is a wrong configuration."""
    answer = http(odp.url, key="schlüssel-🔑").send(build_batch())

    assert answer.cause is Cause.MISCONFIGURED
    assert not answer.in_doubt


def test_no_lock_is_taken_for_a_connection(http: NewHttp, peer: NewPeer) -> None:
    """No code of `queue` runs: an exception raised there would leave its lock held.

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
        answers = [transport.send(build_batch()) for _ in range(2)]
        transport.close()
    finally:
        sys.setprofile(before)

    assert answers == [ACCEPTED, ACCEPTED]
    assert server.accepts == 1
    assert any(name.endswith("session.py") for name in seen)
    assert queue.__file__ not in seen


def test_the_key_is_shown_nowhere(
    http: NewHttp,
    peer: NewPeer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The key is in no delivery or repr, and no line is logged, whatever happens."""
    caplog.set_level(logging.DEBUG)
    quoting = json.dumps({"detail": {"message": f"bad key {KEY}"}}).encode()
    named = {"detail": {"invalids": [{"event": 0, "message": f"key {KEY}"}]}}
    moved = reply(302, b"", f"Location: http://127.0.0.1:1/{KEY}")
    answers = [
        reply(),
        reply(403, quoting),
        reply(400, quoting),
        moved,
    ]
    answers += [reply(400, json.dumps(named).encode()), reply(503)]
    scripts = [replies(*answers), send_garbage, reset_after_request, hang_after_request]
    server = peer(*scripts)
    transport = http(server.url, timeout=0.3)
    retry = Retry(transport)

    reports = [retry.send(build_batch(1)) for _ in range(9)]
    server.close()
    reports.append(retry.send(build_batch()))
    reports.append(http("http://127.0.0.1:1", key=f"{KEY}\n").send(build_batch()))

    assert len(server.requests) == 9
    assert caplog.text == ""
    shown = [repr(x) for x in (transport, retry, vars(transport), vars(retry))]
    shown += [repr(reports), caplog.text, *capsys.readouterr()]
    assert all(KEY not in text for text in shown)
    assert any(
        "bad key ***" in reason for r in reports for reason in r.rejected.values()
    )
