"""
Everything in a file: `logging.yaml` beside this program sets up console and ODP.

Run it:

    pip install PyYAML
    python examples/dict_config.py

You will see the same line on the console as ever, and that the event was delivered; the
file has the card number left out of it. With no ODP_API_KEY set it goes to an emulator
on this machine; with one, to your ODP account.
"""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
from pathlib import Path

try:
    import yaml
except ImportError:
    raise SystemExit("this example reads YAML: pip install PyYAML") from None

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator

SETTINGS = Path(__file__).with_name("logging.yaml")


def main() -> int:
    """Configure from the file and log a purchase; return 0 if it was delivered."""
    with contextlib.ExitStack() as stack:
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            print(f"ODP emulator {odp.page}")
            # The file names no key and no host: the environment does.
            os.environ.update(ODP_API_KEY="test", ODP_API_HOST=odp.url)

        with SETTINGS.open(encoding="utf-8") as file:
            logging.config.dictConfig(yaml.safe_load(file))

        logging.getLogger("shop.till").info(
            "purchase",
            extra={
                "odp_action": "purchased",
                "odp_identifiers": {"customer_id": 17850},
                "odp_data": {"item": "shirt", "card_number": "4111 1111 1111 1111"},
            },
        )

        # Not needed in an application: what is left is delivered at its end.
        [handler] = [h for h in logging.root.handlers if isinstance(h, OdpHandler)]
        handler.flush()
        stats = handler.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
