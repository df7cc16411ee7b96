"""What the programs share: a logger whose tagged records go to ODP, and a ledger."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from odp_logging import OdpEvent, OdpHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)

RUN = os.environ.get("ODP_TEST_RUN", "run")
_path = os.environ.get("ODP_TEST_LEDGER")
_ledger = _path and os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def open_at(url: str, key: str = "key", **settings: object) -> OdpHandler:
    """Have the logger send to *url*, so late that only its end makes it send."""
    handler = OdpHandler(key, **{"api_host": url, "flush_interval": 60, **settings})
    log.addHandler(handler)
    return handler


def sell(number: int, lane: str | None = None) -> None:
    """
    Log the event *number*, with an id that follows from run and number.

    Args:
        lane: Within which events arrive in order; None for this thread's, empty for
            those that have no order.
    """
    name = f"{RUN}:{number}"
    if lane is None:
        lane = f"{os.getpid()}.{threading.get_ident()}"
    note("tried", name, lane)
    log.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": "u1"},
            "odp_data": {"n": number},
            "odp_idempotence_id": name,
        },
    )
    note("returned", name, lane)


def note(word: str, name: object = "", lane: str = "") -> None:
    """Write a line into the ledger, if there is one; a kill does not undo it."""
    if _ledger:
        os.write(_ledger, f"{word} {name} {lane}\n".encode())


def dropped(events: Sequence[OdpEvent], reason: str) -> None:
    """Write into the ledger what `on_drop` tells."""
    for event in events:
        note("declared", event.idempotence_id, reason.split(":")[0])


def until(reached: Callable[[], bool]) -> None:
    """Wait until *reached* says yes, for 20 seconds at most."""
    limit = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < limit
        threading.Event().wait(0.005)
