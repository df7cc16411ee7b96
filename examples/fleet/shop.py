"""
One application of many: it logs, and knows of a queue, but of no key.

Run it beside a relay, with the queue's URL in ODP_QUEUE_URL:

    python examples/fleet/shop.py NAME SECONDS

You will see how many events it logged and how many the queue took. `run.py` starts two
of these, and everything else.
"""

from __future__ import annotations

import logging
import sys
import threading
import time

from odp_logging import OdpHandler


def main(name: str, seconds: float) -> int:
    """Sell a hundred shirts a second; return 0 if the queue has all of them."""
    console = logging.StreamHandler()
    console.setLevel(logging.WARNING)
    logging.getLogger().addHandler(console)
    handler = OdpHandler(flush_interval=0.2)
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    pause, end = threading.Event(), time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        logger.info(
            "purchase",
            extra={
                "odp_action": "purchased",
                "odp_identifiers": {"fs_user_id": f"{name}-{count % 50}"},
                "odp_data": {"item": "shirt", "number": count},
            },
        )
        count += 1
        pause.wait(0.01)
    handler.client.flush(30)
    stats = handler.client.stats
    print(f"{name} logged {stats.accepted}, handed over {stats.delivered}", flush=True)
    return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], float(sys.argv[2])))
