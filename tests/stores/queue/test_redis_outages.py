"""The engine for Redis while the server is down, hangs, or refuses the password."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.queue.messages import PublishFailure, QueueError
from odp_logging._stores.queue.redis.engine import RedisEngine
from odp_logging._stores.queue.store import QueueStore

from ...postgresql import freeze
from ...redis_server import RedisServer, needs_redis
from ..contract import event, numbers
from .redis_stores import KEY, Warnings, build_store, fill_store, parse_url

pytestmark = needs_redis


@pytest.fixture
def killable(tmp_path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with RedisServer(tmp_path / "killable") as running:
        yield running


def test_a_killed_server_loses_nothing_that_was_handed_over(killable):
    """It restores all entries from its append-only file, also the leased ones."""
    store = fill_store(killable, 5)
    batch = store.take()
    killable.kill()
    with pytest.raises(QueueError, match=r"(closed|refused) the connection"):
        store.hand_over([event(6)])
    killable.start()
    store.settle(batch, Delivery(5, pending=(3, 4), cause=Cause.TRANSIENT))

    assert killable.ask("XLEN", KEY) == 2
    assert numbers(store.take().events) == [3, 4]


def test_events_delivered_while_redis_is_down_are_acknowledged_later(killable):
    """The worker remembers them and does not send them again."""
    warnings = Warnings()
    store = build_store(killable, warn=warnings)
    store.hand_over([event(number) for number in range(3)])
    batch = store.take()
    killable.kill()
    store.settle(batch, Delivery(3))
    while_down = store.take()
    killable.start()
    after_restart = store.take()

    assert list(while_down.events) == list(after_restart.events) == []
    assert killable.ask("XLEN", KEY) == 0
    assert store.counts().delivered == 3
    assert "acknowledged when the queue answers again" in warnings[0]


def test_a_server_that_hangs_delays_no_call_beyond_its_deadline(killable):
    """The deadline limits the wait for an answer."""
    store = fill_store(killable, 1)
    os.kill(killable.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(QueueError, match="gave no answer within 0"):
            store.hand_over([event(1)], time.monotonic() + 0.5)
        took = time.monotonic() - start
    finally:
        os.kill(killable.pid, signal.SIGCONT)

    assert took < 1.5


def test_a_server_that_hangs_after_an_event_was_stored_delays_no_call(killable):
    """The deadline limits the look at its settings, too, which a later call repeats."""
    warnings = Warnings()
    killable.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = build_store(killable, warn=warnings)
    publish_messages = store.engine.publish
    with ExitStack() as frozen:

        def publish_and_freeze(*arguments: Any) -> Mapping[int, PublishFailure]:
            refused = publish_messages(*arguments)
            frozen.enter_context(freeze(killable.pid))
            return refused

        store.engine.publish = publish_and_freeze
        start = time.monotonic()
        assert store.hand_over([event(1)], start + 0.5) == {}
        took = time.monotonic() - start
    store.engine.publish = publish_messages
    on_time = list(warnings)
    store.hand_over([event(2)], time.monotonic() + 5.0)

    assert took < 2.0
    assert on_time == []
    assert ["is allkeys-lru" in warning for warning in warnings] == [True]


def test_a_wrong_password_is_reported_and_not_shown(tmp_path):
    """The password is in no message, repr or traceback."""
    with RedisServer(tmp_path, "--requirepass", "right") as guarded:
        url = parse_url(f"redis://:S3cretPassw0rd@127.0.0.1:{guarded.port}/0")
        engine = RedisEngine(url)
        with pytest.raises(QueueError, match="refuses the user or password") as caught:
            engine.read_depth()
        assert caught.value.__context__ is not None
        shown = "".join(
            line
            for error in (caught.value, caught.value.__context__)
            for line in traceback.TracebackException.from_exception(
                error, capture_locals=True
            ).format()
            if "url = parse_url" not in line
        )
        right_url = parse_url(f"redis://:right@127.0.0.1:{guarded.port}/0")
        right = QueueStore(RedisEngine(right_url))
        assert right.hand_over([event(1)]) == {}

    assert "S3cretPassw0rd" not in shown
    assert "S3cretPassw0rd" not in f"{url!r}{vars(engine)}{vars(engine._servers)}"
