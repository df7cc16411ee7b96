"""Who may do what with the emulator, and how much memory it takes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator, _requests, _server
from odp_logging.emulator._ledger import Ledger, Request
from odp_logging.emulator._validation import MAX_CONTAINERS

from ..waiting import until
from .conftest import KEY, PATIENCE, an_event, call, dial, request_bytes, send
from .test_program import first_line, program
from .test_server import _read_all

PRIVATE = [
    ("GET", "/"),
    ("GET", "/stats"),
    ("GET", "/_emulator/stats"),
    ("GET", "/_emulator/events"),
    ("GET", "/_emulator/requests"),
    ("GET", "/_emulator/checks"),
    ("GET", "/_emulator/library"),
    ("GET", "/_emulator/faults"),
    ("GET", "/_emulator/stream"),
    ("GET", "/_emulator/nothing"),
    ("POST", "/_emulator/faults"),
    ("DELETE", "/_emulator/events"),
    ("DELETE", "/_emulator/faults"),
]
NONE = {"Authorization": ""}


# The access token.


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_what_was_recorded_needs_the_token(
    odp: Emulator, method: str, path: str
) -> None:
    """Without it, or with another, nothing is read, changed or told."""
    send(odp, [an_event()])
    others = [NONE, {"Authorization": "Bearer x"}, {"Authorization": odp.token}]
    others.append({"Authorization": f"Basic {odp.token}"})
    queries = ["", "?token=", "?token=x", f"?xtoken={odp.token}"]

    for headers in others:
        for query in queries:
            reply = call(odp, method, f"{path}{query}", b"", headers)
            assert reply.status == 403
            assert b"needs the access token" in reply.body
            assert b"user-0" not in reply.body
    assert len(odp.events()) == 1


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "token"])
def test_the_token_is_a_header_or_in_the_address(odp: Emulator, kind: str) -> None:
    """Each way does alone, on every path."""
    headers = {"Authorization": f"{kind} {odp.token}"}
    query = odp.page.partition("?")[2]

    for path in ("/", "/stats", "/_emulator/events"):
        assert call(odp, "GET", path, headers=headers).status == 200
        assert call(odp, "GET", f"{path}?{query}", headers=NONE).status == 200


def test_events_and_health_need_no_token(odp: Emulator) -> None:
    """An application has the API key alone."""
    assert send(odp, [an_event()], Authorization="").status == 202
    assert call(odp, "GET", "/healthz", headers=NONE).status == 200
    assert odp.requests()[0]["headers"]["authorization"] == "…"


def test_each_emulator_has_a_token_of_its_own() -> None:
    """It cannot be guessed, can be given, and can be switched off."""
    first, second = Emulator(), Emulator()
    assert first.token != second.token
    assert len(first.token) >= 20

    with Emulator(token="a b&c") as odp:
        assert odp.page == f"{odp.url}/?token=a%20b%26c"
        assert call(odp, "GET", "/?token=a%20b%26c", headers=NONE).status == 200
        assert odp.token not in repr(odp)
    with Emulator(token="") as odp:
        assert odp.page == f"{odp.url}/"
        assert call(odp, "GET", "/_emulator/events", headers=NONE).status == 200


# Other machines.


def test_other_machines_are_let_in_on_request() -> None:
    """With allow_remote it listens on all addresses, under any name."""
    with Emulator(key=KEY, host="0.0.0.0", allow_remote=True) as odp:
        assert odp.is_remote
        assert odp.url.startswith("http://127.0.0.1:")
        for name in ("odp", "odp.internal:8181", "192.0.2.7", "[2001:db8::1]:80"):
            assert send(odp, [an_event()], Host=name).status == 202
            assert call(odp, "GET", "/stats", headers={"Host": name}).status == 200
            headers = {"Host": name, **NONE}
            assert call(odp, "GET", "/stats", headers=headers).status == 403
        headers = {"Host": "odp", "Origin": "http://evil.example"}
        assert call(odp, "GET", "/_emulator/stats", headers=headers).status == 403
        for name in ("", "a b", "odp/x", "odp:x", "ödp".encode().decode("latin-1")):
            assert call(odp, "GET", "/stats", headers={"Host": name}).status == 403


@pytest.mark.slow
def test_the_program_warns_of_other_machines() -> None:
    """--host needs --allow-remote, and a line on stderr says what that means."""
    with program("--host", "0.0.0.0") as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (2, "")
    assert "give 127.0.0.1, or --allow-remote to let other machines" in errors

    more = {"--token=x": "needs the token", "--no-token": "there is no token"}
    for option, said in more.items():
        with program("--host", "0.0.0.0", "--allow-remote", option) as process:
            assert "http://127.0.0.1:" in first_line(process)
            process.terminate()
            _, errors = process.communicate(timeout=PATIENCE)
        assert errors.startswith("warning: 0.0.0.0 port ")
        assert said in errors
        assert errors.count("\n") == 1


# Strict reading.


LENGTH = len(json.dumps([an_event()]))


@pytest.mark.parametrize(
    "lines",
    [
        f"Content-Length: {LENGTH}\r\nContent-Length: 1",
        f"Content-Length: {LENGTH}\r\ncontent-length: {LENGTH}",
        f"Content-Length: {LENGTH}, {LENGTH}",
        f"Content-Length: +{LENGTH}",
        f"Content-Length: 1\r\n {LENGTH}",
        f"Content-Length : {LENGTH}",
        f"Content-Length: {LENGTH}\r\nContent-Type: text/plain",
        f"Content-Length: {LENGTH}\r\nx-api-key: another",
        f"Content-Length: {LENGTH}\r\nno colon",
        f"Content-Length: {LENGTH}\r\n: no name",
        f"Content-Length: {LENGTH}\r\nA\x00: b",
        f"Content-Length: {LENGTH}\r\nA: b\rc",
        f"Content-Length: {LENGTH}\r\nTransfer-Encoding: chunked",
    ],
)
def test_an_ambiguous_head_is_refused(odp: Emulator, lines: str) -> None:
    """What two servers could read in two ways is answered 400 or 411, and closed."""
    body = request_bytes([an_event()])
    head = re.sub(rb"Content-Length: \d+", lines.encode(), body)
    with dial(odp) as connection:
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        answer = _read_all(connection)

    assert re.match(rb"HTTP/1\.1 4(00|11) ", answer)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert odp.stats()["unique"] == 0


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * _requests.MAX_HEAD,
        b"\r\n".join(b"X-%d: x" % n for n in range(_requests.MAX_HEADERS + 1)),
        b"\r\n".join([b"X: " + b"x" * 1_000] * 90),
    ],
)
def test_a_head_is_bounded(odp: Emulator, head: bytes) -> None:
    """One of over 64 KiB or 99 headers is refused before it is read whole."""
    with dial(odp) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + head)
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 431 ")


# Memory and threads.


def test_an_event_is_kept_as_text() -> None:
    """64 MiB of recorded events take as much memory, not 25 times as much."""
    tracemalloc = pytest.importorskip("tracemalloc")
    ledger = Ledger(max_bytes=2_000_000)
    request = Request(0.0, 0.0, 1, 0, {})
    tracemalloc.start()
    try:
        for n in range(4):
            event = an_event(n, data={"x": [{} for _ in range(300_000)]})
            ledger.record(request, status=202, events=[event], kept=[event])
            del event
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [entry["n"] for entry in ledger.list_entries()] == [3, 4]
    assert len(ledger.list_entries()[1]["event"]["data"]["x"]) == 300_000
    assert current < 3_000_000


def test_the_oldest_ids_are_forgotten() -> None:
    """Known ids are bounded, too."""
    ledger = Ledger(max_ids=3)
    request = Request(0.0, 0.0, 1, 0, {})
    for n in (0, 1, 2, 3, 3, 1, 0):
        event = an_event(n)
        ledger.record(request, status=202, events=[event], kept=[event])

    assert ledger.get_stats()["unique"] == 5
    assert ledger.get_stats()["duplicates"] == 2


@pytest.mark.parametrize(
    ("inner", "status"),
    [
        ("{}," * 50_000, 202),
        ("{}," * MAX_CONTAINERS, 413),
        ('{"":0},' * MAX_CONTAINERS, 413),
        ('"' + "[{" * MAX_CONTAINERS + '\\"\\\\",', 202),
    ],
)
def test_a_body_has_so_many_parts(odp: Emulator, inner: str, status: int) -> None:
    """One that would take much more memory than it has bytes is not parsed."""
    value = json.dumps([an_event(data={"x": ["x"]})]).replace('"x"]', f"{inner}0]")
    reply = send(odp, value.encode())

    assert reply.status == status
    assert odp.stats()["statuses"] == {str(status): 1}
    if status == 413:
        assert reply.message == "The body has more than 100,000 lists and objects."


def test_text_without_an_end_is_read_once(odp: Emulator) -> None:
    """A body that never closes its texts takes time in proportion to its size."""
    for text in ('"' + '\\"' * 2_000_000 + "[" * 1_000, '["' * 1_000_000):
        assert send(odp, text.encode()).status == 400


def test_large_bodies_wait_for_each_other(odp: Emulator) -> None:
    """Bodies that are being read share 64 MiB; the one after waits for its turn."""
    size = _requests.MAX_EVENTS_BODY
    head = (
        f"POST /v3/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(dial(odp)) for _ in range(7)]
        for connection in opened:
            connection.sendall(head)
        assert odp._server is not None
        bodies = odp._server.bodies
        until(lambda: bodies._left < size, "six bodies")
        assert bodies._left == _server.MAX_BODIES - 6 * size
        # Any one of them waits: the others must not wait for it.
        senders = [
            threading.Thread(target=connection.sendall, args=(b" " * size,))
            for connection in opened
        ]
        for sender in senders:
            sender.start()
        for connection in opened:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
        for sender in senders:
            sender.join(PATIENCE)
    until(lambda: bodies._left == _server.MAX_BODIES, "the memory")


def test_connections_are_bounded(
    odp: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond so many, each with a thread, the next is answered 503, until one ends."""
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 5)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(dial(odp)) for _ in range(5)]
        until(lambda: threading.active_count() == before + 5, "five threads")
        with dial(odp) as another:
            assert another.recv(65_536).startswith(b"HTTP/1.1 503 ")
        assert threading.active_count() == before + 5
        opened[0].close()
        until(lambda: threading.active_count() == before + 4, "four threads")
        assert call(odp, "GET", "/healthz").status == 200


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_hostile_bodies_do_not_fill_the_memory() -> None:
    """Seven of 9.9 MB, and lists of all events beside them, leave it below 400 MB."""
    parts = {
        b'["aaaa",' + b'"aaaa",' * 1_400_000 + b'"a"]',
        b"[" + b"{}," * 3_300_000 + b"{}]",
    }
    with program("--key", KEY, "--token", "mine") as process:
        url = first_line(process).split()[-1]
        with Emulator(key=KEY, token="mine") as stand_in:
            stand_in._port = int(url.rpartition(":")[2])
            for part in parts:
                event = (
                    b'[{"type":"t","action":"a","identifiers":{"f":"x"},"data":{"d":'
                )
                for _ in range(7):
                    send(stand_in, event + part + b"}}]")
                    reply = call(stand_in, "GET", "/_emulator/events?limit=3")
                    assert reply.status == 200
        text = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)

    assert found is not None
    assert int(found[1]) < 400 * 1024


