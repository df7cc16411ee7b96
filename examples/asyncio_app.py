"""
Many tasks at once, each with identifiers of its own: asyncio.

Run it:

    python examples/asyncio_app.py

You will see three customers shop at the same time in one thread, and that each event
names the one whose it is. With no ODP_API_KEY set they go to an emulator on this
machine; with one, to your account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from odp_logging import OdpHandler, bind_identifiers
from odp_logging.emulator import Emulator

logger = logging.getLogger("shop")


def log(action: str, **data: object) -> None:
    """Log an event of whoever is bound in the task that runs."""
    logger.info("%s %s", action, data, extra={"odp_action": action, "odp_data": data})


async def shop(customer: str, basket: list[str]) -> None:
    """Look at each thing, and buy it; others shop meanwhile."""
    bind_identifiers(fs_user_id=customer)  # for this task alone
    for item in basket:
        log("viewed", item=item)
        await asyncio.sleep(0.01)  # others have their turn
        log("purchased", item=item)


async def main() -> int:
    """Have three customers shop; return 0 if everything was delivered."""
    with contextlib.ExitStack() as stack:
        settings = {}
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            settings = {"api_key": "test", "api_host": odp.url}
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        handler = OdpHandler(**settings)
        logger.addHandler(handler)

        await asyncio.gather(
            shop("ann", ["shirt", "hat"]), shop("bob", ["scarf"]), shop("cid", ["sock"])
        )
        # What the end of the process does as well, and what a server's shutdown hook
        # does without holding up its loop.
        await handler.client.aclose(timeout=5)
        stats = handler.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if stats.delivered == stats.accepted == 8 else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
