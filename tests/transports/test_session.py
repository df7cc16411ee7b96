"""TLS, connecting, and the one deadline for all of a request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from odp_logging.transports._http import Http
from odp_logging.transports._session import _Http, _PunctualSocket
from odp_logging.transports._wire import Wire

from .conftest import ACCEPTED, KEY, Connection, Peer, a_batch, always, kept, reply

NewHttp = Callable[..., Http]
NewPeer = Callable[..., Peer]
Certificate = Callable[[str], Path]


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> Certificate:
    """Make a certificate that this test trusts."""

    def make(name: str) -> Path:
        path = certificate(name)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        return path

    return make


def test_a_trusted_certificate_is_taken(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """Over TLS batches are delivered, over one connection."""
    server = peer(always(reply()), certificate=trusted("IP:127.0.0.1"))
    transport = http(server.url, direct=False)
    large = a_batch(3, {str(n): "x" * 1000 for n in range(500)})

    assert transport.send(large) == ACCEPTED
    assert transport.send(a_batch()) == ACCEPTED
    assert server.accepts == 1
    assert len(server.requests[0][1]) == large.size


def test_an_unknown_certificate_is_refused(
    http: NewHttp, peer: NewPeer, certificate: Certificate
) -> None:
    """To a peer with a certificate of its own making nothing is sent."""
    server = peer(always(reply()), certificate=certificate("IP:127.0.0.1"))

    answer = http(server.url).send(a_batch())

    assert kept(answer, in_doubt=False)
    assert "SSLCertVerificationError" in answer.message
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """To a peer whose certificate is for another name nothing is sent."""
    server = peer(always(reply()), certificate=trusted("DNS:other.invalid"))

    answer = http(server.url, direct=False).send(a_batch())

    assert kept(answer, in_doubt=False)
    assert server.requests == []


def test_a_missing_bundle_of_certificates_is_survived(
    http: NewHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A REQUESTS_CA_BUNDLE that leads nowhere keeps the events, certainly not sent."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")

    assert kept(
        http("https://127.0.0.1:1", direct=False).send(a_batch()), in_doubt=False
    )


def test_an_endless_handshake_is_left_in_time(http: NewHttp, peer: NewPeer) -> None:
    """A TLS handshake that never ends is cut at the timeout: certainly not sent."""
    server = peer(Connection.hang)
    transport = http(server.url.replace("http:", "https:"), timeout=0.5)

    start = time.monotonic()
    answer = transport.send(a_batch())

    assert kept(answer, in_doubt=False)
    assert time.monotonic() - start < 1.2


@pytest.mark.parametrize("end", [Connection.reset, lambda connection: None])
def test_a_handshake_broken_off_sent_nothing(
    http: NewHttp, peer: NewPeer, end: Callable[[Connection], object]
) -> None:
    """A connection that ends within the handshake certainly took nothing."""
    server = peer(lambda connection: (connection.sock.recv(10), end(connection)))

    answer = http(server.url.replace("http:", "https:")).send(a_batch())

    assert kept(answer, in_doubt=False)


def test_plain_http_in_answer_to_tls_got_nothing(http: NewHttp, peer: NewPeer) -> None:
    """A peer that answers a TLS handshake in plain HTTP got nothing."""

    def script(connection: Connection) -> None:
        connection.sock.recv(10)
        connection.send(reply())

    answer = http(peer(script).url.replace("http:", "https:")).send(a_batch())

    assert kept(answer, in_doubt=False)


@pytest.mark.parametrize("how", ["reset", "garbage", "hang"])
def test_tls_that_breaks_after_the_request_leaves_a_doubt(
    http: NewHttp, peer: NewPeer, trusted: Certificate, how: str
) -> None:
    """A fault of TLS after the request left is no proof that it was not taken."""

    def script(connection: Connection) -> None:
        connection.request()
        if how == "hang":
            connection.hang()
        elif how == "garbage":
            with socket.socket(fileno=connection.sock.detach()) as plain:
                plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                plain.settimeout(5)
                plain.recv(100)
        else:
            connection.reset()

    server = peer(script, certificate=trusted("IP:127.0.0.1"))

    answer = http(server.url, direct=False, timeout=1).send(a_batch())

    assert kept(answer, in_doubt=True)


def test_a_tls_peer_that_reads_slowly_is_left_in_time(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """A peer that reads a little now and then cannot hold a request over its time."""

    def script(connection: Connection) -> None:
        while not connection.peer.released.wait(0.1):
            connection.sock.recv(64 * 1024)

    server = peer(script, certificate=trusted("IP:127.0.0.1"))
    transport = http(server.url, direct=False, timeout=1)
    large = a_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    start = time.monotonic()
    answer = transport.send(large)

    assert kept(answer, in_doubt=False)
    assert time.monotonic() - start < 2


@pytest.mark.odp_network
def test_a_tunnel_shows_the_proxy_no_key(
    http: NewHttp,
    peer: NewPeer,
    trusted: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a proxy, an https request goes in a tunnel that hides key and events."""
    path = trusted("DNS:odp.invalid")

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        connection.secure(path)
        always(reply())(connection)

    proxy = peer(script)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)

    answer = http("https://odp.invalid", direct=False).send(a_batch())

    assert answer == ACCEPTED
    (connect, _), (post, _) = proxy.requests
    assert connect.startswith(b"CONNECT odp.invalid:443 ")
    assert KEY.encode() not in connect
    assert KEY.encode() in post


