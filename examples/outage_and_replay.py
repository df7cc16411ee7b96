"""
ODP is down, the process is killed, and nothing is lost: the spool, seen working.

Run it:

    python examples/outage_and_replay.py

You will see a program log five purchases while ODP is down and die of kill -9, and a
second one deliver them once ODP is back. It always uses an emulator, because an
account cannot be told to fail.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

from odp_logging import OdpClient
from odp_logging.emulator import Emulator


def shop(url: str, spool: str) -> None:
    """Sell five shirts, and be killed."""
    # "crash": each event is on disk before its call returns.
    client = OdpClient("test", api_host=url, spool=spool, durability="crash")
    for number in range(5):
        client.send_odp_event(
            "purchased", {"fs_user_id": f"user{number}"}, data={"item": "shirt"}
        )
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Have the shop killed during an outage; return 0 if nothing was lost."""
    with tempfile.TemporaryDirectory() as home, Emulator() as odp:
        spool = os.path.join(home, "spool")
        odp.fault(status=503)
        print("ODP is down")
        killed = subprocess.run([sys.executable, __file__, odp.url, spool], check=False)
        print(f"the shop sold 5 shirts and was killed (status {killed.returncode})")
        print(f"ODP has {odp.stats()['unique']} of them")

        odp.clear_faults()
        print("ODP is back, and another process starts")
        # A client is enough: it sends what others left, in the background.
        with OdpClient("test", api_host=odp.url, spool=spool) as client:
            odp.wait_for(unique=5, timeout=10)
        print(f"replayed {client.stats.replayed}, ODP has {odp.stats()['unique']} of 5")
        return 0 if odp.stats()["unique"] == 5 else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        shop(*sys.argv[1:])
    raise SystemExit(main())
