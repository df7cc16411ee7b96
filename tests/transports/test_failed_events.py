"""An event that the server fails on (5xx): how it is found, and when it is rejected."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from odp_logging import OdpClient
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._events.event import OdpEvent
from odp_logging._transports.http import Http
from odp_logging._transports.retry import Retry

from .conftest import (
    KEY,
    Connection,
    Peer,
    ScriptedTransport,
    build_batch,
    is_settled,
    replies,
    reply,
)

TRANSIENT_STATUSES = [408, 409, 421, 423, 425, 429, 500, 502, 503, 504]
MISCONFIGURED_STATUSES = [401, 402, 403, 404, 405, 406, 410, 411, 414, 415, 431]


class Server:
    """A server that fails on certain batches."""

    def __init__(self, fails: Callable[[Batch], bool]) -> None:
        self.fails = fails
        self.accepted: list[str] = []
        self.requests = 0

    def __call__(self, batch: Batch) -> Delivery:
        self.requests += 1
        size = len(batch.events)
        if self.fails(batch):
            return Delivery.all_pending(size, Cause.TRANSIENT, "500", server_error=True)
        self.accepted += [event.action for event in batch.events]
        return Delivery(size)


def has_bad_event(batch: Batch) -> bool:
    """Whether *batch* has a bad event."""
    return any(event.action == "bad" for event in batch.events)


class SimulatedFlusher:
    """Sends batches from a list through `Retry`, with a simulated clock."""

    def __init__(self, server: Callable[[Batch], Delivery], seed: int = 1) -> None:
        self.now = 0.0
        self.waiting: list[OdpEvent] = []
        self.rejected: list[tuple[str, str]] = []
        self.retry = Retry(
            ScriptedTransport(server),
            random_fraction=random.Random(seed).random,
            clock=lambda: self.now,
        )

    def put(self, *actions: str) -> None:
        self.waiting += [OdpEvent(action, {"user": "u"}) for action in actions]

    def step(self, size: int = 100) -> Delivery:
        batch = Batch(self.waiting[:size])
        delivery = self.retry.send(batch)
        pending = [batch.events[position] for position in delivery.pending]
        self.waiting[:size] = pending
        for position, reason in delivery.rejected.items():
            self.rejected.append((batch.events[position].action, reason))
        self.now += max(delivery.backoff, delivery.retry_after) + 0.1
        return delivery


@pytest.mark.parametrize("position", [0, 1, 50, 99, 100, 200])
def test_an_event_that_the_server_fails_on_does_not_block_others(position: int) -> None:
    """Others are delivered once; it is rejected while others are accepted."""
    server = Server(has_bad_event)
    flusher = SimulatedFlusher(server)
    flusher.put(*["good"] * position, "bad", *["good"] * (200 - position))

    for _ in range(8):
        flusher.step()
    assert [event.action for event in flusher.waiting] in (["bad"], [])
    assert server.accepted == ["good"] * 200
    for _ in range(40):
        flusher.put("good")
        flusher.step()

    assert server.accepted == ["good"] * 240
    reason = "500 to this event alone 4 times, and accepted others"
    assert flusher.rejected == [("bad", reason)]
    assert flusher.waiting == []
    assert server.requests < 90


def test_a_failed_event_is_kept_while_no_other_is_accepted() -> None:
    """A lone event is not rejected: the server may fail on everything."""
    server = Server(has_bad_event)
    flusher = SimulatedFlusher(server)
    flusher.put("bad", "good")

    deliveries = [flusher.step() for _ in range(100)]

    assert flusher.rejected == []
    assert [event.action for event in flusher.waiting] == ["bad"]
    assert deliveries[-1].cause is Cause.TRANSIENT
    assert deliveries[-1].message == "500 to events sent alone, and accepted others"
    assert sum(delivery.backoff for delivery in deliveries) > 60 * 20


@pytest.mark.parametrize("bad", [range(2), range(98, 100), range(40, 60), range(70)])
def test_neighbouring_bad_events_are_found(bad: Sequence[int]) -> None:
    """Neighbouring events that the server fails on do not block others."""
    server = Server(has_bad_event)
    flusher = SimulatedFlusher(server)
    flusher.put(*["bad" if position in bad else "good" for position in range(100)])

    for _ in range(400):
        flusher.put("good")
        flusher.step()

    assert server.accepted == ["good"] * (500 - len(bad))
    assert [action for action, _ in flusher.rejected] == ["bad"] * len(bad)


def test_in_an_outage_nothing_is_rejected() -> None:
    """A server that answers 500 to everything gets few requests, and loses nothing."""
    server = Server(lambda batch: True)
    flusher = SimulatedFlusher(server)
    flusher.put(*["good"] * 200)

    for _ in range(200):
        before = server.requests
        delivery = flusher.step()
        assert server.requests - before <= 10
        assert delivery.cause is Cause.TRANSIENT
        assert delivery.pending == tuple(range(100))
    server.fails = lambda batch: False
    flusher.step()
    flusher.step()

    assert flusher.rejected == []
    assert flusher.waiting == []
    assert server.accepted == ["good"] * 200


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8, 0.95])
def test_a_server_that_fails_at_random_rejects_nothing(rate: float) -> None:
    """Random failures reject no event, because their parts are accepted later."""
    rejected = total = 0
    for seed in range(8):
        chance = random.Random(f"{rate} {seed}")
        flusher = SimulatedFlusher(Server(lambda batch: chance.random() < rate), seed)  # noqa: B023
        for _ in range(200):
            flusher.put(*["good"] * chance.randrange(40))
            flusher.step()
        rejected += len(flusher.rejected)
        total += 4000

    print(f"{rate}: {rejected} of {total} rejected")
    assert rejected <= total / 10_000


@pytest.mark.parametrize(
    "answer",
    [
        reply(503),
        reply(500, b"{}", "Retry-After: 0"),
        reply(511),
        reply(429),
    ],
)
def test_overload_does_not_start_a_search(
    peer: Callable[..., Peer], http: Callable[..., Http], answer: bytes
) -> None:
    """A batch rejected for overload is sent as a whole, however often."""
    server = peer(replies(*[answer] * 6, reply()))
    retry = Retry(http(server.url))

    deliveries = [retry.send(build_batch(10)) for _ in range(7)]

    assert [delivery.requests for delivery in deliveries] == [1] * 7
    assert is_settled(deliveries[-1])


def test_an_event_that_the_server_fails_on_becomes_a_dead_letter(
    peer: Callable[..., Peer], tmp_path: Path
) -> None:
    """From log call to ODP: others arrive; it is counted, reported and stored."""
    arrived: list[str] = []

    def script(connection: Connection) -> None:
        while True:
            _, body = connection.request()
            actions = [event["action"] for event in json.loads(body)]
            connection.send(reply(500 if "bad" in actions else 202))
            arrived.extend(actions if "bad" not in actions else [])

    dropped: list[tuple[str, str]] = []
    client = OdpClient(
        KEY,
        api_host=peer(script).url,
        max_retry_delay=0.05,
        flush_interval=0.01,
        spool=tmp_path / "spool",
        on_drop=lambda events, why: dropped.append((events[0].action, why)),
    )
    try:
        client.send_odp_event("bad", {"user": "u"})
        for _ in range(200):
            client.send_odp_event("good", {"user": "u"})
        sent, end = 200, time.monotonic() + 60
        while not dropped and time.monotonic() < end:
            client.send_odp_event("good", {"user": "u"})
            client.flush(0.1)
            sent += 1
        assert client.flush(30)
        stats = client.stats
    finally:
        client.close()

    assert arrived == ["good"] * sent
    assert (stats.delivered, dict(stats.rejected)) == (sent, {"refused": 1})
    ((action, why),) = dropped
    assert action == "bad"
    # Four attempts, or more until others were accepted after them.
    assert re.search(r"answered 500 to this event alone [4-9] times", why)
    command = [sys.executable, "-m", "odp_logging", "dead", "list", "--spool"]
    listed = subprocess.run(
        [*command, str(tmp_path / "spool")], capture_output=True, text=True, timeout=60
    )
    assert "answered 500 to this event alone" in listed.stdout


def test_a_fork_clears_all_failed_events() -> None:
    """A forked child has no failed events and waits before it searches."""
    server = Server(has_bad_event)
    flusher = SimulatedFlusher(server)
    flusher.put("bad", "good")
    for _ in range(4):
        flusher.step()

    flusher.retry.after_fork()
    flusher.put("good")

    assert flusher.step().requests == 1