# Requests for something else than to take events.


QUERY = {
    "query": "query($userId: String, $audiences: [String]) {customer(fs_user_id:"
    " $userId) {audiences(subset: $audiences) {edges {node {name state}}}}}",
    "variables": {"userId": "u1", "audiences": ["a"]},
}


def ask_segments(odp: Emulator, body: Any, **headers: str) -> Any:
    """Ask for segments as an SDK does."""
    lines = {"content-type": "application/json", "x-api-key": KEY, **headers}
    return call(odp, "POST", "/v3/graphql", json.dumps(body).encode(), lines)


def test_a_customer_has_no_segments(odp: Emulator) -> None:
    """The answer is ODP's for a customer in no segment, and the query is recorded."""
    reply = ask_segments(odp, QUERY)
    lines = call(odp, "GET", "/_emulator/requests").json

    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json == {"data": {"customer": {"audiences": {"edges": []}}}}
    (line,) = lines
    assert (line["method"], line["path"]) == ("POST", "/v3/graphql")
    assert (line["status"], line["events"]) == (200, 0)
    assert odp.requests() == []
    stats = odp.stats()
    assert (stats["requests"], stats["other_requests"]) == (0, 1)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (QUERY, {"x-api-key": "another"}, 403),
        (QUERY, {"x-api-key": ""}, 403),
        ([], {}, 400),
        ({"query": 1}, {}, 400),
    ],
)
def test_a_bad_query_is_refused(
    odp: Emulator, body: Any, headers: dict[str, str], status: int
) -> None:
    """Without the key or a query there is no answer, but a record."""
    assert ask_segments(odp, body, **headers).status == status
    assert odp.stats()["other_requests"] == 1


