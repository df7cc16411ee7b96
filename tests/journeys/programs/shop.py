"""Log events to ODP, and write each log call to a ledger file. Shared by programs."""

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
    """Make the logger send to *url*; by default only the end of the process sends."""
    handler = OdpHandler(key, **{"api_host": url, "flush_interval": 60, **settings})
    log.addHandler(handler)
    return handler


def sell(number: int, source: str | None = None) -> None:
    """
    Log the event *number*, with an id built from the run and *number*.

    Args:
        source: Events of one source arrive in order. None for the current thread,
            empty for events without an order.
    """
    name = f"{RUN}:{number}"
    if source is None:
        source = f"{os.getpid()}.{threading.get_ident()}"
    note("tried", name, source)
    log.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": "u1"},
            "odp_data": {"n": number},
            "odp_idempotence_id": name,
        },
    )
    note("returned", name, source)


def note(word: str, name: object = "", source: str = "") -> None:
    """Write a line to the ledger, if there is one. It survives a kill."""
    if _ledger:
        os.write(_ledger, f"{word} {name} {source}\n".encode())


def record_drop(events: Sequence[OdpEvent], reason: str) -> None:
    """Write dropped events to the ledger; for `on_drop`."""
    for event in events:
        note("declared", event.idempotence_id, reason.split(":")[0])


def wait_until(is_reached: Callable[[], bool]) -> None:
    """Wait until *is_reached* returns True, for 20 seconds at most."""
    limit = time.monotonic() + 20
    while not is_reached():
        assert time.monotonic() < limit
        threading.Event().wait(0.005)
