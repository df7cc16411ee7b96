"""What a client, a relay and `relay status` report about the setup of Redis."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging import OdpClient
from odp_logging._cli.main import main
from odp_logging._events.delivery import Delivery

from ...redis_server import RedisServer, needs_redis
from ...waiting import until
from ..contract import event
from .redis_stores import Warnings, build_event, build_store

pytestmark = needs_redis

README = Path(__file__).parents[3] / "examples" / "fleet" / "README.md"

LOSS = "loses events when it is full: maxmemory-policy is allkeys-lru"


@pytest.fixture
def evicting(redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that deletes any key when it is full."""
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield redis
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_relay_reports_that_redis_evicts(evicting):
    """Once, when it starts."""
    warnings = Warnings()
    store = build_store(evicting, warn=warnings)
    for _ in range(3):
        store.take()

    (warning,) = warnings
    assert LOSS in warning
    assert "Set it to noeviction" in warning


def test_a_client_reports_that_redis_evicts(evicting, caplog):
    """Once, with the first events that it hands over."""
    with (
        caplog.at_level(logging.WARNING, "odp_logging"),
        OdpClient(queue_url=evicting.url, handle_sigterm=False) as client,
    ):
        for number in range(2):
            client.send_odp_event("sold", {"fs_user_id": f"u{number}"})
            assert client.flush(10)

    assert [LOSS in message for message in caplog.messages] == [True]


def test_the_status_reports_that_redis_evicts(evicting, capsys):
    """As text and as JSON."""
    assert main(["relay", "status", "--from", evicting.url]) == 0
    text = capsys.readouterr().out
    assert main(["relay", "status", "--json", "--from", evicting.url]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]

    assert LOSS in text
    assert LOSS in problem


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("PX", "20000"), r"paused for \d+\.\d s at ODP's request"),
        (("EX", "9000000"), r"paused for [\d,]{9} s, which ODP did not ask for"),
        ((), "paused without an end, which ODP did not ask for; relays wait for 60 s"),
    ],
)
def test_the_status_tells_a_forged_pause(redis, capsys, command, text):
    """No relay starts one that is longer than max_retry_delay."""
    redis.ask("SET", "odp:relay:pause:default", "1", *command)
    assert main(["relay", "status", "--from", redis.url]) == 0

    assert re.search(text, capsys.readouterr().out)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_a_policy_that_keeps_streams_is_not_reported(redis, policy):
    """Streams do not expire, and volatile policies delete keys that do."""
    redis.ask("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        assert build_store(redis).engine.find_problems() == []
    finally:
        redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_user_who_may_not_read_the_policy_hears_nothing(evicting):
    """Delivery does not depend on it."""
    evicting.ask("ACL", "SETUSER", "shop", "on", ">pw", "+@all", "-info", "~*")
    warnings = Warnings()
    try:
        url = f"redis://shop:pw@127.0.0.1:{evicting.port}/0"
        store = build_store(evicting, url=url, warn=warnings)
        assert not store.hand_over([event(1)])
        assert len(store.take().events) == 1
        store.close()
    finally:
        evicting.ask("ACL", "DELUSER", "shop")

    assert warnings == []


def test_a_number_of_shards_that_is_not_used_is_reported(redis):
    """The URL of a relay should say what the applications say."""
    build_store(redis, "shards=4").hand_over([build_event("u1")])
    warnings = Warnings()
    build_store(redis, warn=warnings).take()

    (warning,) = warnings
    assert "has 4 shards, which are used" in warning
    assert "shards=1" in warning


def test_the_rights_in_the_readme_are_enough(redis):
    """An application hands over, and a relay delivers, claims and buries."""
    rights = dict(re.findall(r"^ACL SETUSER (\w+) (.*)$", README.read_text(), re.M))
    warnings = Warnings()
    try:
        redis.ask("ACL", "LOG", "RESET")
        for name, text in rights.items():
            redis.ask("ACL", "SETUSER", name, *text.split())
        shop, relay, other = (
            build_store(
                redis,
                url=f"redis://{name}:password@127.0.0.1:{redis.port}/0",
                warn=warnings,
                lease_seconds=0.2,
            )
            for name in ("shop", "relay", "relay")
        )
        assert not shop.hand_over([event(number) for number in range(5)])
        relay.take()
        until(lambda: other.take().events, "the leases to end")
        other.settle(
            other._leases._batch, Delivery(5, rejected={0: "no"}, pending=(1,))
        )
        other._pause.start(0.01)
        letters = other.engine.list_dead_letters()
        other.engine.retry_dead_letters(letters)
        other.engine.read_depth()
        assert len(other.engine.list_consumers()) == 2
        other.discard("exit")
        for store in (shop, relay, other):
            store.close()
        denied = redis.ask("ACL", "LOG")
    finally:
        redis.ask("ACL", "DELUSER", "shop", "relay")

    assert sorted(rights) == ["relay", "shop"]
    assert len(letters) == 1
    assert warnings == []
    assert [entry for entry in denied if b"client|setinfo" not in entry] == []
