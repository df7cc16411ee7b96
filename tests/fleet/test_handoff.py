"""The application's side: outages, spools, forks, ends, calls that do not wait."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from odp_logging import ConfigurationError, OdpClient, OdpHandler

from ..redis_server import RedisServer, needs_redis
from ..stores.test_redis import KEY
from ..waiting import until
from .processes import SHOP, environment, shop

pytestmark = needs_redis

FORK = """
import logging, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
from odp_logging import OdpHandler

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler())

def log(name):
    logger.info("sold", extra={
        "odp_action": name, "odp_identifiers": {"fs_user_id": name}})

log("before")
if int(sys.argv[1]):
    logger.handlers[0].client.flush(10)
child = os.fork()
log("child" if child == 0 else "parent")
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def actions(redis: RedisServer) -> list[str]:
    """Return the actions of all events in the queue."""
    entries = redis.ask("XRANGE", KEY, "-", "+")
    return [f[b"e"].split(b'"action":"')[1].split(b'"')[0].decode() for _, f in entries]


@pytest.fixture
def refusing() -> str:
    """The URL of a queue where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


def test_delivered_means_that_the_queue_has_it(redis):
    """A flush returns when Redis has answered; no key is needed, none is there."""
    with OdpClient(queue_url=redis.url, handle_sigterm=False) as client:
        for n in range(250):
            client.send_odp_event("sold", {"fs_user_id": f"u{n}"})
        assert client.flush(10)

        assert redis.ask("XLEN", KEY) == 250
        assert client.stats.delivered == 250
        assert client.config.api_key is None


def test_while_redis_is_down_the_buffer_keeps_within_its_bounds(redis):
    """Nothing is silent: what waits is pending, what found no room is dropped."""
    redis.kill()
    with OdpClient(
        queue_url=redis.url, max_queue_size=20, handle_sigterm=False
    ) as client:
        for n in range(30):
            client.send_odp_event("sold", {"fs_user_id": "u1"}, data={"n": n})
        assert not client.flush(0.5)
        down = client.stats
        redis.start()
        assert client.flush(10)

    assert (down.pending, down.dropped) == (20, {"overflow": 10})
    assert "gave no answer" in (down.last_error or "")
    assert redis.ask("XLEN", KEY) == 20


def test_a_full_queue_holds_back_the_applications(redis):
    """Beyond high_water events wait where they came from."""
    url = f"{redis.url}?high_water=10"
    client = OdpClient(queue_url=url, handle_sigterm=False, shutdown_timeout=0)
    for n in range(15):
        client.send_odp_event("sold", {"fs_user_id": "u1"}, data={"n": n})
    assert not client.flush(0.5)

    assert redis.ask("XLEN", KEY) == 10
    assert (client.stats.delivered, client.stats.pending) == (10, 5)
    redis.ask("DEL", KEY)
    assert client.flush(10)
    assert client.close()


def test_a_server_that_hangs_holds_up_no_log_call(redis, logger):
    """Log calls go on at their speed while Redis gives no answer."""
    handler = OdpHandler(queue_url=redis.url, shutdown_timeout=0, handle_sigterm=False)
    logger.addHandler(handler)
    extra = {"odp_action": "sold", "odp_identifiers": {"fs_user_id": "u1"}}
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        longest = 0.0
        for _ in range(2000):
            start = time.perf_counter()
            logger.info("sold", extra=extra)
            longest = max(longest, time.perf_counter() - start)
    finally:
        os.kill(redis.pid, signal.SIGCONT)

    assert longest < 1.0
    assert handler.client.flush(20)
    assert redis.ask("XLEN", KEY) == 2000


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_what_redis_did_not_take_is_left_on_disk(redis, tmp_path, durability):
    """With a spool an end without Redis loses nothing; the next process sends it."""
    spool = {"ODP_SPOOL": str(tmp_path / "spool"), "ODP_DURABILITY": durability}
    redis.kill()
    said = shop(redis.url, 40, ODP_SHUTDOWN_TIMEOUT="0.5", **spool)
    redis.start()
    assert redis.ask("XLEN", KEY) == 0
    more = shop(redis.url, 1, ODP_SHUTDOWN_TIMEOUT="9", **spool)

    assert "kept in the spool" in said or durability == "crash"
    assert "undelivered" not in more
    assert len(actions(redis)) == 41


@pytest.mark.slow
def test_an_end_without_redis_is_said_and_takes_no_longer(refusing):
    """Counted on stderr, within shutdown_timeout."""
    start = time.monotonic()
    said = shop(refusing, 3, ODP_SHUTDOWN_TIMEOUT="1")
    took = time.monotonic() - start

    assert "exiting with 3 undelivered events" in said
    assert took < 15


@pytest.mark.slow
def test_an_end_hands_over_what_is_there(redis):
    """A script that logs and ends leaves all of it in the queue."""
    assert shop(redis.url, 500) == ""
    assert redis.ask("XLEN", KEY) == 500


@pytest.mark.slow
@pytest.mark.parametrize("connected", [0, 1])
def test_a_fork_sends_each_event_once(redis, connected):
    """Parent and child have connections of their own, and each its own events."""
    assert shop(redis.url, connected, FORK) == ""

    assert sorted(actions(redis)) == ["before", "child", "parent"]


@pytest.mark.slow
def test_sigterm_hands_over_and_ends_as_it_would(redis):
    """The process dies of the signal, and its events are in the queue."""
    program = SHOP + "\nimport signal\nprint('ready', flush=True)\nsignal.pause()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "5"],
        env=environment(ODP_QUEUE_URL=redis.url),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait(30)
        if process.stdout:
            process.stdout.close()

    assert redis.ask("XLEN", KEY) == 5


def test_in_the_foreground_an_event_is_there_when_the_call_returns(redis):
    """With background=False no thread is needed."""
    client = OdpClient(queue_url=redis.url, background=False, handle_sigterm=False)
    client.send_odp_event("sold", {"fs_user_id": "u1"})

    assert redis.ask("XLEN", KEY) == 1
    client.close()


def test_a_key_is_not_for_who_hands_over(redis):
    """configure() says where key and host belong."""
    client = OdpClient(queue_url=redis.url, handle_sigterm=False)

    with pytest.raises(ConfigurationError, match="give key and host to the relays"):
        client.configure("a-key-of-theirs")


@pytest.mark.slow
def test_without_the_extra_it_is_named():
    """A queue_url where redis is not installed raises at once, with the command."""
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from odp_logging import OdpClient\n"
        "try: OdpClient(queue_url='redis://h/0')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == (
        "queue_url cannot be used: the module redis is missing; pip install"
        " 'odp-logging[redis]'\n"
    )


def test_the_end_of_an_outage_is_soon_noticed(redis, tmp_path: Path):
    """Events of the outage leave in their order, each once."""
    redis.kill()
    with OdpClient(
        queue_url=redis.url, flush_interval=0.05, handle_sigterm=False
    ) as client:
        for n in range(10):
            client.send_odp_event("sold", {"fs_user_id": "u1"}, data={"n": n})
        until(lambda: client.stats.last_error, "the first failure")
        redis.start()
        until(lambda: client.stats.delivered == 10, "the hand-over")

    entries = redis.ask("XRANGE", KEY, "-", "+")
    found = [int(f[b"e"].split(b'"n":')[1].split(b"}")[0]) for _, f in entries]
    assert found == list(range(10))
