"""
Tests of an application that logs: its events in memory, or at an emulator.

Run it:

    pip install pytest
    python -m pytest examples/test_shop.py

You will see five tests pass. Nothing is patched and no key is needed. Events for any
other machine would be blocked, with a warning for the test.
"""

from __future__ import annotations

import logging
import unittest

import pytest

from odp_logging import OdpHandler, bound_identifiers
from odp_logging.testing import EmulatedOdp, Events, capture

# The application, in life in modules of its own.

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler())


def checkout(user: str, total: float) -> None:
    """Sell something."""
    with bound_identifiers(fs_user_id=user):
        data = {"total": total, "currency": "EUR"}
        fields = {"odp_type": "order", "odp_action": "purchase", "odp_data": data}
        logger.info("sold", extra=fields)


# Its tests.


def test_checkout(odp_events: Events) -> None:
    """A sale is one purchase, with its total."""
    checkout("u1", 12.5)
    user = {"fs_user_id": "u1"}
    odp_events.assert_one(action="purchase", identifiers=user, data__total=12.5)


def test_nobody(odp_events: Events) -> None:
    """A sale to nobody is no event, and says why."""
    checkout("", 12.5)
    assert [each.reason for each in odp_events.rejected] == ["no_identifiers"]


def test_failure_text(odp_events: Events) -> None:
    """Where nothing fits, the nearest event is shown beside what was wanted."""
    checkout("u1", 13.0)
    with pytest.raises(AssertionError, match=r"data\.total  13\.0 +wanted 12\.5"):
        odp_events.assert_one(action="purchase", data__total=12.5)


def test_outage(odp_emulator: EmulatedOdp) -> None:
    """ODP fails three times; then all is there, and nothing twice."""
    with odp_emulator.failing(status=503, count=3, retry_after=0.1):
        for number in range(10):
            checkout(f"u{number}", 1.0)
        assert odp_emulator.wait_for(10, timeout=10)
    assert odp_emulator.duplicates == 0


class TestWithoutPytest(unittest.TestCase):
    """The same for unittest, or for any program."""

    def test_checkout(self) -> None:
        """What is logged in the block is captured."""
        with capture() as events:
            checkout("u2", 5.0)
        events.assert_one(identifiers={"fs_user_id": "u2"})
