"""The emulator answers as ODP does, to this machine alone, and ends when told to."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .conftest import (
    KEY,
    PATIENCE,
    an_event,
    call,
    connect,
    dial,
    exchange,
    request_bytes,
    send,
    some_events,
)

MIB = 2**20

# What ODP answers.


@pytest.mark.parametrize("events", [an_event(), [an_event()]], ids=["object", "array"])
def test_events_are_accepted(odp: Emulator, events: Any) -> None:
    """A single event and an array of events are both answered 202, as by ODP."""
    reply = send(odp, events)

    assert reply.status == 202
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["title"] == "Accepted"
    assert reply.json["status"] == 202
    assert reply.json["timestamp"].endswith("Z")
    assert [an_event()] == [entry["event"] for entry in odp.events()]


def test_an_empty_array_is_accepted(odp: Emulator) -> None:
    """No events at all are accepted and counted as a request."""
    assert send(odp, []).status == 202
    assert odp.stats()["requests"] == 1
    assert odp.stats()["received"] == 0


@pytest.mark.parametrize("key", ["", "another", KEY.lower(), KEY + "x"])
def test_another_key_is_forbidden(odp: Emulator, key: str) -> None:
    """A wrong or empty key is answered 403 in ODP's short form; nothing is kept."""
    reply = send(odp, [an_event()], x_api_key=key)

    assert reply.status == 403
    assert reply.json == {"message": "Forbidden"}
    assert odp.events() == []


def test_a_missing_key_is_forbidden(odp: Emulator) -> None:
    """A request without the key's header is answered 403."""
    body = json.dumps([an_event()]).encode()

    reply = call(odp, "POST", "/v3/events", body, {"content-type": "application/json"})

    assert reply.status == 403
    assert reply.json == {"message": "Forbidden"}


def test_without_a_key_of_its_own_any_key_will_do() -> None:
    """An emulator that was given no key takes any that is not empty."""
    with Emulator() as odp:
        assert send(odp, [an_event()], x_api_key="any").status == 202
        assert send(odp, [an_event()], x_api_key="").status == 403


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (an_event(type=None), "missing 'type' field"),
        (an_event(type=""), "missing 'type' field"),
        (an_event(type=7), "'type' field must be text"),
        (an_event(action=None), "missing 'action' field"),
        (an_event(action=["a"]), "'action' field must be text"),
        (an_event(identifiers=None), "missing 'identifiers' field"),
        (an_event(identifiers={}), "missing 'identifiers' field"),
        (an_event(identifiers="u"), "'identifiers' field must be an object"),
        (an_event(identifiers={"email": 7}), "identifier 'email' must be text"),
        (an_event(data=None), "'data' field must be an object"),
        (an_event(data=[1]), "'data' field must be an object"),
        (None, "event must be an object"),
        ("event", "event must be an object"),
        ([], "event must be an object"),
    ],
)
def test_an_invalid_event_is_named(odp: Emulator, event: Any, reason: str) -> None:
    """What is wrong with an event is said beside its index."""
    reply = send(odp, [an_event(), event])

    assert reply.status == 400
    assert reply.json["title"] == "Bad Request"
    assert reply.json["detail"] == {"invalids": [{"event": 1, "message": reason}]}


def test_every_invalid_index_is_named_and_nothing_is_kept(odp: Emulator) -> None:
    """One bad event refuses the whole request, and each bad one is named."""
    events = [{}, an_event(1), an_event(2, action=""), an_event(3), 4]

    reply = send(odp, events)

    assert reply.status == 400
    assert [one["event"] for one in reply.json["detail"]["invalids"]] == [0, 2, 4]
    assert odp.stats()["received"] == 0
    assert odp.stats()["rejected"] == 3
    assert {"rejected"} == {entry["status"] for entry in odp.events()}


