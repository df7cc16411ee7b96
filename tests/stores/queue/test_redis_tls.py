"""The engine for Redis over TLS: which certificates it trusts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.queue.messages import QueueError
from odp_logging._stores.queue.redis.connection import Servers
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging._stores.queue.store import QueueStore

from ...redis_server import SERVICE, RedisServer, Sentinel, find_free_port, needs_redis
from ...transports.conftest import certificate as certificate
from ..contract import event, numbers
from .redis_stores import parse_url

pytestmark = needs_redis


@pytest.fixture(scope="module")
def trusted(certificate: Callable[[str], Path]) -> Path:
    """A certificate for 127.0.0.1 only, with its key."""
    return certificate("IP:127.0.0.1")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, trusted: Path) -> Iterator[int]:
    """The port of a server that has this certificate."""
    found = find_free_port()
    home = tmp_path_factory.mktemp("redis")
    options = [f"--{line}" for line in build_tls_settings(found, trusted)]
    with RedisServer(home, *" ".join(options).split()):
        yield found


def build_tls_settings(port: int, path: Path) -> list[str]:
    """Return the lines of a configuration with TLS on *port*."""
    return [
        f"tls-port {port}",
        "tls-auth-clients no",
        f"tls-cert-file {path}",
        f"tls-key-file {path}",
        f"tls-ca-cert-file {path}",
    ]


def build_store(port: int, host: str = "127.0.0.1", **settings: Any) -> QueueStore:
    """Return a store whose connection uses TLS."""
    engine = RedisEngine(parse_url(f"rediss://{host}:{port}/0"))
    return QueueStore(engine, **settings)


def test_events_are_stored_and_leased_over_tls(port, trusted, monkeypatch):
    """The authority that SSL_CERT_FILE names is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    store = build_store(port)
    assert store.hand_over([event(1), event(2)]) == {}
    batch = store.take()
    store.settle(batch, Delivery(2))

    assert numbers(batch.events) == [1, 2]
    assert store.engine.read_depth()[:3] == (0, 0, 0)
    store.close()


def test_sentinels_and_redis_are_reached_over_tls(port, trusted, tmp_path, monkeypatch):
    """rediss+sentinel:// uses TLS for both."""
    master = RedisServer(tmp_path, port=port)  # that of the fixture, by its TLS port
    tls_port = find_free_port()
    settings = build_tls_settings(tls_port, trusted)
    with Sentinel(tmp_path / "sentinel", master, *settings):
        url = parse_url(f"rediss+sentinel://127.0.0.1:{tls_port}/{SERVICE}/0")
        with pytest.raises(QueueError, match="not trusted here"):
            RedisEngine(url).read_depth()
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        engine = RedisEngine(url)
        assert engine.read_depth()[:3] == (0, 0, 0)
        engine.close()


def test_a_certificate_of_an_unknown_authority_is_refused(port):
    """No event is sent, and the message says what to do."""
    with pytest.raises(QueueError, match=r"not trusted here; set SSL_CERT_FILE"):
        build_store(port).hand_over([event(1)])


def test_a_certificate_for_another_name_is_refused(port, trusted, monkeypatch):
    """In every version of `redis`, whose defaults differ."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with pytest.raises(QueueError, match="not trusted here"):
        build_store(port, "localhost").hand_over([event(1)])


@pytest.mark.parametrize(("version", "is_fit"), [("5.0.1", False), ("6.0.0", True)])
def test_tls_to_a_cluster_needs_checked_host_names(monkeypatch, version, is_fit):
    """redis 5 accepts the option and ignores it; this is reported at the start."""
    monkeypatch.setattr("redis.__version__", version)
    url = parse_url("rediss+cluster://127.0.0.1:1")

    with nullcontext() if is_fit else pytest.raises(ValueError, match="6 or newer"):
        Servers(url)
    Servers(parse_url("redis+cluster://127.0.0.1:1"))
