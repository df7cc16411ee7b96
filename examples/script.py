"""
A cron job that reads orders from a pipe, and whose exit code says whether ODP has them.

Run it:

    python examples/script.py
    printf 'user1,shirt\\nuser2,hat\\n' | python examples/script.py -

You will see how many events were delivered. With no ODP_API_KEY set they go to an
emulator on this machine; with one, to your account. Ended early, by Ctrl-C, SIGTERM or
an error, it still delivers what it has logged.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterable

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator

ORDERS = ["user1,shirt", "user2,hat", "user1,scarf"]
logger = logging.getLogger("orders")


def sell(orders: Iterable[str]) -> None:
    """Log one event for each line."""
    for line in orders:
        user, item = line.strip().split(",")
        logger.info(
            "sold %s",
            item,
            extra={
                "odp_action": "purchased",
                "odp_identifiers": {"fs_user_id": user},
                "odp_data": {"item": item},
            },
        )


def main() -> int:
    """Sell what was ordered; return 0 if ODP took all of it."""
    parser = argparse.ArgumentParser(description="Send orders to ODP.")
    parser.add_argument("orders", nargs="?", help="a file of user,item; - for a pipe")
    parser.add_argument("--wait", type=float, default=30.0, help="seconds for ODP")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        settings = {}
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            settings = {"api_key": "test", "api_host": odp.url}
        logging.basicConfig()  # warnings to stderr
        logger.setLevel(logging.INFO)
        handler = OdpHandler(**settings)
        logger.addHandler(handler)

        lines = ORDERS
        if given.orders:
            lines = stack.enter_context(argparse.FileType()(given.orders))
        sell(lines)
        # The end of the process delivers as well; asked here, it decides the exit code.
        done = handler.client.flush(given.wait)
        stats = handler.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if done and stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    sys.exit(main())
