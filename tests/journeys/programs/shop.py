"""What the programs share: a logger whose tagged records go to the emulator."""

from __future__ import annotations

import logging

from odp_logging import OdpHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)


def open_at(url: str, **settings: object) -> OdpHandler:
    """Have the logger send to *url*, so late that only its end makes it send."""
    handler = OdpHandler("key", **{"api_host": url, "flush_interval": 60, **settings})
    log.addHandler(handler)
    return handler


def sell(number: int) -> None:
    """Log the event *number*."""
    log.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": "u1"},
            "odp_data": {"n": number},
        },
    )
