"""The URL of a queue: its parts, and that its password is never shown."""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient, OdpHandler, OdpProcessor
from odp_logging._cli.main import main
from odp_logging._config.queue_url import QueueUrl, parse_queue_url
from odp_logging._runtime.secret import OpaqueSecret

from ..hostile.test_secrets import everything_of, our_frames
from ..redis_server import needs_redis

SECRET = "S3cretPassw0rdXq7Z"


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a queue with a password, on a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"redis://shop:{SECRET}@127.0.0.1:{probe.getsockname()[1]}/0?shards=2"


@needs_redis
@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_nothing_shows_the_password(kind, url, caplog):
    """repr, str, vars, pickles and log lines at any level are clean."""
    caplog.set_level(logging.DEBUG)
    owner = kind(queue_url=url, shutdown_timeout=0, handle_sigterm=False)
    client = owner if kind is OdpClient else owner.client
    client.send_odp_event("sold", {"email": "a@example.com"})
    client.flush(0.5)
    dispatcher = client._destinations.flusher._dispatcher
    guard = dispatcher._transport._inner
    handoff = guard._inner
    engine = handoff._queue.engine
    parts = [
        owner,
        client,
        client._config,
        client._config.target(),
        client._destinations.flusher,
    ]
    parts += [client._destinations.flusher.store, dispatcher, guard, handoff, engine]
    parts += [engine._servers, engine._servers._open_client(1.0)]
    client._destinations.flusher.abandon("test")

    assert SECRET not in "".join("".join(everything_of(part)) for part in parts)
    assert SECRET.encode() not in pickle.dumps(owner)
    assert "refused the connection" in caplog.text
    assert SECRET not in caplog.text + "".join(str(vars(r)) for r in caplog.records)


@needs_redis
def test_a_pickle_does_not_contain_the_queue(url):
    """A spawned process reads ODP_QUEUE_URL itself."""
    client = OdpClient(queue_url=url, max_batch_size=7, handle_sigterm=False)
    copy = pickle.loads(pickle.dumps(client))

    assert copy._config.queue_url is None
    assert copy._config.max_batch_size == 7


@pytest.mark.parametrize(
    "bad",
    [
        f"redis://:{SECRET}@host:99999/0",
        f"redis://:{SECRET}@host/0?shards=none",
        f"redis://:{SECRET}@host/0?password={SECRET}",
        f"kaffka://:{SECRET}@host/0",
        f"redis://:{SECRET}@/0",
        f"redis://:{SECRET}@host/0#x",
        f"{SECRET}",
        f"redis://:{SECRET}\n@host",
        [SECRET],
        f"redis://${{NO_SUCH}}:{SECRET}@host",
        f"redis+sentinel://:{SECRET}@host",
        f"redis://:{SECRET}@host/events",
        f"redis+cluster://:{SECRET}@host/1",
        f"redis://:{SECRET}@host,other/0",
    ],
    ids=range(14),  # pytest puts a test's name into the environment
)
@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_tracebacks_with_locals_do_not_show_the_password(kind, bad):
    """An error about the URL, printed with local variables, shows no part of it."""

    def construct(given: Any) -> None:
        kind(queue_url=given)

    with pytest.raises(ConfigurationError) as caught:
        construct(bad)
    frames = our_frames(caught.value)
    assert frames
    assert SECRET not in "".join(frames)
    assert SECRET[-4:] not in "".join(frames)
    assert SECRET not in str(caught.value)


def test_a_traceback_does_not_show_the_environment(monkeypatch):
    """An error about another setting does not show ODP_QUEUE_URL."""
    monkeypatch.setenv("ODP_QUEUE_URL", f"redis://:{SECRET}@host/0")
    with pytest.raises(ConfigurationError) as caught:
        OdpClient(max_batch_size=0)
    shown = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )

    assert SECRET not in "".join(shown.format())


def test_a_bad_url_of_the_environment_is_not_quoted(monkeypatch, caplog):
    """It raises; otherwise events would be sent to ODP directly."""
    monkeypatch.setenv("ODP_QUEUE_URL", f"redis://:{SECRET}@host/0?shards=x")
    with pytest.raises(ConfigurationError) as caught:
        OdpClient("key-of-a-test", handle_sigterm=False)

    shown = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    assert "ODP_QUEUE_URL cannot be used: expected a URL such as" in str(caught.value)
    assert SECRET not in "".join(shown.format()) + caplog.text


@needs_redis
def test_commands_do_not_show_the_password(url, capsys):
    """They name the queue without user and password."""
    assert main(["relay", "status", "--from", url]) == 2
    output = capsys.readouterr()

    assert "refused the connection" in output.err
    assert SECRET not in output.out + output.err
    assert "shop:" not in output.out + output.err


def parse_good_url(text: str) -> QueueUrl:
    """Return the parts of a valid URL."""
    url = parse_queue_url(OpaqueSecret(text))
    assert isinstance(url, QueueUrl), url
    return url


def test_a_url_has_its_parts():
    """Hosts, database, credentials and options; only a host is required."""
    url = parse_good_url(
        "rediss+cluster://us%40er:p%2Fw@a:1,[::1]:2,c/3?stream=s:e&shards=4"
        "&account=shop&high_water=9"
    )

    assert url.engine == "redis" and url.is_private and url.variants == ("cluster",)
    assert url.hosts == (("a", 1), ("::1", 2), ("c", None))
    assert url.path == "3"
    assert url.credentials.get_secret_value() == ("us@er", "p/w")
    assert (url.get_option("stream"), url.get_option("shards")) == ("s:e", 4)
    assert (url.alias, url.high_water) == ("shop", 9)
    assert parse_good_url("redis://h").credentials.get_secret_value() == (None, None)
    assert url.display_url == "rediss+cluster://a:1,[::1]:2,c/3?stream=s:e"
    assert parse_good_url("REDIS://[::1]#").hosts == (("::1", None),)


@pytest.mark.parametrize(
    "text",
    [
        "rediss+cluster://a:1,[::1:2",
        "redis://[::1]x:2",
        "redis://a,[::1]]",
        "redis://",
        "redis:///0",
        "//h/0",
        "redis://h/0#here",
        "redis://h/0?stream=s#here",
        "redis:/h",
        "+redis://h",
    ],
)
def test_a_text_that_is_no_url_of_a_queue_is_refused(text):
    """Bad brackets, a fragment or missing parts, on every Python."""
    assert str(parse_queue_url(OpaqueSecret(text))).startswith("a URL such as redis://")


def test_a_new_password_does_not_move_the_spool():
    """The part of its file names does not depend on the credentials."""
    one, two = parse_good_url("redis://:old@h/0"), parse_good_url("redis://:new@h/0")

    assert one.fingerprint == two.fingerprint
    assert (
        one.fingerprint != parse_good_url("redis://:old@h/0?account=other").fingerprint
    )
