"""No event is lost while relays and servers are killed and ODP answers with faults."""

from __future__ import annotations

import pytest

from ..pgbouncer import needs_pgbouncer
from ..postgresql import needs_postgresql
from ..redis_server import needs_redis
from .chaos import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "queue",
    [
        pytest.param("redis", marks=needs_redis),
        pytest.param("postgresql", marks=needs_postgresql),
        pytest.param("pgbouncer", marks=[needs_postgresql, needs_pgbouncer]),
        pytest.param("replica", marks=needs_postgresql),
    ],
)
def test_no_event_is_lost_while_processes_are_killed(tmp_path, queue):
    """Each event arrives, duplicates have its id, and none stays in the queue."""
    outcome = run(tmp_path, queue, events=6000, relay_kills=4, server_kills=2)

    assert outcome.logged == 6000
    assert (outcome.lost, outcome.unknown, outcome.dead) == (0, 0, 0)
    assert (outcome.waiting, outcome.leased) == (0, 0)
