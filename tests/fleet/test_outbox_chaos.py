"""Exactly the events of committed orders arrive while processes are killed."""

from __future__ import annotations

import pytest

from ..postgresql import needs_postgresql

pytest.importorskip("psycopg")
pytest.importorskip("psycopg2")
pytest.importorskip("sqlalchemy")

from .outbox_chaos import run

pytestmark = [needs_postgresql, pytest.mark.slow]


def test_events_are_those_of_the_committed_orders():
    """None is lost, and none of a transaction or savepoint that was rolled back."""
    outcome = run(transactions=1500, kills=5)

    assert 600 < outcome.committed <= 1000
    assert (outcome.lost, outcome.phantoms) == (0, 0)
    assert (outcome.waiting, outcome.dead) == (0, 0)