def test_the_sdk_reads_the_answer(odp: Emulator) -> None:
    """optimizely-sdk takes it for a customer without segments."""
    pytest.importorskip("optimizely.odp")
    from optimizely.odp.odp_segment_api_manager import OdpSegmentApiManager

    manager = OdpSegmentApiManager()

    assert manager.fetch_segments(KEY, odp.url, "fs_user_id", "u1", ["a"]) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v3/v3/events", 404),
        ("POST", "/v3/event", 404),
        ("POST", "/v3/profiles", 404),
        ("POST", "/events", 404),
        ("GET", "/v3/events", 405),
        ("PUT", "/v3/graphql", 405),
    ],
)
def test_a_request_to_a_wrong_address_is_recorded(
    odp: Emulator, method: str, path: str, status: int
) -> None:
    """A mistyped address is seen on the page, which would else stay empty."""
    reply = call(odp, method, path, b"{}", {"x-api-key": KEY})
    (line,) = call(odp, "GET", "/_emulator/requests").json

    assert reply.status == line["status"] == status
    assert (line["method"], line["path"]) == (method, path)
    assert KEY not in str(line)


def test_what_a_browser_asks_by_itself_is_not_recorded(odp: Emulator) -> None:
    """An icon that is not there is no request of an application."""
    assert call(odp, "GET", "/favicon.ico").status == 404
    assert odp.stats()["other_requests"] == 0


@pytest.mark.parametrize(
    "line", ["GET / \xe9 x HTTP/1.1", "GET /\r\nHost: localhost", "x" * 70_000, "\xff"]
)
def test_what_is_no_http_has_an_answer_in_http(odp: Emulator, line: str) -> None:
    """It has a status line, which quotes nothing of what was sent."""
    with dial(odp) as connection:
        connection.sendall(line.encode("latin-1") + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            answer = _read_all(connection)
            assert re.match(rb"HTTP/1\.[01] 4\d\d [A-Za-z -]+\r\n", answer)
