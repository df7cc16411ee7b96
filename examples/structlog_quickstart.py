"""
The same for structlog: a processor sends tagged events, and prints none of their keys.

Run it:

    python examples/structlog_quickstart.py

You will see two lines of JSON, without an e-mail address, and that both events were
delivered. With no ODP_API_KEY set they go to an emulator on this machine; with one, to
your ODP account.
"""

from __future__ import annotations

import contextlib
import os

import structlog

from odp_logging import OdpProcessor, bound_identifiers
from odp_logging.emulator import Emulator


def main() -> int:
    """Log a product view and a purchase; return 0 if both were delivered."""
    with contextlib.ExitStack() as stack:
        settings = {}
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            settings = {"api_key": "test", "api_host": odp.url}

        processor = OdpProcessor(**settings)
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                processor,  # after merge_contextvars, before the renderer
                structlog.processors.JSONRenderer(),
            ]
        )
        log = structlog.get_logger()

        # Once per request: whatever is logged within it is this person's.
        with bound_identifiers(fs_user_id="user123", email="a@example.com"):
            log.info("view", odp_action="viewed", odp_data={"item": "shirt"})
            log.info(
                "purchase",
                odp_action="purchased",
                odp_data={"item": "shirt", "price": 50.0},
                order=17,  # an ordinary key: printed, and not sent to ODP
            )

        # Not needed in an application: what is left is delivered at its end.
        processor.client.flush()
        stats = processor.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