@pytest.mark.odp_network
@pytest.mark.parametrize("refusal", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"garbage"])
def test_a_tunnel_that_is_refused_sent_nothing(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch, refusal: bytes
) -> None:
    """Where the proxy makes no tunnel, the events are kept and certainly not sent."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(refusal)

    proxy = peer(script)
    monkeypatch.setenv("https_proxy", proxy.url)

    answer = http("https://odp.invalid", direct=False).send(a_batch())

    assert kept(answer, in_doubt=False)


@pytest.fixture
def full() -> Iterator[int]:
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


def test_connecting_is_left_in_time(http: NewHttp, full: int) -> None:
    """A connection that is not made within the timeout certainly carried nothing."""
    transport = http(f"http://127.0.0.1:{full}", timeout=0.5)

    start = time.monotonic()
    answer = transport.send(a_batch())

    assert kept(answer, in_doubt=False)
    assert "TimeoutError" in answer.message
    assert time.monotonic() - start < 1.2


def test_one_deadline_holds_for_handshake_and_answer(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """A slow handshake and a slow answer share the timeout, they do not add up."""
    path = trusted("IP:127.0.0.1")

    def script(connection: Connection) -> None:
        connection.peer.released.wait(0.6)
        connection.secure(path)
        connection.request()
        connection.hang()

    server = peer(script)
    transport = http(server.url.replace("http:", "https:"), direct=False, timeout=1)

    start = time.monotonic()
    answer = transport.send(a_batch())

    assert kept(answer, in_doubt=True)
    assert time.monotonic() - start < 1.4


def test_a_wire_starts_afresh_with_each_request() -> None:
    """What was told of one request is not told of the next."""
    wire = Wire()
    wire.connected = wire.began = wire.sent = wire.heard = True

    wire.begin(10)

    assert not (wire.connected or wire.began or wire.sent or wire.heard)
    assert not wire.is_late()
    assert 9 < wire.left() <= 10


def test_a_wire_never_tells_a_socket_not_to_wait() -> None:
    """When the time is up, what is left for a socket is still more than 0."""
    wire = Wire()

    assert wire.is_late()
    assert wire.left() > 0


def test_a_socket_need_not_tell_its_time_out() -> None:
    """urllib3's stand-in for a socket with pyOpenSSL can only be told one."""

    class Mute:
        def settimeout(self, seconds: float) -> None:
            self.seconds = seconds

    wire, mute = Wire(), Mute()
    wire.begin(10)
    wire.keep_time(mute)  # type: ignore[arg-type]

    assert 9 < mute.seconds <= 10


def test_a_read_after_the_time_is_up_does_not_wait() -> None:
    """When the time is up, nothing is read any more, even if it is there."""
    wire = Wire()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(reply())
        reader = _PunctualSocket(wire, ours)

        with pytest.raises(TimeoutError):
            reader.readinto(bytearray(10))
        wire.begin(10)
        assert reader.readinto(bytearray(10)) == 10
        reader.close()
        reader.close()


class _Writes:
    """A socket that notes each write."""

    def __init__(self) -> None:
        self.made: list[bytes] = []

    def gettimeout(self) -> float:
        return 10.0

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.made.append(bytes(data))

    def close(self) -> None:
        pass


def test_head_and_body_leave_in_one_write() -> None:
    """No second write waits for its turn, or for the first one's acknowledgement."""
    wire = Wire()
    wire.begin(10)
    connection = _Http("127.0.0.1", wire=wire)
    connection.sock = writes = _Writes()

    connection.request("POST", "/v3/events", body=b"[]", headers={"x-api-key": "k"})

    assert len(writes.made) == 1
    assert writes.made[0].startswith(b"POST /v3/events HTTP/1.1\r\n")
    assert writes.made[0].endswith(b"\r\n\r\n[]")
    assert wire.sent


def test_a_request_that_cannot_be_made_leaves_nothing_behind() -> None:
    """After one that failed, the next one is whole again."""
    wire = Wire()
    wire.begin(10)
    connection = _Http("127.0.0.1", wire=wire)
    connection.sock = writes = _Writes()

    with pytest.raises(ValueError):
        connection.request("POST", "/", headers={"a": "b\r\nc: d"})
    assert not wire.sent
    connection.close()
    connection.sock = writes
    connection.request("POST", "/", body=b"[]")

    assert [write[-2:] for write in writes.made] == [b"[]"]
