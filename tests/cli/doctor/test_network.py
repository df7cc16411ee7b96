"""The doctor checks each step on the way to ODP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from odp_logging._cli.doctor.check_result import CheckResult
from odp_logging._cli.doctor.network import check_network, check_test_event
from odp_logging._config.destination import Destination
from odp_logging._runtime.secret import Secret

from ...conftest import KEY
from ...transports.conftest import Peer, Script, always, reply


def check(url: str, seconds: float = 5.0) -> dict[str, CheckResult]:
    """Check the way to *url*; return the findings by check."""
    found = list(check_network(Destination(Secret(KEY), url), seconds=seconds))
    return {result.check: result for result in found}


def test_a_closed_port_is_a_problem():
    """A port without a listener is named with its host."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = check(f"http://127.0.0.1:{port}")

    assert found["connection"].kind == "problem"
    assert found["connection"].found.startswith(f"127.0.0.1:{port} cannot be reached")


def test_an_unknown_host_is_a_problem():
    """After a host that no name server knows, nothing more is checked."""
    found = check("https://no.such.host.invalid", 20)

    assert list(found) == ["DNS"]
    assert found["DNS"].kind == "problem"


def test_a_certificate_that_expires_soon_is_a_hint(
    peer: Callable[..., Peer], certificate: Any, monkeypatch
):
    """A trusted certificate is reported with its last day."""
    # For this spelling of 127.0.0.1, the variable REQUESTS_CA_BUNDLE is read.
    path = certificate("DNS:127.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    found = check(f"https://127.1:{peer(always(reply()), certificate=path).port}")

    assert found["TLS"].kind == "hint"
    assert "TLSv1.3, the certificate of 127.1 is valid until 2" in found["TLS"].found


@pytest.mark.parametrize("name", ["IP:127.0.0.1", "DNS:elsewhere.example"])
def test_an_untrusted_certificate_is_a_problem(peer, certificate, name, monkeypatch):
    """The issuer of a certificate must be known, and its host must match."""
    path = certificate(name)
    if name.startswith("DNS"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    found = check(f"https://127.1:{peer(always(reply()), certificate=path).port}")

    assert found["TLS"].kind == "problem"
    assert "is not trusted" in found["TLS"].found


def test_a_peer_without_tls_is_a_problem(peer: Callable[[Script], Peer]):
    """A peer that answers HTTP on the port for HTTPS is reported."""
    found = check(peer(always(reply())).url.replace("http:", "https:"), 2)

    assert found["TLS"].kind == "problem"
    assert "does not speak TLS" in found["TLS"].found


@pytest.mark.parametrize("proxy", ["http://u:secret@127.0.0.1:99999", "http://[::1"])
def test_an_unusable_proxy_is_a_problem(proxy, monkeypatch):
    """A proxy that cannot be parsed is reported without its password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    destination = Destination(Secret(KEY), "https://odp.invalid")
    (found,) = check_network(destination, seconds=5)

    assert (found.kind, found.check) == ("problem", "proxy")
    assert "secret" not in found.found + found.advice


def test_a_proxy_is_checked_instead_of_the_host(peer, monkeypatch):
    """If requests go through a proxy, its address is checked."""
    proxy = peer(always(reply()))
    url = f"http://user:secret@127.0.0.1:{proxy.port}"
    monkeypatch.setenv("HTTPS_PROXY", url)
    found = check("https://api.zaius.com")

    assert found["proxy"].found.endswith(f"127.0.0.1:{proxy.port} of HTTPS_PROXY")
    assert found["connection"].kind == "ok"
    assert "TLS" not in found and "secret" not in str(found)


def test_waiting_for_an_answer_has_a_time_limit(peer):
    """A host that reads the event and does not answer is a problem."""
    silent = peer(lambda connection: connection.hang())
    found = check_test_event(Destination(Secret(KEY), silent.url), seconds=0.3)

    assert found.kind == "problem"
    assert "gave no answer" in found.found