def test_data_and_its_values_are_free(odp: Emulator) -> None:
    """ODP takes events without data, and any JSON value in data, null too."""
    data = {
        "a": None,
        "b": 3.5,
        "c": False,
        "d": "x",
        "e": [1, {"f": 2}],
        "g": "\ud83d",
    }
    bare = {k: v for k, v in an_event(1).items() if k != "data"}

    assert send(odp, [an_event(data=data), bare]).status == 202
    assert odp.events()[0]["event"]["data"] == data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"7",
        b'"text"',
        b"null",
        b"[NaN]",
        b'[{"data": {"x": NaN}}]',
        b'[{"data": {"x": -Infinity}}]',
        b'[{"data": {"x": 1e999}}]',
        b"\xff\xfe",
        json.dumps([an_event()]).encode("utf-16"),
        b"[" * 200_000 + b"]" * 200_000,
    ],
)
def test_what_is_no_json_of_events_cannot_be_parsed(odp: Emulator, body: bytes) -> None:
    """Anything but strict UTF-8 JSON of events is answered in ODP's parse form."""
    reply = send(odp, body)

    assert reply.status == 400
    assert reply.json["detail"] == {"message": "Unable to parse request body."}
    assert odp.events() == []


@pytest.mark.parametrize("depth", [100, 400, 900, 990, 2_000, 9_000, 50_000])
def test_a_deeply_nested_event_spoils_nothing(odp: Emulator, depth: int) -> None:
    """However deep an event is nested, it is answered and the ledger can be read."""
    deep = b'{"x":' * depth + b"1" + b"}" * depth
    odp.fault(status=503, match="nowhere", count=1)
    body = json.dumps([an_event(), an_event(1)]).encode()
    body = body.replace(b'{"idempotence_id": "id-1"}', deep)

    assert send(odp, body).status in (202, 400)
    assert send(odp, [an_event(2)]).status == 202
    assert call(odp, "GET", "/_emulator/events").json[-1]["event"] == an_event(2)


def test_five_hundred_events_are_the_most(odp: Emulator) -> None:
    """ODP takes 500 events in a request and refuses 501."""
    assert send(odp, some_events(0, 500)).status == 202

    reply = send(odp, some_events(500, 1001))

    assert reply.status == 400
    assert "500" in reply.message
    assert odp.stats()["unique"] == 500


@pytest.mark.parametrize("kind", ["text/plain", "", "application/jsonp", "json"])
def test_another_content_type_is_refused(odp: Emulator, kind: str) -> None:
    """Only application/json is read, as what a foreign page may send is not."""
    reply = send(odp, [an_event()], content_type=kind)

    assert reply.status == 415
    assert reply.message == "Content-Type must be application/json."
    assert odp.events() == []


def test_a_content_type_may_have_parameters(odp: Emulator) -> None:
    """The charset and the case of the content type do not matter."""
    reply = send(odp, [an_event()], content_type="Application/JSON; charset=utf-8")

    assert reply.status == 202


# Sizes and connections.


def test_a_body_that_is_too_large_is_refused_unread(odp: Emulator) -> None:
    """More than 10 MiB is answered 413 from the header alone, and counted."""
    head = (
        f"POST /v3/events HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {10 * MIB + 1}\r\n\r\n"
    )
    with dial(odp) as connection:
        connection.sendall(head.encode() + b"[")
        answer = _read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    assert odp.stats()["statuses"] == {"413": 1}


def test_who_sends_too_much_still_reads_the_answer(odp: Emulator) -> None:
    """A client that writes its whole body first sees the 413, not a broken pipe."""
    assert send(odp, b"x" * (11 * MIB)).status == 413


def test_ten_mebibytes_are_read(odp: Emulator) -> None:
    """A body of exactly 10 MiB is read and accepted."""
    body = json.dumps([an_event()]).encode()

    assert send(odp, body + b" " * (10 * MIB - len(body))).status == 202


