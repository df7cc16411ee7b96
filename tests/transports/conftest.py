"""Fixtures of the transport tests: a scripted TCP server, batches, certificates."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._events.event import OdpEvent
from odp_logging._runtime.secret import Secret
from odp_logging._transports.base import BaseTransport
from odp_logging._transports.http import Http

KEY = "the-key-for-nobody-else"

ACCEPTED = Delivery(3)


def reply(status: int = 202, body: bytes = b"{}", *headers: str) -> bytes:
    """Return the bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def build_batch(count: int = 3, data: Any = None, *, action: str = "seen") -> Batch:
    """Return a batch of *count* events of different users."""
    return Batch([OdpEvent(action, {"user": f"u{n}"}, data=data) for n in range(count)])


def is_all_pending(answer: Delivery, *, in_doubt: bool) -> bool:
    """Whether all of three events are pending after a transient fault."""
    return (
        answer.pending == (0, 1, 2)
        and answer.cause is Cause.TRANSIENT
        and answer.in_doubt == ({0, 1, 2} if in_doubt else set())
    )


def read_ids(body: bytes) -> list[str]:
    """Return the idempotence ids of the events in a request's *body*."""
    return [event["data"]["idempotence_id"] for event in json.loads(body)]


class Connection:
    """One accepted connection, which a script reads and writes."""

    def __init__(self, peer: Peer, sock: socket.socket) -> None:
        self.peer = peer
        self.sock = sock

    def request(self) -> tuple[bytes, bytes]:
        """Read and record one request; raise ConnectionError if there is none."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._some(1)
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = b""
        while len(body) < length:
            body += self._some(length - len(body))
        self.peer.requests.append((head, body))
        return head, body

    def _some(self, count: int) -> bytes:
        data = self.sock.recv(count)
        if not data:
            raise ConnectionError("the other side closed")
        return data

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.sock.sendall(data)

    def dribble(self, data: bytes, every: float = 0.03) -> None:
        """Send *data* byte by byte."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            self.peer.released.wait(every)

    def reset(self) -> None:
        """End the connection with an RST."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()

    def hang(self) -> None:
        """Block until the test ends."""
        self.peer.released.wait(20)

    def secure(self, certificate: Path) -> None:
        """Start TLS on the connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.peer.watch(self.sock)


Script = Callable[[Connection], object]


def replies(*answers: bytes) -> Script:
    """Return a script that answers one request with each of *answers*, then closes."""

    def script(connection: Connection) -> None:
        for answer in answers:
            connection.request()
            connection.send(answer)

    return script


def always(answer: bytes) -> Script:
    """Return a script that answers every request with *answer*."""

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(answer)

    return script


_IDLE_SECONDS = 60.0
"""Seconds without a byte after which a `Peer` closes a connection. On a busy machine a
test with a fork may keep one idle for over 10 s, and then expects it to be open."""


class Peer:
    """
    A server on loopback that runs one of *scripts* for each connection.

    The last script serves all later connections. `close` ends the threads.
    """

    def __init__(self, *scripts: Script, certificate: Path | None = None) -> None:
        self.scripts = list(scripts)
        self.certificate = certificate
        self.requests: list[tuple[bytes, bytes]] = []
        self.accepts = 0
        self.released = threading.Event()
        self._open: list[socket.socket] = []
        self._names: list[Any] = []
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = int(self._listener.getsockname()[1])
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    def watch(self, sock: socket.socket) -> None:
        """Make `close` shut down *sock*, too."""
        with self._changed:
            self._open.append(sock)

    def accepted_before_now(self) -> int:
        """Return how many connections were accepted before this call."""
        with socket.create_connection(("127.0.0.1", self.port)) as probe:
            probe_name = probe.getsockname()
            with self._changed:
                assert self._changed.wait_for(lambda: probe_name in self._names, 5)
                return self._names.index(probe_name)

    def _listen(self) -> None:
        while not self.released.is_set():
            try:
                sock, name = self._listener.accept()
            except TimeoutError:
                continue
            sock.settimeout(_IDLE_SECONDS)
            script = self.scripts[min(self.accepts, len(self.scripts) - 1)]
            with self._changed:
                self.accepts += 1
                self._names.append(name)
                self._open.append(sock)
                self._changed.notify_all()
            thread = threading.Thread(
                target=self._serve, args=(script, sock), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, script: Script, sock: socket.socket) -> None:
        connection = Connection(self, sock)
        try:
            if self.certificate:
                connection.secure(self.certificate)
            script(connection)
        except OSError:
            pass  # the client closed the connection, as many tests intend
        finally:
            connection.sock.close()

    def close(self) -> None:
        """End all threads and connections."""
        self.released.set()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._threads[0].join(5)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


