"""The relay: what it does with ODP's answers, with signals, with dead colleagues."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..redis_server import RedisServer, needs_redis
from ..stores.test_redis import DEAD, KEY, filled, made, of, pending
from ..waiting import until
from .processes import RelayProcess

pytestmark = [needs_redis, pytest.mark.slow]


def received(odp: Emulator) -> list[int]:
    """Return the numbers of the events ODP took, the first time each."""
    taken = [each for each in odp.events() if each["status"] == "accepted"]
    return sorted(each["event"]["data"]["n"] for each in taken)


def is_empty(redis: RedisServer) -> Any:
    """Return what asks whether all is acknowledged."""
    return lambda: redis.ask("XLEN", KEY) == 0


def test_bad_events_are_buried_and_the_others_delivered(redis, emulator):
    """What ODP rejects by name becomes a dead letter, with its reason."""
    filled(redis, 5)
    emulator.fault(events=[1, 3], count=1, status=400)
    with RelayProcess(redis.url, emulator) as relay:
        until(is_empty(redis), "the acknowledgements")
        assert relay.end() == 0, relay.text

    letters = redis.ask("XRANGE", DEAD, "-", "+")
    assert received(emulator) == [0, 2, 4]
    assert len(letters) == 2
    assert all(fields[b"reason"] for _, fields in letters)


def test_a_refused_key_ends_the_relay_and_acknowledges_nothing(redis, emulator):
    """Exit status 3, one line that says why; the next relay has all of it at once."""
    filled(redis, 5)
    with RelayProcess(redis.url, emulator, key="a-wrong-key-12345") as relay:
        assert relay.wait() == 3, relay.text

    assert "answered 403 and refuses the key …2345; nothing of it was" in relay.text
    assert "wrong-key" not in relay.text
    assert len(relay.said) == 2, relay.text
    assert redis.ask("XLEN", KEY) == 5
    assert {each["times_delivered"] for each in pending(redis)} == {0}
    with RelayProcess(redis.url, emulator) as relay:
        assert emulator.wait_for(5, 20)
        assert relay.end() == 0, relay.text


def test_sigterm_finishes_the_request_in_hand(redis, emulator):
    """It is answered and acknowledged; what was not read stays for others."""
    filled(redis, 150)
    emulator.fault(latency=1.0)
    with RelayProcess(redis.url, emulator) as relay:
        until(lambda: pending(redis), "a batch on loan")
        assert relay.end() == 0, relay.text

    delivered = len(received(emulator))
    assert delivered in (100, 150)
    assert redis.ask("XLEN", KEY) == 150 - delivered
    assert pending(redis) == []
    assert f"{delivered} events delivered" in relay.text


def test_a_request_that_outlasts_the_grace_is_left_to_others(redis, emulator):
    """The relay ends in time; its events stay on loan, and are delivered later."""
    filled(redis, 3)
    emulator.fault(latency=8.0, count=1)
    with RelayProcess(redis.url, emulator, "--grace", "0.5") as relay:
        until(lambda: pending(redis), "a batch on loan")
        assert relay.end() == 1

    assert "left to other relays" in relay.text
    assert redis.ask("XLEN", KEY) == 3


def test_what_a_killed_relay_had_is_delivered_by_another(redis, emulator):
    """Nothing is lost with a worker; its colleague claims what it held."""
    filled(redis, 50)
    emulator.fault(latency=8.0, count=1, keep=False, status=503)
    options = ("--lease", "2")
    with RelayProcess(redis.url, emulator, *options) as one:
        until(lambda: pending(redis), "a batch on loan")
        with RelayProcess(redis.url, emulator, *options) as other:
            one.end(signal.SIGKILL)
            until(is_empty(redis), "the acknowledgements")
            assert other.end() == 0, other.text

    assert received(emulator) == list(range(50))


def test_too_many_requests_pause_the_whole_fleet(redis, emulator):
    """After one 429 no worker of any relay sends until Retry-After is over."""
    emulator.fault(status=429, retry_after=2, count=1)
    filled(redis, 400)
    with RelayProcess(redis.url, emulator) as one:
        until(lambda: redis.ask("EXISTS", "odp:relay:pause:default"), "the pause")
        with RelayProcess(redis.url, emulator, "--workers", "2") as two:
            until(lambda: "relay of" in two.text, "the second relay")
            while redis.ask("PTTL", "odp:relay:pause:default") > 100:
                assert received(emulator) == []
            until(is_empty(redis), "the acknowledgements")
            assert (one.end(), two.end()) == (0, 0)

    assert received(emulator) == list(range(400))


def test_an_outage_of_redis_is_survived(redis, emulator):
    """The relay goes on when the server is back, with what it had delivered settled."""
    filled(redis, 20)
    with RelayProcess(redis.url, emulator) as relay:
        assert emulator.wait_for(20, 20)
        redis.kill()
        until(lambda: "gave no answer" in relay.text, "the line on it")
        redis.start()
        made(redis).hand_over([of(f"u{n}", 100 + n) for n in range(20)])
        assert emulator.wait_for(40, 20)
        until(is_empty(redis), "the acknowledgements")
        assert relay.end() == 0, relay.text

    assert received(emulator) == [*range(20), *range(100, 120)]


def asked(url: str) -> tuple[int, str]:
    """Return status and text of what is at *url*."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_monitor_sees_what_the_relay_does(redis, emulator):
    """/metrics counts, /healthz turns when ODP takes nothing any more."""
    filled(redis, 30)
    with RelayProcess(redis.url, emulator, "--metrics-port", "0") as relay:
        until(lambda: "/metrics" in relay.text, "the metrics' address")
        address = relay.text.split("metrics at ")[1].split()[0]
        until(is_empty(redis), "the acknowledgements")
        _, text = asked(address)
        healthy = asked(address.replace("metrics", "healthz"))
        emulator.fault(status=503)
        made(redis).hand_over([of("u1", 31)])
        health = address.replace("metrics", "healthz")
        until(lambda: asked(health)[0] == 503, "the other answer")
        emulator.clear_faults()
        until(lambda: asked(health)[0] == 200, "the first answer again")
        redis.kill()
        until(lambda: asked(health)[0] == 503, "what Redis' end does to it")
        redis.start()
        until(lambda: asked(health)[0] == 200, "what its return does")
        assert asked(address.replace("metrics", "other"))[0] == 404
        relay.end()

    assert 'odp_relay_events_total{result="delivered"} 30' in text
    assert "odp_relay_pending_entries" in text
    assert "odp_relay_post_seconds_count 1" in text
    assert healthy == (200, "ok\n")
