"""
A log call becomes an ODP event: the ten lines that matter, for `logging`.

Run it:

    python examples/quickstart.py

You will see two lines of an ordinary log, and that the tagged one was delivered. With
no ODP_API_KEY set it goes to an emulator on this machine; with one, to your account.
"""

from __future__ import annotations

import contextlib
import logging
import os

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator


def main() -> int:
    """Log a line and a purchase; return 0 if the purchase was delivered."""
    with contextlib.ExitStack() as stack:
        settings = {}
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            settings = {"api_key": "test", "api_host": odp.url}

        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        handler = OdpHandler(**settings)
        logging.getLogger().addHandler(handler)
        logger = logging.getLogger("shop")

        logger.info("an ordinary line: printed, and not sent to ODP")
        logger.info(
            "purchase",
            extra={
                "odp_action": "purchased",  # the tag that makes it an event
                "odp_identifiers": {"fs_user_id": "user123", "email": "a@example.com"},
                "odp_data": {"item": "shirt", "price": 50.0},
            },
        )

        # Not needed in an application: what is left is delivered at its end.
        handler.flush()
        stats = handler.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
