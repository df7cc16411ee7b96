"""A queue's URL: what it may say, and that its password appears nowhere."""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from odp_logging import ConfigurationError, OdpClient, OdpHandler, OdpProcessor
from odp_logging._cli import main
from odp_logging._secret import Hidden
from odp_logging.stores._url import QueueUrl, read_url

from ..redis_server import needs_redis
from ..test_secrets import everything_of, our_frames

SECRET = "S3cretPassw0rdXq7Z"


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a queue with a password, where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://shop:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/0?shards=2"


@needs_redis
@pytest.mark.parametrize("kind", [OdpClient, OdpHandler, OdpProcessor])
def test_nothing_shows_the_password(kind, url, caplog):
    """repr, str, vars, pickles and log lines at any level are clean."""
    caplog.set_level(logging.DEBUG)
    thing = kind(queue_url=url, shutdown_timeout=0, handle_sigterm=False)
    client = thing if kind is OdpClient else thing.client
    client.send_odp_event("sold", {"email": "a@example.com"})
    client.flush(0.5)
    late = client._flusher._transport
    handoff = late._inner._inner
    stream = handoff._queue
    parts = [thing, client, client.config, client.config.target(), client._flusher]
    parts += [client._flusher.store, late, late._inner, handoff, stream]
    parts += [stream._servers, stream._servers._connected(1.0)]
    client._flusher.give_up("test")

    assert SECRET not in "".join("".join(everything_of(part)) for part in parts)
    assert SECRET.encode() not in pickle.dumps(thing)
    assert "gave no answer" in caplog.text
    assert SECRET not in caplog.text + "".join(str(vars(r)) for r in caplog.records)


@needs_redis
def test_a_pickle_carries_no_queue(url):
    """A spawned process has its own, from ODP_QUEUE_URL."""
    client = OdpClient(queue_url=url, max_batch_size=7, handle_sigterm=False)
    again = pickle.loads(pickle.dumps(client))

    assert again.config.queue_url is None
    assert again.config.max_batch_size == 7


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
    """An error about a URL, printed with local variables, shows none of it."""

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
    """Nor does an error about another setting show what ODP_QUEUE_URL holds."""
    monkeypatch.setenv("ODP_QUEUE_URL", f"redis://:{SECRET}@host/0")
    with pytest.raises(ConfigurationError) as caught:
        OdpClient(max_batch_size=0)
    shown = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )

    assert SECRET not in "".join(shown.format())


def test_a_bad_url_of_the_environment_is_not_quoted(monkeypatch, caplog):
    """It raises: events would go past the queue, to wherever a key sends them."""
    monkeypatch.setenv("ODP_QUEUE_URL", f"redis://:{SECRET}@host/0?shards=x")
    with pytest.raises(ConfigurationError) as caught:
        OdpClient("key-of-a-test", handle_sigterm=False)

    shown = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    assert "ODP_QUEUE_URL cannot be used: expected a URL such as" in str(caught.value)
    assert SECRET not in "".join(shown.format()) + caplog.text


@needs_redis
def test_the_commands_do_not_quote_it(url, capsys):
    """What the commands print names the queue without user and password."""
    assert main(["relay", "status", "--from", url]) == 2
    said = capsys.readouterr()

    assert "gave no answer" in said.err
    assert SECRET not in said.out + said.err
    assert "shop:" not in said.out + said.err


def parts_of(text: str) -> QueueUrl:
    """Return the parts of a good URL."""
    url = read_url(Hidden(text))
    assert isinstance(url, QueueUrl), url
    return url


def test_a_url_has_its_parts():
    """Hosts, database, credentials and options, all of them optional but a host."""
    url = parts_of(
        "rediss+cluster://us%40er:p%2Fw@a:1,[::1]:2,c/3?stream=s:e&shards=4"
        "&account=shop&high_water=9"
    )

    assert url.engine == "redis" and url.is_private and url.flavours == ("cluster",)
    assert url.hosts == (("a", 1), ("::1", 2), ("c", None))
    assert url.path == "3"
    assert url.credentials.reveal() == ("us@er", "p/w")
    assert (url.stream, url.shards, url.alias, url.high_water) == ("s:e", 4, "shop", 9)
    assert parts_of("redis://h").credentials.reveal() == (None, None)


def test_a_new_password_leaves_the_spool_where_it_is():
    """The account of a queue, as file names have it, does not depend on credentials."""
    one, two = parts_of("redis://:old@h/0"), parts_of("redis://:new@h/0")

    assert one.account == two.account
    assert one.account != parts_of("redis://:old@h/0?account=other").account
