"""
optimizely-sdk's `send_odp_event` calls, delivered by this library: one line changes.

Run it (needs `pip install optimizely-sdk`):

    python examples/optimizely_bridge.py

You will see two purchases and a log line delivered although ODP is too busy at first,
where the SDK by itself gives events up. With no ODP_API_KEY set they go to an emulator
on this machine, which the datafile names; with one, to your account.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os

from optimizely.helpers.sdk_settings import OptimizelySdkSettings
from optimizely.optimizely import Optimizely

from odp_logging import OdpHandler
from odp_logging.emulator import Emulator
from odp_logging.optimizely import OdpBridge, bound_user


def datafile(host: str) -> str:
    """Return what Optimizely's CDN would: here, little more than where ODP is."""
    odp = {"key": "odp", "host": host, "publicKey": "test"}
    lists = ("groups", "experiments", "events", "audiences", "attributes")
    more = {name: [] for name in (*lists, "featureFlags", "rollouts")}
    names = {"version": "4", "revision": "1", "projectId": "1", "accountId": "1"}
    return json.dumps({**names, **more, "sdkKey": "sdk", "integrations": [odp]})


def main() -> int:
    """Send three events; return 0 if they were delivered."""
    with contextlib.ExitStack() as stack:
        host = "https://api.zaius.com"
        if not os.environ.get("ODP_API_KEY"):
            odp = stack.enter_context(Emulator())
            odp.fault(status=429, retry_after=1, count=1)
            print(f"ODP emulator {odp.page}")
            host = odp.url

        bridge = OdpBridge()
        optimizely = Optimizely(
            datafile(host),
            settings=OptimizelySdkSettings(odp_event_manager=bridge),  # the line
        )
        bridge.attach(optimizely)  # also what the SDK itself would refuse or drop

        # The calls stay as they are. The SDK takes no list as data; ODP does.
        who = {"fs_user_id": "user123", "email": "a@example.com"}
        data = {"item": "shirt", "price": 50.0}
        optimizely.send_odp_event("purchased", who, data=data)
        optimizely.send_odp_event("purchased", who, data={"items": [data, data]})

        # Log calls can go the same way, and know whom a user context is about.
        handlers = [logging.StreamHandler(), OdpHandler(client=bridge.client)]
        logging.basicConfig(handlers=handlers)
        with bound_user(optimizely.create_user_context("user123")):
            logging.getLogger("shop").warning("sold out", extra={"odp_action": "left"})

        # Not needed in an application: what is left is delivered at its end.
        bridge.client.flush()
        stats = bridge.client.stats
        print(f"delivered {stats.delivered} of {stats.accepted}")
        optimizely.close()
        return 0 if stats.delivered == stats.accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