def test_who_leaves_after_a_refusal_is_nothing_to_report(
    odp: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that resets the connection in the middle of a 413 leaves no trace."""
    head = (
        b"POST /v3/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n"
    )
    for _ in range(30):
        with dial(odp) as connection:
            connection.sendall(head + b"\r\nabc")
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
    odp.stop()

    assert capfd.readouterr() == ("", "")


def test_one_connection_serves_many_requests(odp: Emulator) -> None:
    """A connection stays open after 202, 400, 404 and 403 from ODP."""
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    good, bad = json.dumps([an_event()]).encode(), b"[{}]"
    with contextlib.closing(connect(odp)) as connection:
        statuses = [
            exchange(connection, "POST", "/v3/events", body, lines).status
            for body, lines in [(good, headers), (bad, headers), (good, {})]
        ]
        statuses.append(exchange(connection, "POST", "/nowhere", good).status)
        statuses.append(exchange(connection, "GET", "/healthz").status)

    assert statuses == [202, 400, 403, 404, 200]
    assert len({line["connection"] for line in odp.requests()}) == 1


def test_requests_may_be_sent_ahead(odp: Emulator) -> None:
    """Two requests in one segment get two answers in order."""
    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()]) + request_bytes([{}]))
        connection.shutdown(socket.SHUT_WR)
        answer = _read_all(connection)

    assert answer.index(b"HTTP/1.1 202 ") < answer.index(b"HTTP/1.1 400 ")


def test_a_client_may_ask_before_it_sends_the_body(odp: Emulator) -> None:
    """Expect: 100-continue is answered before the body comes."""
    head, _, body = request_bytes([an_event()]).partition(b"\r\n\r\n")
    with dial(odp) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        first = connection.recv(1000)
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        answer = _read_all(connection)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Transfer-Encoding: chunked", 411),
        ("Content-Length: -1", 400),
        ("Content-Length: ten", 400),
    ],
)
def test_the_length_must_be_known(odp: Emulator, line: str, status: int) -> None:
    """A body without a usable length is refused, and the connection closed."""
    with dial(odp) as connection:
        connection.sendall(
            f"POST /v3/events HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode()
        )
        answer = _read_all(connection)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_body_that_breaks_off_is_no_request(odp: Emulator) -> None:
    """A client that dies in the middle of the body leaves no request behind."""
    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()])[:-5])
        connection.shutdown(socket.SHUT_WR)
        answer = _read_all(connection)

    assert answer == b""
    assert odp.stats()["requests"] == 0


# Who may ask.


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]"]
)
@pytest.mark.parametrize("path", ["/", "/_emulator/events", "/v3/events"])
def test_a_foreign_host_is_refused(odp: Emulator, host: str, path: str) -> None:
    """A name that resolves to this machine (DNS rebinding) opens nothing."""
    reply = call(odp, "GET", path, headers={"Host": host})

    assert reply.status == 403
    assert reply.body == b"foreign host\n"


def test_the_host_must_be_given_once(odp: Emulator) -> None:
    """No Host header and two of them are refused alike."""
    for lines in ("", "Host: localhost\r\nHost: localhost\r\n"):
        with dial(odp) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
            assert _read_all(connection).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_the_own_host_is_served(odp: Emulator, host: str) -> None:
    """All names of this machine are served, with a port and without."""
    assert call(odp, "GET", "/healthz", headers={"Host": host}).status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_foreign_origin_is_refused(odp: Emulator, method: str) -> None:
    """A page from elsewhere may neither read nor change anything here."""
    send(odp, [an_event()])
    for origin in ("http://evil.example", "null", "https://127.0.0.1"):
        headers = {"Origin": origin, "content-type": "application/json"}
        for path in ("/_emulator/events", "/_emulator/faults"):
            assert call(odp, method, path, b"", headers).status == 403

    assert len(odp.events()) == 1


def test_the_own_origin_is_served(odp: Emulator) -> None:
    """The emulator's own page may use it."""
    headers = {"Origin": odp.url}

    assert call(odp, "DELETE", "/_emulator/events", headers=headers).status == 204


def test_no_answer_opens_itself_to_other_origins(odp: Emulator) -> None:
    """No path has CORS headers, not even to a preflight."""
    headers = {"Origin": odp.url, "Access-Control-Request-Method": "POST"}
    for path in ("/", "/v3/events", "/stats", "/_emulator/events", "/nowhere"):
        for method in ("GET", "POST", "OPTIONS"):
            reply = call(odp, method, path, headers=headers)
            names = {name.lower() for name in reply.headers}
            assert not {n for n in names if n.startswith("access-control")}


# The other paths.


def test_health_is_plain(odp: Emulator) -> None:
    """/healthz answers ok."""
    reply = call(odp, "GET", "/healthz")

    assert (reply.status, reply.body) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/stats", "/_emulator/stats"])
def test_the_counts_can_be_read(odp: Emulator, path: str) -> None:
    """Both addresses of the counts show what the object shows."""
    send(odp, [an_event(), an_event(), an_event(1)])
    send(odp, [{}])

    stats = call(odp, "GET", path).json

    assert stats["received"] == 3
    assert stats["unique"] == 2
    assert stats["duplicates"] == 1
    assert stats["rejected"] == 1
    assert stats["requests"] == 2
    assert stats["statuses"] == {"202": 1, "400": 1}
    assert stats["last"] == 4
    assert stats["uptime"] >= 0
    assert stats.keys() == odp.stats().keys()


def test_events_can_be_read_from_a_serial_on(odp: Emulator) -> None:
    """since leaves out what is known and limit bounds what comes, oldest first."""
    send(odp, some_events(0, 6))

    def serials(query: str) -> list[int]:
        reply = call(odp, "GET", f"/_emulator/events{query}")
        return [entry["n"] for entry in reply.json]

    assert serials("") == [1, 2, 3, 4, 5, 6]
    assert serials("?since=2") == [3, 4, 5, 6]
    assert serials("?since=2&limit=3") == [3, 4, 5]
    assert serials("?limit=0") == []
    assert serials("?since=6") == serials("?since=999999") == []


@pytest.mark.parametrize("query", ["since=x", "limit=-1", "since=1.5", "limit=9e9"])
def test_a_bad_serial_is_refused(odp: Emulator, query: str) -> None:
    """since and limit that are no whole numbers are answered 400, saying so."""
    reply = call(odp, "GET", f"/_emulator/events?{query}")

    assert reply.status == 400
    assert "whole numbers, such as 100" in reply.message


def test_the_ledger_can_be_emptied(odp: Emulator) -> None:
    """DELETE empties the ledger; ids are new again and serials go on."""
    send(odp, [an_event()])

    reply = call(odp, "DELETE", "/_emulator/events")

    assert (reply.status, reply.body) == (204, b"")
    assert odp.stats()["received"] == 0
    send(odp, [an_event()])
    assert [(e["status"], e["n"]) for e in odp.events()] == [("accepted", 2)]


@pytest.mark.parametrize("path", ["/nowhere", "/v3/event", "/v3/events/", "/_emulator"])
def test_an_unknown_path_is_not_found(odp: Emulator, path: str) -> None:
    """What is not there is answered 404 in ODP's form."""
    reply = call(odp, "POST", path, b"{}")

    assert reply.status == 404
    assert reply.json["title"] == "Not Found"
    assert reply.message == "There is nothing at this path."


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v3/events", "POST"),
        ("PUT", "/v3/events", "POST"),
        ("POST", "/", "GET"),
        ("DELETE", "/stats", "GET"),
        ("PATCH", "/_emulator/events", "DELETE, GET"),
        ("PUT", "/_emulator/faults", "DELETE, GET, POST"),
    ],
)
def test_another_method_is_not_allowed(
    odp: Emulator, method: str, path: str, allow: str
) -> None:
    """A path says which methods it takes."""
    reply = call(odp, method, path, b"")

    assert reply.status == 405
    assert reply.headers["Allow"] == allow


