"""One test for each threat, through the public names; the details are elsewhere.

The key, in
- repr, vars, copies, pickles: test_the_key_in_values; test_secrets
- stacks and tracebacks that show local variables: test_the_key_in_callbacks_stacks,
  test_the_key_in_an_interrupted_request; test_secrets
- logs at DEBUG, http.client's output: test_the_key_in_logs; tests/transports/test_http
- process list, dumps, crashes: test_the_key_in_processes
- redirects: test_redirects; tests/transports/test_http

Settings:
- plain http to anything but loopback: test_plain_http; test_config
- CR, LF, blanks, anything but ASCII in the key: test_broken_keys; test_config

The network:
- .netrc, proxies: test_netrc, test_a_proxy_sees_no_key; tests/transports/test_proxies
- certificates: test_unknown_certificates; tests/transports/test_tls
- answers without end: test_hostile_answers; tests/transports/test_http

Values that raise, log, are rings, deep or large: test_hostile_values;
test_normalisation, test_event.

Records of our own HTTP stack that come back: test_our_own_records; test_handler.

The emulator:
- foreign hosts: test_foreign_hosts; emulator/test_server
- foreign pages: test_foreign_pages; emulator/test_server
- markup in values: test_markup; emulator/test_page, in a browser
"""

from __future__ import annotations

import copy
import http.client
import io
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import odp_logging
from odp_logging import ConfigurationError, OdpClient, OdpHandler, OdpProcessor
from odp_logging.emulator import Emulator

from ..journeys.pythons import ROOT, Program
from ..transports.conftest import Connection, Peer, Script, always, reply
from ..transports.conftest import _plain_environment as _plain_environment
from ..transports.conftest import certificate as certificate
from ..transports.conftest import peer as peer

SECRET = "W4WzcEs-ABgXorzY7h1LCQ"
PACKAGE = os.path.dirname(odp_logging.__file__) + os.sep
WHO = {"fs_user_id": "u1"}

NewPeer = Callable[..., Peer]


@pytest.fixture
def make() -> Iterator[Callable[..., OdpClient]]:
    """Make clients with the key, which wait for nothing at their end."""
    made: list[OdpClient] = []

    def new(url: str | None = None, **settings: Any) -> OdpClient:
        given = {"shutdown_timeout": 0, "handle_sigterm": False, **settings}
        made.append(OdpClient(SECRET, api_host=url, **given))
        return made[-1]

    yield new
    for client in made:
        client._destinations.flusher.abandon("test")
        client.close(5)


def settled(client: OdpClient) -> bool:
    """Make one attempt to send what is there; say whether all of it has left."""
    client._destinations.flusher.step(time.monotonic() + 5)
    return client.stats.pending == 0


# The key.


@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: x])
def test_the_key_in_values(kind: type, copied: Callable[[Any], Any]) -> None:
    """Neither what holds the key nor a copy or pickle of it shows it."""
    thing = copied(kind(api_key=SECRET))
    client = thing if kind is OdpClient else thing.client
    parts = [thing, client, client._config, client.stats, vars(thing), vars(client)]

    assert SECRET not in "".join(f"{part!r} {part}" for part in parts)
    assert SECRET.encode() not in pickle.dumps(thing)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(client._config)


class Spy:
    """Calls that take down the stack they are called from, with its variables."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def look(self) -> None:
        """Note the library's frames above, as a debugger shows them."""
        stack = traceback.StackSummary.extract(
            traceback.walk_stack(None), capture_locals=True
        )
        mine = [frame for frame in stack if frame.filename.startswith(PACKAGE)]
        assert mine
        self.shown += [f"{frame.name} {frame.locals}" for frame in mine]

    def __call__(self, *ignored: object) -> Any:
        self.look()
        raise RuntimeError("the application's own")

    def __str__(self) -> str:
        self.look()
        return "spy"


