"""A function of AWS Lambda that logs a sale, as its last act."""

from __future__ import annotations

import logging
from typing import Any

import odp_logging

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(odp_logging.OdpHandler(flush_interval=60))


def forgetful(event: dict[str, Any], context: Any) -> str:
    """Sell, and leave the event to a thread that is frozen."""
    logger.info(
        "sold",
        extra={
            "odp_action": "purchased",
            "odp_identifiers": {"fs_user_id": "user123"},
            "odp_data": {"order": event["order"], "request": context.aws_request_id},
        },
    )
    if event.get("fails"):
        raise LookupError("sold out")
    return f"order {event['order']}"


sell = odp_logging.flush_on_return(timeout=2)(forgetful)
