"""Nothing is lost while relays and Redis are killed and ODP answers with faults."""

from __future__ import annotations

import pytest

from ..redis_server import needs_redis
from .chaos import run

pytestmark = [needs_redis, pytest.mark.slow]


def test_nothing_is_lost_while_everything_dies(tmp_path):
    """Each event arrives, duplicates carry its id, and nothing stays pending."""
    found = run(tmp_path, events=6000, relay_kills=4, redis_kills=2)

    assert found.logged == 6000
    assert (found.lost, found.strangers, found.dead) == (0, 0, 0)
    assert (found.waiting, found.pending) == (0, 0)
