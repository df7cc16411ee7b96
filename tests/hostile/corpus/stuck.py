"""Log two events and, between them on a daemon thread, one that never answers."""

from __future__ import annotations

import logging
import sys
import threading

from odp_logging import OdpHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
inside = threading.Event()


class Stuck:
    """An object whose text nobody lives to see."""

    def __str__(self) -> str:
        inside.set()
        threading.Event().wait()
        return "never"


def sell(value: object) -> None:
    """Log one event."""
    who = {"fs_user_id": "u1"}
    fields = {"odp_action": "sold", "odp_identifiers": who, "odp_data": {"v": value}}
    log.info("sold", extra=fields)


log.addHandler(OdpHandler("key", api_host=sys.argv[1], flush_interval=60))
sell("before")
threading.Thread(target=sell, args=(Stuck(),), daemon=True).start()
assert inside.wait(10)
sell("after")
