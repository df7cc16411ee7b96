"""
Segment's `track` and `identify`, as log calls that reach ODP: keep your call sites.

Run it:

    python examples/from_segment.py

You will see what Segment's own ODP destination makes of the same calls, delivered. With
no ODP_API_KEY set they go to an emulator on this machine; with one, to your account.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator

EVENTS = {
    "Product Viewed": ("product", "detail"),
    "Product Added": ("product", "add_to_cart"),
    "Product Removed": ("product", "remove_from_cart"),
    "Order Completed": ("order", "purchase"),
}
"""ODP's type and action, by Segment's name; other events keep their name."""

logger = logging.getLogger("shop")


def track(user_id: str, event: str, properties: Mapping[str, Any]) -> None:
    """Log *event* where `analytics.track` was called."""
    kind, action = EVENTS.get(event, (None, event.lower().replace(" ", "_")))
    extra = {"odp_type": kind, "odp_action": action, "odp_data": properties}
    logger.info(event, extra={**extra, "odp_identifiers": {"fs_user_id": user_id}})


def identify(user_id: str, traits: Mapping[str, Any]) -> None:
    """Connect a user's id with an address, as `analytics.identify` did."""
    who = {"fs_user_id": user_id, "email": traits.get("email")}
    logger.info("who", extra={"odp_action": "identified", "odp_identifiers": who})


def main() -> int:
    """Send five events; return 0 if they were delivered."""
    with contextlib.ExitStack() as stack:
        settings = {}
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            settings = {"api_key": "test", "api_host": odp.url}

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        handler = OdpHandler(**settings)
        logger.addHandler(handler)

        identify("user123", {"email": "a@example.com", "plan": "gold"})
        track("user123", "Product Viewed", {"product_id": "17", "price": 50.0})
        track("user123", "Product Added", {"product_id": "17", "quantity": 2})
        track("user123", "Order Completed", {"order_id": "9", "total": 100.0})
        track("user123", "Signed Up", {"plan": "gold"})

        # Not needed in an application: what is left is delivered at its end.
        handler.flush()
        stats = handler.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
