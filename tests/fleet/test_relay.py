"""The relay: answers of ODP, signals, other relays that die, outages of the queue."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from odp_logging._cli.main import main
from odp_logging.emulator import Emulator

from ..stores.queue.redis_stores import build_event
from ..waiting import until
from .processes import RelayProcess

pytestmark = pytest.mark.slow


def list_accepted(odp: Emulator) -> list[int]:
    """Return the numbers of the events that ODP accepted, without duplicates."""
    accepted = [entry for entry in odp.events() if entry["status"] == "accepted"]
    return sorted(entry["event"]["data"]["n"] for entry in accepted)


def test_rejected_events_become_dead_letters(queue, emulator):
    """Each with the reason of ODP; the others are delivered."""
    queue.fill(5)
    for number in (1, 3):  # not by position: a worker may read few events at first
        emulator.fault(match=f'"n":{number}}}', count=1, status=400)
    with RelayProcess(queue.url, emulator) as relay:
        until(queue.is_empty, "the acknowledgements")
        assert relay.end() == 0, relay.text

    letters = queue.list_dead_letters()
    assert list_accepted(emulator) == [0, 2, 4]
    assert len(letters) == 2
    assert all(letter.reason for letter in letters)


def test_an_event_that_makes_odp_fail_becomes_a_dead_letter(queue, emulator):
    """ODP answers 500 to it alone and accepts the others, which are not delayed."""
    stream = queue.build_store()
    stream.hand_over(
        [build_event("poison"), *[build_event("u", number) for number in range(1, 10)]]
    )
    emulator.fault(match="poison", status=500)
    numbers = iter(range(10, 1_000))

    def one_more() -> bool:
        stream.hand_over([build_event("u", next(numbers))])
        return queue.read_depth().dead > 0

    with RelayProcess(queue.url, emulator) as relay:
        until(one_more, "the dead letter", seconds=60)
        until(queue.is_empty, "the acknowledgements")
        assert relay.end() == 0, relay.text

    (letter,) = queue.list_dead_letters()
    assert "answered 500 to this event alone 4 times" in letter.reason
    assert list_accepted(emulator) == list(range(1, next(numbers)))


def test_a_rejected_key_ends_the_relay(queue, emulator):
    """With exit status 3 and one line; the next relay gets all events at once."""
    queue.fill(5)
    with RelayProcess(queue.url, emulator, key="a-wrong-key-12345") as relay:
        assert relay.wait() == 3, relay.text

    assert "answered 403 and refuses the key …2345. The events stay in" in relay.text
    assert "wrong-key" not in relay.text
    assert len(relay.lines) == 2, relay.text
    depth = queue.read_depth()
    assert depth.ready + depth.leased == 5
    assert queue.list_deliveries() == [0] * 5
    with RelayProcess(queue.url, emulator) as relay:
        assert emulator.wait_for(5, 20)
        assert relay.end() == 0, relay.text


def test_sigterm_waits_for_the_request_under_way(queue, emulator):
    """Its events are acknowledged; the others stay in the queue."""
    queue.fill(150)
    emulator.fault(latency=1.0)
    with RelayProcess(queue.url, emulator) as relay:
        until(queue.is_leased, "a leased batch")
        assert relay.end() == 0, relay.text

    delivered = len(list_accepted(emulator))
    assert delivered in (100, 150)
    depth = queue.read_depth()
    assert (depth.ready, depth.leased) == (150 - delivered, 0)
    assert f"{delivered} events delivered" in relay.text


def test_a_request_that_exceeds_the_grace_is_left_to_other_relays(queue, emulator):
    """The relay ends in time; its events stay leased, and are delivered later."""
    queue.fill(3)
    emulator.fault(latency=8.0, count=1)
    with RelayProcess(queue.url, emulator, "--grace", "0.5") as relay:
        until(queue.is_leased, "a leased batch")
        assert relay.end() == 1

    assert "left to other relays" in relay.text
    assert queue.read_depth().leased == 3


def test_events_of_a_killed_relay_are_delivered_by_another(queue, emulator):
    """The other relay claims what the killed one had leased."""
    queue.fill(50)
    emulator.fault(latency=8.0, count=1, keep=False, status=503)
    options = ("--lease", "2")
    with RelayProcess(queue.url, emulator, *options) as one:
        until(queue.is_leased, "a leased batch")
        with RelayProcess(queue.url, emulator, *options) as other:
            one.end(signal.SIGKILL)
            until(queue.is_empty, "the acknowledgements")
            assert other.end() == 0, other.text

    assert list_accepted(emulator) == list(range(50))


def test_status_counts_live_workers(queue, emulator, capsys):
    """Idle ones included; none after SIGTERM, and none of a killed relay later."""
    pause = threading.Event()

    def read_workers() -> list[dict]:
        assert main(["relay", "status", "--from", queue.url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["workers"]

    with RelayProcess(queue.url, emulator, "--workers", "3", "--lease", "1") as one:
        until(lambda: len(read_workers()) == 3, "the idle workers")
        with RelayProcess(queue.url, emulator, "--lease", "1") as other:
            until(lambda: len(read_workers()) == 4, "the second relay's worker")
            # Longer than a registration: they renew theirs.
            end = time.monotonic() + 6
            while time.monotonic() < end:
                assert [worker["is_alive"] for worker in read_workers()] == [True] * 4
                pause.wait(0.05)  # other tests need the CPU
            assert one.end() == 0, one.text
            assert len(read_workers()) == 1
            other.end(signal.SIGKILL)
            until(lambda: not read_workers(), "the end of the registration")


def test_too_many_requests_pause_all_relays(queue, emulator):
    """After one 429 no worker of any relay sends until Retry-After is over."""
    emulator.fault(status=429, retry_after=2, count=1)
    queue.fill(400)
    with RelayProcess(queue.url, emulator) as one:
        until(queue.read_pause, "the pause")
        with RelayProcess(queue.url, emulator, "--workers", "2") as two:
            until(lambda: "relay of" in two.text, "the second relay")
            while queue.read_pause() > 0.1:
                assert list_accepted(emulator) == []
                threading.Event().wait(0.01)
            until(queue.is_empty, "the acknowledgements")
            assert (one.end(), two.end()) == (0, 0)

    assert list_accepted(emulator) == list(range(400))


def test_a_relay_continues_after_an_outage_of_the_queue(queue, emulator):
    """It acknowledges what it delivered before, and delivers new events."""
    queue.fill(20)
    with RelayProcess(queue.url, emulator) as relay:
        assert emulator.wait_for(20, 20)
        queue.server.kill()
        until(lambda: "the connection" in relay.text, "the line about it")
        queue.server.start()
        queue.build_store().hand_over(
            [build_event(f"u{n}", 100 + n) for n in range(20)]
        )
        assert emulator.wait_for(40, 20)
        until(queue.is_empty, "the acknowledgements")
        assert relay.end() == 0, relay.text

    assert list_accepted(emulator) == [*range(20), *range(100, 120)]


def fetch(url: str) -> tuple[int, str]:
    """Return status and text of the answer to a GET request."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_follow_the_relay(queue, emulator):
    """/metrics counts events; /healthz fails while ODP or the queue fails."""
    pytest.importorskip("prometheus_client")
    queue.fill(30)
    with RelayProcess(queue.url, emulator, "--metrics-port", "0") as relay:
        until(lambda: "/metrics" in relay.text, "the metrics' address")
        address = relay.text.split("metrics at ")[1].split()[0]
        until(queue.is_empty, "the acknowledgements")
        _, text = fetch(address)
        healthy = fetch(address.replace("metrics", "healthz"))
        emulator.fault(status=503)
        queue.build_store().hand_over([build_event("u1", 31)])
        health = address.replace("metrics", "healthz")
        until(lambda: fetch(health)[0] == 503, "status 503 for ODP")
        emulator.clear_faults()
        until(lambda: fetch(health)[0] == 200, "status 200 again")
        queue.server.kill()
        until(lambda: fetch(health)[0] == 503, "status 503 for the queue")
        queue.server.start()
        until(lambda: fetch(health)[0] == 200, "status 200 after the restart")
        assert fetch(address.replace("metrics", "other"))[0] == 404
        relay.end()

    assert 'odp_relay_events_total{result="delivered"} 30.0' in text
    assert "odp_relay_pending_entries" in text
    assert "odp_relay_post_seconds_count 1.0" in text
    assert healthy == (200, "ok\n")
