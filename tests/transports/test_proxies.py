"""Proxies of the environment: tunnels, TLS to the proxy, and what messages name."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odp_logging._events.delivery import Cause

from .conftest import (
    ACCEPTED,
    KEY,
    Certificate,
    Connection,
    NewHttp,
    NewPeer,
    always,
    build_batch,
    is_all_pending,
    reply,
)


@pytest.mark.odp_network
def test_a_tunnel_hides_the_key_from_the_proxy(
    http: NewHttp,
    peer: NewPeer,
    trusted: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An https request through a proxy uses a tunnel that hides key and events."""
    path = trusted("DNS:odp.invalid")

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        connection.secure(path)
        always(reply())(connection)

    proxy = peer(script)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)

    answer = http("https://odp.invalid", ignore_proxy=False).send(build_batch())

    assert answer == ACCEPTED
    (connect, _), (post, _) = proxy.requests
    assert connect.startswith(b"CONNECT odp.invalid:443 ")
    assert KEY.encode() not in connect
    assert KEY.encode() in post


@pytest.mark.odp_network
@pytest.mark.parametrize("refusal", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"garbage"])
def test_a_refused_tunnel_leaves_events_not_in_doubt(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch, refusal: bytes
) -> None:
    """If the proxy refuses the tunnel, events are kept and not in doubt."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(refusal)

    proxy = peer(script)
    monkeypatch.setenv("https_proxy", proxy.url)

    answer = http("https://odp.invalid", ignore_proxy=False).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)


@pytest.mark.odp_network
@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        (
            "socks5h://u:secret@[::1]:1",
            "names a SOCKS proxy, which is not supported",
        ),
        ("ftp://u:secret@127.0.0.1:1", "names a proxy that is neither http nor https"),
        ("http://u:secret@", "is not the address of a proxy"),
        ("http://u:secret@[", "is not the address of a proxy"),
        ("http://u:secret@proxy:port", "is not the address of a proxy"),
    ],
)
@pytest.mark.parametrize("setting", ["HTTPS_PROXY", "ALL_PROXY"])
def test_the_message_names_the_variable_of_an_unusable_proxy(
    http: NewHttp,
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
    message: str,
    setting: str,
) -> None:
    """The message names the variable of the proxy as the cause, not its value."""
    monkeypatch.setenv(setting, proxy)

    answer = http("https://odp.invalid", ignore_proxy=False).send(build_batch())

    assert answer.cause is Cause.MISCONFIGURED
    assert answer.message == (
        f"https://odp.invalid cannot be reached: {setting} {message}"
    )
    assert "HTTPS_PROXY" in answer.advice and "api_key" not in answer.advice
    assert "secret" not in repr(answer)


@pytest.mark.odp_network
def test_the_message_names_an_unreachable_proxy(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable proxy is named with its address, without its password."""
    gone = peer(always(reply()))
    gone.close()
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:secret@127.0.0.1:{gone.port}")

    answer = http("https://odp.invalid", ignore_proxy=False).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert answer.message == (
        "https://odp.invalid gave no answer through the proxy"
        f" 127.0.0.1:{gone.port} of HTTPS_PROXY:"
        f" 127.0.0.1:{gone.port} refused the connection"
    )
    assert "HTTPS_PROXY" in answer.advice


@pytest.mark.odp_network
def test_the_message_names_a_proxy_that_refuses_a_tunnel(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the status of the refusal; the proxy gets the login."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 407 Go\x1b[31m away\r\n\r\n")

    proxy = peer(script)
    monkeypatch.setenv("HTTPS_PROXY", f"http://u%40x:s%3At@127.0.0.1:{proxy.port}")

    answer = http("https://odp.invalid", ignore_proxy=False).send(build_batch())

    assert answer.message == (
        "https://odp.invalid gave no answer through the proxy"
        f" 127.0.0.1:{proxy.port} of HTTPS_PROXY: it answered 407 to CONNECT"
    )
    login = base64.b64encode(b"u@x:s:t")
    assert b"\r\nProxy-Authorization: Basic " + login in proxy.requests[0][0]


@pytest.mark.odp_network
def test_a_proxy_may_use_tls(
    http: NewHttp,
    peer: NewPeer,
    certificate: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an https proxy, the tunnel to the host is within TLS to the proxy."""
    outer, inner = certificate("IP:127.0.0.1"), certificate("DNS:odp.invalid")
    both = tmp_path / "both.pem"
    both.write_bytes(outer.read_bytes() + inner.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(both))
    connects = []

    def script(connection: Connection) -> None:
        head, _ = connection.request()
        connects.append(head)
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        _serve_tls_in_tls(connection.sock, inner)

    proxy = peer(script, certificate=outer)
    monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")

    assert (
        http("https://odp.invalid", ignore_proxy=False).send(build_batch()) == ACCEPTED
    )
    assert connects[0].startswith(b"CONNECT odp.invalid:443 ")


def _serve_tls_in_tls(sock: socket.socket, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = context.wrap_bio(come, go, server_side=True)

    def run(step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
                sock.sendall(go.read())
                return result
            except ssl.SSLWantReadError:
                sock.sendall(go.read())
                come.write(sock.recv(65536))

    run(inner.do_handshake)
    asked = b""
    while not asked.endswith(b"}]"):
        asked += run(lambda: inner.read(65536))
    run(lambda: inner.write(reply()))
    sock.recv(10)


@pytest.mark.odp_network
def test_a_proxy_of_the_environment_is_used(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to another host goes through the proxy of the environment."""
    proxy = peer(always(reply()))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)

    answer = http("http://odp.invalid", ignore_proxy=False).send(build_batch())

    assert answer == ACCEPTED
    ((head, _),) = proxy.requests
    assert head.startswith(b"POST http://odp.invalid/v3/events HTTP/1.1\r\n")


def test_ignore_proxy_uses_no_proxy(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ignore_proxy, as for loopback, proxies of the environment are not used."""
    proxy, server = peer(always(reply(503))), peer(always(reply()))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)

    assert http(server.url, ignore_proxy=True).send(build_batch()) == ACCEPTED
    assert proxy.accepted_before_now() == 0


@pytest.mark.odp_network
def test_an_unreachable_proxy_leaves_events_not_in_doubt(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the proxy cannot be reached, nothing was sent."""
    gone = peer(always(reply()))
    gone.close()
    monkeypatch.setenv("http_proxy", gone.url)

    answer = http("http://odp.invalid", ignore_proxy=False).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)


@pytest.mark.odp_network
def test_a_proxy_that_resets_leaves_events_in_doubt(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that read the request and reset may have forwarded it."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.reset()

    monkeypatch.setenv("http_proxy", peer(script).url)

    answer = http("http://odp.invalid", ignore_proxy=False).send(build_batch())

    assert is_all_pending(answer, in_doubt=True)
