"""A peer that does what no sane server does, and what is sent to it."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging._delivery import Cause, Delivery
from odp_logging._event import OdpEvent
from odp_logging._secret import Secret
from odp_logging.emulator import Emulator
from odp_logging.stores._base import Batch
from odp_logging.transports._http import Http

KEY = "the-key-for-nobody-else"

ACCEPTED = Delivery(3)


def reply(status: int = 202, body: bytes = b"{}", *headers: str) -> bytes:
    """Return the bytes of a whole answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def a_batch(count: int = 3, data: Any = None, *, action: str = "seen") -> Batch:
    """Return *count* events of distinct people."""
    return Batch([OdpEvent(action, {"user": f"u{n}"}, data=data) for n in range(count)])


def kept(answer: Delivery, *, in_doubt: bool) -> bool:
    """Whether all of three events are pending for a passing fault, in doubt or not."""
    return (
        answer.pending == (0, 1, 2)
        and answer.cause is Cause.PASSING
        and answer.in_doubt == ({0, 1, 2} if in_doubt else set())
    )


def ids(body: bytes) -> list[str]:
    """Return the idempotence ids in a request's *body*."""
    return [event["data"]["idempotence_id"] for event in json.loads(body)]


class Connection:
    """One accepted connection, as a script sees it."""

    def __init__(self, peer: Peer, sock: socket.socket) -> None:
        self.peer = peer
        self.sock = sock

    def request(self) -> tuple[bytes, bytes]:
        """Read one request and note it; raise ConnectionError if there is none."""
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
        """Do nothing until the test is over."""
        self.peer.released.wait(20)

    def secure(self, certificate: Path) -> None:
        """Go on under TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.peer.watch(self.sock)


Script = Callable[[Connection], object]


def replies(*answers: bytes) -> Script:
    """Return a script that gives each of *answers* to a request, then closes."""

    def script(connection: Connection) -> None:
        for answer in answers:
            connection.request()
            connection.send(answer)

    return script


def always(answer: bytes) -> Script:
    """Return a script that gives *answer* to every request."""

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(answer)

    return script


class Peer:
    """
    A listener on loopback that follows *scripts*, one for each connection.

    The last one serves all later connections. Its threads end with `close`.
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
        """The address to send to."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    def watch(self, sock: socket.socket) -> None:
        """Have `close` end *sock* too."""
        with self._changed:
            self._open.append(sock)

    def accepted_before_now(self) -> int:
        """Return how many connections came before this call, none overlooked."""
        with socket.create_connection(("127.0.0.1", self.port)) as probe:
            mine = probe.getsockname()
            with self._changed:
                assert self._changed.wait_for(lambda: mine in self._names, 5)
                return self._names.index(mine)

    def _listen(self) -> None:
        while not self.released.is_set():
            try:
                sock, name = self._listener.accept()
            except TimeoutError:
                continue
            sock.settimeout(10)
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
            pass  # the client has gone, which many tests are about
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
    """Make peers of scripts."""
    made: list[Peer] = []

    def make(*scripts: Script, certificate: Path | None = None) -> Peer:
        made.append(Peer(*scripts, certificate=certificate))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def http() -> Iterator[Callable[..., Http]]:
    """Make transports to an address."""
    made: list[Http] = []

    def make(
        url: str, *, timeout: float = 5.0, direct: bool = True, key: str = KEY
    ) -> Http:
        made.append(Http(url, Secret(key), timeout=timeout, direct=direct))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def odp() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def certificate(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Make a self-signed certificate, with its key, for a name."""
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
