"""Certificates and TLS: which hosts are trusted, and what a broken handshake means."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import (
    ACCEPTED,
    Certificate,
    Connection,
    NewHttp,
    NewPeer,
    always,
    build_batch,
    is_all_pending,
    reply,
)


def test_a_trusted_certificate_is_accepted(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """Batches are delivered over one TLS connection."""
    server = peer(always(reply()), certificate=trusted("IP:127.0.0.1"))
    transport = http(server.url, ignore_proxy=False)
    large = build_batch(3, {str(n): "x" * 1000 for n in range(500)})

    assert transport.send(large) == ACCEPTED
    assert transport.send(build_batch()) == ACCEPTED
    assert server.accepts == 1
    assert len(server.requests[0][1]) == large.size


def test_an_unknown_certificate_is_refused(
    http: NewHttp, peer: NewPeer, certificate: Certificate
) -> None:
    """Nothing is sent to a peer with a self-signed certificate."""
    server = peer(always(reply()), certificate=certificate("IP:127.0.0.1"))

    answer = http(server.url).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert "is not trusted" in answer.message
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """Nothing is sent to a peer with a certificate for another name."""
    server = peer(always(reply()), certificate=trusted("DNS:other.invalid"))

    answer = http(server.url, ignore_proxy=False).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert server.requests == []


def test_a_missing_bundle_of_certificates_keeps_events(
    http: NewHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If REQUESTS_CA_BUNDLE does not exist, events are kept and not in doubt."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")

    assert is_all_pending(
        http("https://127.0.0.1:1", ignore_proxy=False).send(build_batch()),
        in_doubt=False,
    )


def test_an_endless_handshake_times_out(http: NewHttp, peer: NewPeer) -> None:
    """A TLS handshake that never ends times out; events are not in doubt."""
    server = peer(Connection.hang)
    transport = http(server.url.replace("http:", "https:"), timeout=0.5)

    start = time.monotonic()
    answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=False)
    assert time.monotonic() - start < 1.2


@pytest.mark.parametrize("end", [Connection.reset, lambda connection: None])
def test_a_broken_handshake_leaves_events_not_in_doubt(
    http: NewHttp, peer: NewPeer, end: Callable[[Connection], object]
) -> None:
    """A connection that ends during the handshake carried no event."""
    server = peer(lambda connection: (connection.sock.recv(10), end(connection)))

    answer = http(server.url.replace("http:", "https:")).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)


def test_plain_http_instead_of_tls_leaves_events_not_in_doubt(
    http: NewHttp, peer: NewPeer
) -> None:
    """A peer that answers a TLS handshake in plain HTTP got no event."""

    def script(connection: Connection) -> None:
        connection.sock.recv(10)
        connection.send(reply())

    answer = http(peer(script).url.replace("http:", "https:")).send(build_batch())

    assert is_all_pending(answer, in_doubt=False)


@pytest.mark.parametrize("how", ["reset", "garbage", "hang"])
def test_tls_that_breaks_after_the_request_leaves_events_in_doubt(
    http: NewHttp, peer: NewPeer, trusted: Certificate, how: str
) -> None:
    """After a TLS fault behind a sent request, the events are in doubt."""

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

    answer = http(server.url, ignore_proxy=False, timeout=1).send(build_batch())

    assert is_all_pending(answer, in_doubt=True)


def test_a_tls_peer_that_reads_slowly_times_out(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """A peer that reads a few bytes at a time cannot exceed the timeout."""

    def script(connection: Connection) -> None:
        while not connection.peer.released.wait(0.1):
            connection.sock.recv(64 * 1024)

    server = peer(script, certificate=trusted("IP:127.0.0.1"))
    transport = http(server.url, ignore_proxy=False, timeout=1)
    large = build_batch(3, {str(n): "x" * 1000 for n in range(5000)})

    start = time.monotonic()
    answer = transport.send(large)

    assert is_all_pending(answer, in_doubt=False)
    assert time.monotonic() - start < 2


def test_requests_ca_bundle_applies_to_loopback(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """REQUESTS_CA_BUNDLE applies without a proxy, as for https://localhost."""
    server = peer(always(reply()), certificate=trusted("IP:127.0.0.1"))

    assert http(server.url, ignore_proxy=True).send(build_batch()) == ACCEPTED


def test_requests_ca_bundle_may_be_a_folder(
    http: NewHttp,
    peer: NewPeer,
    certificate: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REQUESTS_CA_BUNDLE may be a folder, as for requests."""
    path = certificate("IP:127.0.0.1")
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (tmp_path / f"{done.stdout.strip()}.0").write_bytes(path.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    server = peer(always(reply()), certificate=path)

    assert http(server.url).send(build_batch()) == ACCEPTED