def reset_after_request(connection: Connection) -> None:
    """Read the request, and reset the connection."""
    connection.request()
    connection.reset()


def send_garbage(connection: Connection) -> None:
    """Answer with something that is no HTTP."""
    connection.request()
    connection.send(b"\x00\xff\x16 this is not HTTP\r\n\r\n")


def hang_after_request(connection: Connection) -> None:
    """Read the request, and never answer."""
    connection.request()
    connection.hang()


NewHttp = Callable[..., Http]
NewPeer = Callable[..., Peer]
Certificate = Callable[[str], Path]
"""What the fixtures `http`, `peer`, and `certificate` or `trusted` return."""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Build peers from scripts."""
    peers: list[Peer] = []

    def make(*scripts: Script, certificate: Path | None = None) -> Peer:
        peers.append(Peer(*scripts, certificate=certificate))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def http() -> Iterator[Callable[..., Http]]:
    """Build transports to an address."""
    transports: list[Http] = []

    def make(
        url: str, *, timeout: float = 5.0, ignore_proxy: bool = True, key: str = KEY
    ) -> Http:
        transports.append(
            Http(url, Secret(key), timeout=timeout, ignore_proxy=ignore_proxy)
        )
        return transports[-1]

    yield make
    for transport in transports:
        transport.close()


@pytest.fixture(scope="session")
def certificate(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Build a file with a self-signed certificate and its key for a name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str) -> Path:
        path = folder / f"{name.replace(':', '-')}.pem"
        if not path.exists():
            key = folder / "key.pem"
            command = [
                *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
                *("-keyout", str(key), "-out", str(path), "-days", "2"),
                *("-subj", "/CN=test", "-addext", f"subjectAltName={name}"),
            ]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
            path.write_bytes(path.read_bytes() + key.read_bytes())
        return path

    return make


@pytest.fixture
def trusted(
    monkeypatch: pytest.MonkeyPatch, certificate: Callable[[str], Path]
) -> Callable[[str], Path]:
    """Build a certificate that this test trusts."""

    def make(name: str) -> Path:
        path = certificate(name)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        return path

    return make


class ScriptedTransport(BaseTransport):
    """A transport that returns the result of a function of the batch."""

    def __init__(self, answer: Callable[[Batch], Delivery]) -> None:
        self.answer = answer
        self.sent: list[Sequence[OdpEvent]] = []
        self.calls: list[str] = []

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.sent.append(batch.events)
        return self.answer(batch)

    def prepare(self) -> None:
        self.calls.append("prepare")

    def close(self) -> None:
        self.calls.append("close")

    def after_fork(self) -> None:
        self.calls.append("after_fork")


def fail_transiently(batch: Batch) -> Delivery:
    """Return the delivery after a transient fault."""
    return Delivery.all_pending(len(batch.events), Cause.TRANSIENT, "it will pass")


def reject_unidentified(batch: Batch) -> Delivery:
    """Return the delivery of a batch rejected without naming an event."""
    return Delivery.all_pending(len(batch.events), Cause.UNIDENTIFIED, "bad")


def is_settled(delivery: Delivery, *, rejected: int = 0) -> bool:
    """Whether nothing is pending, and *rejected* events were rejected."""
    return not delivery.pending and len(delivery.rejected) == rejected