def test_the_key_in_callbacks_stacks(
    make: Callable[..., OdpClient], emulator: Emulator
) -> None:
    """Callbacks and values that show the whole stack above them show no key."""
    spies = [Spy() for _ in range(4)]
    with Emulator() as odp:
        odp.fault(match="poison")
        client = make(odp.url, on_delivery=spies[0], on_drop=spies[1])
        broken = make(odp.url, before_send=spies[2])
        client.send_odp_event("viewed", WHO, data={"value": spies[3]})
        client.send_odp_event("viewed", WHO, data={"value": "poison"})
        broken.send_odp_event("viewed", WHO)
        assert client.flush(5)
        assert broken.flush(5)

    assert all(spy.shown for spy in spies)
    assert all(SECRET not in text for spy in spies for text in spy.shown)


class Interruption(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


def _reads_all(connection: Connection) -> None:
    connection.request()


def _reads_the_head(connection: Connection) -> None:
    connection.sock.recv(4096)


@pytest.mark.parametrize("script", [_reads_all, _reads_the_head])
def test_the_key_in_an_interrupted_request(
    make: Callable[..., OdpClient], peer: NewPeer, script: Script
) -> None:
    """Ctrl-C within a request on the caller's thread: the traceback shows no key.

    Not that of what was being handled either, whose variables are left as they are.
    """
    main = threading.main_thread().ident
    assert main is not None

    def interrupt(connection: Connection) -> None:
        script(connection)
        signal.pthread_kill(main, signal.SIGUSR1)
        connection.hang()

    def handle(signum: int, frame: object) -> None:
        raise Interruption

    def fail() -> None:
        kept = "the application's variable"
        raise ValueError(kept)

    before = signal.signal(signal.SIGUSR1, handle)
    client = make(peer(interrupt).url, background=False, max_queue_bytes=2**25)
    large = {f"text{n}": "x" * 1000 for n in range(9000)}
    try:
        with pytest.raises(Interruption) as caught:
            try:
                fail()
            except ValueError:
                client.send_odp_event("viewed", WHO, data=large)
    finally:
        signal.signal(signal.SIGUSR1, before)
    text = ""
    error: BaseException | None = caught.value
    while error is not None:  # one by one: urllib3 1.26 has the context not shown
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        text += "".join(shown.format(chain=False))
        error = error.__context__

    assert "requests" in text
    assert 'kept = "the application\'s variable"' in text
    assert SECRET not in text
    assert client.stats.pending == 1


def test_the_key_in_logs(
    make: Callable[..., OdpClient],
    peer: NewPeer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither loggers at DEBUG nor http.client's own output show key or events."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    quoting = json.dumps({"detail": {"message": f"no such key {SECRET}"}}).encode()
    server = peer(always(reply(403, quoting)))
    client = make(server.url)
    client.send_odp_event("viewed", {"email": "a@example.com"}, data={"card": "4111"})
    assert not settled(client)
    requests.get(server.url, timeout=5)  # somebody else's is shown, so it was on

    out, err = capfd.readouterr()
    text = caplog.text + "".join(str(vars(each)) for each in caplog.records)
    assert "User-Agent: python-requests" in out
    assert "POST /v3/events" not in text
    assert "answered 403" in text
    for private in (SECRET, "a@example.com", "4111"):
        assert private not in out + err + text + repr(client.stats)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux")
def test_the_key_in_processes(peer: NewPeer) -> None:
    """Process list, thread names, -X dev, faulthandler and a crash show no key."""
    served = threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        served.set()
        connection.hang()

    settings = {
        "api_key": SECRET,
        "api_host": peer(script).url,
        "flush_interval": 0.01,
        "shutdown_timeout": 0.1,
    }
    environment = {f"ODP_{name.upper()}": str(it) for name, it in settings.items()}
    environment |= {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    program = str(ROOT / "tests" / "journeys" / "programs" / "secret.py")
    command = [sys.executable, "-X", "dev", program]
    with Program(command, environment) as running:
        assert running.read_line() == "ready"
        assert served.wait(20)
        pid = str(running.process.pid)
        listed = Path("/proc", pid, "cmdline").read_bytes().decode()
        names = [each.read_text() for each in Path("/proc", pid).glob("task/*/comm")]
        ps = subprocess.run(
            ["ps", "-L", "-ww", "-o", "comm,args", "-p", pid],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        ended = running.end()

    assert ended.status == 1
    assert "secret.py" in listed and "secret.py" in ps.stdout
    assert "most recent call first" in ended.err  # faulthandler
    assert "urllib3" not in ended.err  # at DEBUG
    assert "RuntimeError: <OdpHandler" in ended.err
    assert len(names) > 1
    assert SECRET not in "".join([listed, *names, ps.stdout, ended.out, ended.err])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(make: Callable[..., OdpClient], peer: NewPeer, status: int) -> None:
    """A redirect to another host is not followed: it gets no connection and no key."""
    other = peer(always(reply()))
    server = peer(always(reply(status, b"", f"Location: {other.url}/v3/events")))
    client = make(server.url)
    client.send_odp_event("viewed", WHO)

    assert not settled(client)
    assert client.stats.requests == len(server.requests) == 1
    assert other.accepted_before_now() == 0
    assert other.requests == []


# Settings.


@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
@pytest.mark.parametrize(
    "host",
    [
        "http://api.zaius.com",
        "HTTP://api.zaius.com",
        "http://0.0.0.0",
        "http://10.0.0.1:8181",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "http://example.com#@127.0.0.1",
        "http://example.com\\@127.0.0.1",
        "http://[::ffff:10.0.0.1]",
    ],
)
def test_plain_http(kind: type, host: str) -> None:
    """Plain http to anything but this machine is refused, wherever it is given."""
    datafile = {"integrations": [{"key": "odp", "host": host, "publicKey": SECRET}]}
    for settings in ({"api_key": SECRET, "api_host": host}, {"datafile": datafile}):
        with pytest.raises(ConfigurationError, match="cannot be used: expected a URL"):
            kind(**settings)
    with pytest.raises(ConfigurationError, match="cannot be used: expected a URL"):
        OdpClient(SECRET).configure(api_host=host)


def test_plain_http_says_why() -> None:
    """The reason is that the network would see the key."""
    with pytest.raises(ConfigurationError, match="would show the key to the network"):
        OdpClient(SECRET, api_host="http://api.zaius.com")


@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
@pytest.mark.parametrize(
    "tail", ["\n", "\r", "\r\nX-Evil: 1", "\x00", " ", "\t", "\x7f", "é", "ł", "日"]
)
def test_broken_keys(kind: type, tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys with line breaks, blanks or beyond ASCII are refused wherever given."""
    key = f"{SECRET}{tail}{SECRET}"
    host = "https://api.zaius.com"
    datafile = {"integrations": [{"key": "odp", "host": host, "publicKey": key}]}
    for settings in ({"api_key": key}, {"datafile": datafile}):
        with pytest.raises(ConfigurationError, match="printable ASCII") as caught:
            kind(**settings)
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match="printable ASCII"):
        OdpClient().configure(api_key=key)
    if tail != "\x00":  # no variable can hold it
        monkeypatch.setenv("ODP_API_KEY", key)
        assert OdpClient()._config.api_key is None


# The network.


def test_netrc(make: Callable[..., OdpClient], peer: NewPeer) -> None:
    """A .netrc that knows the host adds no Authorization header."""
    netrc = Path(os.environ["HOME"], ".netrc")
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    server = peer(always(reply()))
    client = make(server.url)
    client.send_odp_event("viewed", WHO)

    assert settled(client)
    ((head, _),) = server.requests
    assert f"x-api-key: {SECRET}\r\n".encode() in head
    assert b"authorization" not in head.lower()


@pytest.mark.odp_network
def test_a_proxy_sees_no_key(
    make: Callable[..., OdpClient],
    peer: NewPeer,
    certificate: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy of the environment is used, and sees neither key nor events."""
    path = certificate("DNS:odp.invalid")
    seen = []

    def script(connection: Connection) -> None:
        seen.append(connection.request())
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        connection.secure(path)
        always(reply())(connection)

    proxy = peer(script)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = make("https://odp.invalid")
    client.send_odp_event("viewed", WHO)

    assert settled(client)
    ((head, body),) = seen
    assert head.startswith(b"CONNECT odp.invalid:443 ")
    assert (SECRET.encode() in head, body) == (False, b"")
    assert SECRET.encode() in proxy.requests[-1][0]  # in the tunnel


@pytest.mark.parametrize("switch", ["", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_unknown_certificates(
    make: Callable[..., OdpClient],
    peer: NewPeer,
    certificate: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    switch: str,
) -> None:
    """A certificate that nobody vouches for gets nothing; no variable changes that."""
    if switch:
        monkeypatch.setenv(switch, "")
    server = peer(always(reply()), certificate=certificate("DNS:localhost"))
    client = make(f"https://localhost:{server.port}")
    client.send_odp_event("viewed", WHO)

    assert not settled(client)
    assert "is not trusted" in str(client.stats.last_error)
    assert server.requests == []


def _endless(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 503 No\r\nContent-Length: 268435456\r\n\r\n")
    for _ in range(1024):
        connection.send(bytes(256 * 1024))


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(bytes(2**20)) for _ in range(64)]
    return b"".join(packed) + packer.flush()


def _packed(connection: Connection) -> None:
    always(reply(503, _bomb(), "Content-Encoding: gzip"))(connection)


def _many_headers(connection: Connection) -> None:
    always(reply(503, b"", *[f"X-{n}: {n}" for n in range(500)]))(connection)


def _dribbling(connection: Connection) -> None:
    connection.request()
    connection.dribble(reply(503, bytes(10_000)))


@pytest.mark.parametrize("script", [_endless, _packed, _many_headers, _dribbling])
def test_hostile_answers(
    make: Callable[..., OdpClient], peer: NewPeer, script: Script
) -> None:
    """An answer of any size, shape or length takes little memory and bounded time."""
    client = make(peer(script).url, timeout=1)
    client._destinations.flusher._dispatcher.prepare()
    client.send_odp_event("viewed", WHO)
    began = time.monotonic()
    tracemalloc.start()
    try:
        assert not settled(client)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert time.monotonic() - began < 5
    assert peak < 8 * 2**20
    assert client.stats.pending == 1


# Values.


class Raising:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemError("no attributes")

    def __str__(self) -> str:
        raise SystemError("no text")

    __repr__ = __str__


class Logging:
    """Logs when it is made to text."""

    def __init__(self, client: OdpClient) -> None:
        self._client = client

    def __str__(self) -> str:
        self._client.send_odp_event("nested", WHO)
        return "logged"


def test_hostile_values(client: OdpClient, emulator: Emulator) -> None:
    """Whatever is logged, the caller sees no exception and the others arrive."""
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    large = "x" * 100_000_000
    values = [Raising(), Logging(client), ring, deep, large, "\ud800", float("nan")]
    began = time.monotonic()
    for value in values:
        client.send_odp_event("viewed", WHO, data={"value": value})
        client.send_odp_event("viewed", {"fs_user_id": "u1", "email": value})
        client.send_odp_event(value, value, value, value)  # type: ignore[arg-type]
    client.send_odp_event("bought", WHO)
    seconds = time.monotonic() - began
    while deep != "end":  # CPython to 3.11 recurses when it frees it at once
        deep = deep[0]

    assert client.flush(30)
    assert seconds < 5
    sent = [each["event"]["action"] for each in emulator.events()]
    assert sent.count("viewed") == 2 * len(values)
    assert sent.count("bought") == 1
    assert emulator.stats()["rejected"] == 0
    stats = client.stats
    assert stats.accepted == stats.delivered + sum(stats.rejected.values())


def test_our_own_records(emulator: Emulator) -> None:
    """What requests and urllib3 log while we send is no event, whatever it says."""
    root = logging.getLogger()
    level = root.level
    # Long enough to go round many times, were there a loop.
    with OdpClient(
        api_host=emulator.url,
        api_key="test-key-that-nobody-may-see",
        flush_interval=0.01,
        handle_sigterm=False,
    ) as client:
        handler = OdpHandler(client=client)

        class Tagging(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                record.__dict__.update(odp_action="looped", odp_identifiers=WHO)

        tagging = Tagging()
        root.addHandler(tagging)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            logging.getLogger("shop").info("bought")
            assert client.flush(5)
            assert client.flush(5)
        finally:
            root.removeHandler(tagging)
            root.removeHandler(handler)
            root.setLevel(level)

        assert client.stats.accepted == emulator.stats()["unique"] == 1


# The emulator.


def ask(emulator: Emulator, head: str, body: bytes = b"") -> bytes:
    """Send a request as it stands; return the whole answer."""
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        lines = f"{head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(lines.encode() + body)
        answer = io.BytesIO()
        while part := connection.recv(65_536):
            answer.write(part)
    return answer.getvalue()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "0.0.0.0"])
def test_foreign_hosts(emulator: Emulator, host: str) -> None:
    """A name that was made to lead here (DNS rebinding) opens no page and no data."""
    for path in ("/", "/stats", "/_emulator/events", "/_emulator/stream", "/v3/events"):
        answer = ask(emulator, f"GET {path} HTTP/1.1\r\nHost: {host}")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\nforeign host\n")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_foreign_pages(emulator: Emulator, kind: str) -> None:
    """What a page from elsewhere can send without asking changes nothing here."""
    fault = b'{"status": 503}'
    own = f"Host: {emulator.url.removeprefix('http://')}\r\nContent-Type: {kind}"
    foreign = f"{own}\r\nOrigin: http://evil.example"
    faults = "POST /_emulator/faults HTTP/1.1\r\n"

    token = f"\r\nAuthorization: Bearer {emulator.token}"
    assert ask(emulator, faults + own + token, fault).startswith(b"HTTP/1.1 415 ")
    assert ask(emulator, faults + foreign, fault).startswith(b"HTTP/1.1 403 ")
    answer = ask(emulator, f"GET /_emulator/events HTTP/1.1\r\n{foreign}")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"access-control" not in answer.lower()
    assert emulator.stats()["faults_active"] == 0


def test_markup(client: OdpClient, emulator: Emulator) -> None:
    """Values reach the page as data, and the page cannot make markup of them."""
    hostile = "</script><img src=x onerror=alert(1)>"
    own = f"Host: {emulator.url.removeprefix('http://')}"
    own += f"\r\nAuthorization: Bearer {emulator.token}"
    before = ask(emulator, f"GET / HTTP/1.1\r\n{own}").decode()
    client.send_odp_event(hostile, {"email": hostile}, data={hostile: hostile})
    assert client.flush(5)
    page = ask(emulator, f"GET / HTTP/1.1\r\n{own}").decode()
    events = ask(emulator, f"GET /_emulator/events HTTP/1.1\r\n{own}").decode()
    head, _, source = page.partition("\r\n\r\n")

    assert hostile not in page
    assert hostile in events and "Content-Type: application/json\r\n" in events
    assert "X-Content-Type-Options: nosniff\r\n" in events
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in head
    assert "default-src 'none'" in head and "unsafe" not in head
    writers = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc"
    assert not re.search(writers, source)
    assert source == before.partition("\r\n\r\n")[2]
