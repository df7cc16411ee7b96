"""What the programs under chaos share: ids of their own choice, and an auditor.

All settings come from the environment, so that a test may run them with others.
"""

from __future__ import annotations

import logging
import threading

from odp_logging import OdpClient, OdpHandler, Stats

log = logging.getLogger("books")
log.setLevel(logging.INFO)


def open_handler(**settings: object) -> OdpHandler:
    """Have the logger send to where the environment says."""
    handler = OdpHandler(**settings)
    log.addHandler(handler)
    return handler


def sell(run: str, lane: object, number: int, **more: object) -> None:
    """Log an event whose idempotence id says which it is."""
    log.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": "u1"},
            "odp_data": {"n": number, **more},
            "odp_idempotence_id": f"{run}-{lane}-{number}",
        },
    )


def balanced(stats: Stats) -> bool:
    """Whether every event is in exactly one place."""
    gone = sum(stats.rejected.values()) + sum(stats.dropped.values())
    kept = stats.pending + getattr(stats, "spooled", 0)
    return stats.accepted == stats.delivered + gone + kept


class Auditor:
    """Read the stats of *client* all the time, on a thread, until `end`."""

    def __init__(self, client: OdpClient) -> None:
        self.looks = 0
        self.wrong: list[Stats] = []
        self._client = client
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._audit, daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Read the stats once, on whichever thread."""
        stats = self._client.stats
        self.looks += 1
        if not balanced(stats):
            self.wrong.append(stats)

    def end(self) -> dict[str, object]:
        """Stop reading; return what was found, and the last stats."""
        self._done.set()
        self._thread.join(10)
        self.look()
        stats = self._client.stats
        return {
            "looks": self.looks,
            "wrong": len(self.wrong),
            "first_wrong": repr(self.wrong[0]) if self.wrong else "",
            "accepted": stats.accepted,
            "delivered": stats.delivered,
            "rejected": dict(stats.rejected),
            "dropped": dict(stats.dropped),
            "pending": stats.pending + getattr(stats, "spooled", 0),
            "retried": stats.retried,
            "requests": stats.requests,
        }

    def _audit(self) -> None:
        while not self._done.wait(0.0005):
            self.look()
