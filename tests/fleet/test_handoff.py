"""Applications that hand events to a queue: outages, spools, forks, shutdown."""

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
from ..stores.queue.redis_stores import KEY
from ..waiting import until
from .processes import SHOP, build_environment, run_shop

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
def unused_url() -> str:
    """The URL of a queue on a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}/0"


def test_an_event_is_delivered_once_the_queue_has_it(redis):
    """A flush returns when Redis has answered; the application needs no key."""
    with OdpClient(queue_url=redis.url, handle_sigterm=False) as client:
        for n in range(250):
            client.send_odp_event("sold", {"fs_user_id": f"u{n}"})
        assert client.flush(10)

        assert redis.ask("XLEN", KEY) == 250
        assert client.stats.delivered == 250
        assert client._config.api_key is None


def test_while_redis_is_down_the_buffer_keeps_its_limits(redis):
    """Waiting events are counted as pending, and the others as dropped."""
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
    assert "refused the connection" in (down.last_error or "")
    assert redis.ask("XLEN", KEY) == 20


def test_events_wait_in_memory_while_the_queue_is_full(redis):
    """They are handed over when the queue has room again."""
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


def test_a_server_that_hangs_delays_no_log_call(redis, logger):
    """Log calls return at once while Redis gives no answer."""
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
def test_events_that_redis_did_not_take_are_kept_on_disk(redis, tmp_path, durability):
    """With a spool they outlive a process without Redis; the next one sends them."""
    spool = {"ODP_SPOOL": str(tmp_path / "spool"), "ODP_DURABILITY": durability}
    redis.kill()
    errors = run_shop(redis.url, 40, ODP_SHUTDOWN_TIMEOUT="0.5", **spool)
    redis.start()
    assert redis.ask("XLEN", KEY) == 0
    next_errors = run_shop(redis.url, 1, ODP_SHUTDOWN_TIMEOUT="9", **spool)

    assert "kept in the spool" in errors or durability == "crash"
    assert "undelivered" not in next_errors
    assert len(actions(redis)) == 41


@pytest.mark.slow
def test_a_shutdown_without_redis_is_reported_and_takes_no_longer(unused_url):
    """The undelivered events are counted on stderr, after shutdown_timeout."""
    start = time.monotonic()
    errors = run_shop(unused_url, 3, ODP_SHUTDOWN_TIMEOUT="1")
    took = time.monotonic() - start

    assert "exiting with 3 undelivered events" in errors
    assert took < 15


@pytest.mark.slow
def test_a_shutdown_hands_over_all_events(redis):
    """A script logs and ends; the queue has all of its events."""
    assert run_shop(redis.url, 500) == ""
    assert redis.ask("XLEN", KEY) == 500


@pytest.mark.slow
@pytest.mark.parametrize("connected", [0, 1])
def test_a_fork_sends_each_event_once(redis, connected):
    """Parent and child have connections of their own, and each its own events."""
    assert run_shop(redis.url, connected, FORK) == ""

    assert sorted(actions(redis)) == ["before", "child", "parent"]


@pytest.mark.slow
def test_sigterm_hands_over_all_events_and_ends_the_process(redis):
    """The exit status names the signal, and the events are in the queue."""
    program = SHOP + "\nimport signal\nprint('ready', flush=True)\nsignal.pause()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "5"],
        env=build_environment(ODP_QUEUE_URL=redis.url),
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


def test_without_a_thread_an_event_is_stored_when_the_call_returns(redis):
    """background=False hands over in the log call."""
    client = OdpClient(queue_url=redis.url, background=False, handle_sigterm=False)
    client.send_odp_event("sold", {"fs_user_id": "u1"})

    assert redis.ask("XLEN", KEY) == 1
    client.close()


def test_an_application_with_a_queue_takes_no_key(redis):
    """configure() raises, and says that the relays need key and host."""
    client = OdpClient(queue_url=redis.url, handle_sigterm=False)

    with pytest.raises(ConfigurationError, match="give key and host to the relays"):
        client.configure("another-key")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "url", "requirement"),
    [
        ("redis", "redis://h/0", "'redis>=5.0.1' (odp-logging's extra redis)"),
        (
            "psycopg",
            "postgresql://h/d",
            "'psycopg[binary]>=3.1.8' (odp-logging's extra postgres)",
        ),
    ],
)
def test_a_missing_extra_is_named(module, url, requirement):
    """Without it a queue_url raises at once, with the command to install it."""
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        "from odp_logging import OdpClient\n"
        f"try: OdpClient(queue_url='{url}')\n"
        "except ValueError as error: print(error)"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=build_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert process.stdout == (
        f"queue_url cannot be used: the module {module} is missing; pip install"
        f" {requirement}\n"
    )


def test_events_are_handed_over_soon_after_an_outage(redis, tmp_path: Path):
    """In their order, each once."""
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
