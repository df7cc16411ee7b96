"""`odp_logging.event`: the fields of an event for a log call."""

from __future__ import annotations

import logging

import pytest
import structlog

from odp_logging import OdpHandler, OdpProcessor, event
from odp_logging.testing import Events


def test_extra_of_a_log_call(odp_events: Events, logger: logging.Logger) -> None:
    """Every argument arrives in the event."""
    logger.addHandler(OdpHandler("test"))
    logger.info(
        "x",
        extra=event(
            "purchased",
            {"email": "a@example.com"},
            type="order",
            data={"price": 50.0},
            timestamp=1_700_000_000,
        ),
    )
    [found] = odp_events
    assert (found.type, found.action) == ("order", "purchased")
    assert found.identifiers == {"email": "a@example.com"}
    assert (found.data["price"], found.data["ts"]) == (50.0, 1_700_000_000)


def test_keywords_of_structlog(odp_events: Events) -> None:
    """The fields are the keywords of a call, and are not printed."""
    log = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[OdpProcessor(api_key="test"), lambda _, __, fields: repr(fields)],
    )
    text = log.info("purchase", **event("purchased", {"email": "a@example.com"}))
    assert text == "{'event': 'purchase'}"
    assert odp_events.assert_one(action="purchased").type == "fullstack"


def test_what_was_not_given_is_left_out() -> None:
    """Bound and default values apply to it."""
    assert event("purchased") == {"odp_action": "purchased"}


def test_a_wrong_value_is_rejected_where_the_record_is_handled(
    odp_events: Events, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """The call of `event` never raises for a value; the log call names its line."""
    logger.addHandler(OdpHandler("test"))
    logger.info("x", extra=event("", {"email": "a@example.com"}))
    assert not [*odp_events]
    assert "test_event.py:" in caplog.text
