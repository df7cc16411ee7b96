"""One event, from a log call through Redis and a relay to ODP."""

from __future__ import annotations

import pytest

from ..redis_server import needs_redis
from ..waiting import until
from .processes import RelayProcess, run_shop

pytestmark = [needs_redis, pytest.mark.slow]


def test_an_event_reaches_odp_through_the_queue(redis, emulator):
    """Logged without a key, stored in Redis, delivered by a relay, acknowledged."""
    errors = run_shop(redis.url, 1)
    ((_, fields),) = redis.ask("XRANGE", "odp:events:{0}", "-", "+")
    with RelayProcess(redis.url, emulator) as relay:
        has_arrived = emulator.wait_for(1, 20)
        until(lambda: redis.ask("XLEN", "odp:events:{0}") == 0, "the acknowledgement")
        status = relay.end()

    assert errors == ""
    assert has_arrived and status == 0, relay.text
    (entry,) = emulator.events()
    assert entry["event"]["data"]["n"] == 0
    assert entry["event"]["data"]["idempotence_id"].encode() in fields[b"e"]
    assert redis.ask("XPENDING", "odp:events:{0}", "odp-relay")["pending"] == 0
    assert "1 event delivered" in relay.text
