"""Stream over TLS: whom it trusts, and what it says where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from odp_logging._delivery import Delivery
from odp_logging.stores import _servers
from odp_logging.stores._parcels import QueueError
from odp_logging.stores.redis import Stream

from ..redis_server import RedisServer, free_port, needs_redis
from ..transports.conftest import certificate as certificate
from .contract import event, numbers
from .test_redis import url_of

pytestmark = needs_redis


@pytest.fixture(scope="module")
def trusted(certificate: Callable[[str], Path]) -> Path:
    """A certificate for 127.0.0.1 and no other name, with its key."""
    return certificate("IP:127.0.0.1")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, trusted: Path) -> Iterator[int]:
    """Where a server speaks TLS, with that certificate."""
    found = free_port()
    options = ["--tls-port", found, "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", trusted, "--tls-key-file", trusted]
    options += ["--tls-ca-cert-file", trusted]
    home = tmp_path_factory.mktemp("redis")
    with RedisServer(home, *map(str, options)):
        yield found


def made(port: int, host: str = "127.0.0.1", **changes: Any) -> Stream:
    """Return a stream that speaks TLS."""
    return Stream(url_of(f"rediss://{host}:{port}/0"), **changes)


def test_events_come_and_go_over_tls(port, trusted, monkeypatch):
    """A certificate of an authority that SSL_CERT_FILE names is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    stream = made(port)
    assert stream.hand_over([event(1), event(2)]) == {}
    batch = stream.take()
    stream.settle(batch, Delivery(2))

    assert numbers(batch.events) == [1, 2]
    assert stream.depth()[:3] == (0, 0, 0)
    stream.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(port):
    """Nothing is handed over, and the message says what to do."""
    with pytest.raises(QueueError, match=r"not trusted here; name .* SSL_CERT_FILE"):
        made(port).hand_over([event(1)])


def test_a_certificate_for_another_name_is_refused(port, trusted, monkeypatch):
    """Whatever the version of the library, and its default."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with pytest.raises(QueueError, match="not trusted here"):
        made(port, "localhost").hand_over([event(1)])


@pytest.mark.parametrize(("version", "is_fit"), [("5.0.1", False), ("6.0.0", True)])
def test_a_cluster_whose_names_are_not_checked_is_refused(monkeypatch, version, is_fit):
    """redis 5 takes the option and leaves it out: said at once, not found out later."""
    monkeypatch.setattr("redis.__version__", version)
    url = url_of("rediss+cluster://127.0.0.1:1")

    with nullcontext() if is_fit else pytest.raises(ValueError, match="6 or newer"):
        _servers.Servers(url)
    _servers.Servers(url_of("redis+cluster://127.0.0.1:1"))