def test_what_is_no_http_is_answered(
    odp: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """Noise on the port is refused and leaves the emulator as it was."""
    for noise in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\r\n"):
        with dial(odp) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            _read_all(connection)

    assert call(odp, "GET", "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


# From start to stop.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_only_loopback_is_bound(host: str) -> None:
    """An address that others could reach is refused before anything listens."""
    with pytest.raises(ValueError, match=r"is not an? .* address: give 127\.0\.0\.1"):
        Emulator(host=host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_has_several_names(host: str) -> None:
    """localhost is 127.0.0.1, so that the address is the same everywhere."""
    with Emulator(host=host) as odp:
        assert odp.url.startswith("http://127.0.0.1:")
        assert send(odp, [an_event()], x_api_key="any").status == 202


def test_the_address_is_known_once_it_listens() -> None:
    """Before its first start an emulator on a free port has no address."""
    odp = Emulator()

    with pytest.raises(RuntimeError, match=r"call start\(\)"):
        _ = odp.url


def test_start_and_stop_may_be_repeated() -> None:
    """start and stop do nothing where there is nothing to do."""
    odp = Emulator()
    odp.stop()
    url = odp.start().url

    assert odp.start().url == url
    odp.stop()
    odp.stop()
    assert repr(odp) in url.replace("http://", "<Emulator ") + ">"


def test_an_outage_keeps_port_and_ledger() -> None:
    """After stop and start the address is the same and ids are still known."""
    with Emulator(key=KEY) as odp:
        url = odp.url
        send(odp, [an_event()])
        odp.stop()
        with pytest.raises(ConnectionRefusedError):
            send(odp, [an_event()])
        odp.start()
        send(odp, [an_event()])

        assert odp.url == url
        assert odp.stats()["duplicates"] == 1


def test_a_taken_port_is_said_at_start(odp: Emulator) -> None:
    """Two emulators cannot have one port, and the second can be stopped safely."""
    second = Emulator(port=int(odp.url.rpartition(":")[2]))

    with pytest.raises(OSError):
        second.start()
    second.stop()
    assert call(odp, "GET", "/healthz").status == 200


def _idle(odp: Emulator) -> socket.socket:
    connection = dial(odp)
    connection.sendall(request_bytes([an_event()]))
    assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")
    return connection


def _streaming(odp: Emulator) -> socket.socket:
    connection = dial(odp)
    head = f"GET /_emulator/stream?token={odp.token} HTTP/1.1\r\nHost: localhost"
    connection.sendall(f"{head}\r\n\r\n".encode())
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    return connection


def _unfinished(odp: Emulator) -> socket.socket:
    connection = dial(odp)
    connection.sendall(request_bytes([an_event()])[:-1])
    return connection


def _silent(odp: Emulator) -> socket.socket:
    return dial(odp)


def _slow(odp: Emulator) -> socket.socket:
    odp.fault(latency=60)
    connection = dial(odp)
    connection.sendall(request_bytes([an_event()]))
    assert odp.wait_for(1, PATIENCE)
    return connection


@pytest.mark.parametrize("opened", [_idle, _streaming, _unfinished, _silent, _slow])
def test_stop_ends_open_connections(
    odp: Emulator, opened: Callable[[Emulator], socket.socket]
) -> None:
    """stop takes at most two seconds and a bit, whatever clients hold open."""
    with opened(odp) as connection:
        began = time.monotonic()
        odp.stop()
        took = time.monotonic() - began
        with contextlib.suppress(ConnectionResetError):
            _read_all(connection)

    assert took < 2.5


def test_no_thread_outlives_stop() -> None:
    """After stop every thread that was started has ended."""
    before = {*threading.enumerate()}  # threads of earlier tests may still be ending
    with contextlib.ExitStack() as opened, Emulator(key=KEY) as odp:
        for open_connection in (_idle, _streaming, _idle):
            opened.enter_context(open_connection(odp))
        assert len({*threading.enumerate()} - before) == 4
        odp.stop()

        assert {*threading.enumerate()} - before == set()


def test_nothing_is_printed(odp: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither keys nor identifiers nor request lines reach stdout or stderr."""
    send(odp, [an_event(identifiers={"email": "zoe@example.com"}), {}])
    send(odp, b"nonsense zoe@example.com")
    send(odp, [an_event()], x_api_key="a-wrong-key")
    call(odp, "GET", "/zoe@example.com?key=" + KEY)
    call(odp, "GET", "/", headers={"Host": "evil.example"})
    odp.fault(drop="after")
    with dial(odp) as connection:
        connection.sendall(request_bytes([an_event()]))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    odp.stop()

    assert capfd.readouterr() == ("", "")


def test_the_key_is_masked_in_the_requests(odp: Emulator) -> None:
    """What is kept of a request has only the end of the key."""
    send(odp, [an_event()], authorization="Basic c2VjcmV0", user_agent="shop/1")
    (request,) = odp.requests()

    assert request["headers"]["x-api-key"] == "…" + KEY[-4:]
    assert request["headers"]["authorization"] == "…"
    assert request["headers"]["user-agent"] == "shop/1"
    assert request["ids"] == ["id-0"]
    assert request["status"] == 202
    assert request["events"] == 1
    assert KEY not in repr(odp.requests()) + repr(odp) + repr(odp.events())


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)
