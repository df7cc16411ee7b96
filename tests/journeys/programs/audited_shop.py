"""Log events with known ids, and check the stats meanwhile. Shared by programs.

All settings come from the environment, so each test can set its own.
"""

from __future__ import annotations

import logging
import threading

from odp_logging import OdpClient, OdpHandler, Stats

log = logging.getLogger("shop")
log.setLevel(logging.INFO)


def open_handler(**settings: object) -> OdpHandler:
    """Make the logger send to ODP as the environment configures."""
    handler = OdpHandler(**settings)
    log.addHandler(handler)
    return handler


def sell(run: str, source: object, number: int, **more: object) -> None:
    """Log an event with an idempotence id built from the arguments."""
    log.info(
        "sold",
        extra={
            "odp_action": "sold",
            "odp_identifiers": {"fs_user_id": "u1"},
            "odp_data": {"n": number, **more},
            "odp_idempotence_id": f"{run}-{source}-{number}",
        },
    )


def is_balanced(stats: Stats) -> bool:
    """Return whether every accepted event is counted exactly once."""
    lost = sum(stats.rejected.values()) + sum(stats.dropped.values())
    pending = stats.pending + getattr(stats, "spooled", 0)
    return stats.accepted == stats.delivered + lost + pending


class Auditor:
    """Check the stats of *client* on a thread, all the time until `end`."""

    def __init__(self, client: OdpClient) -> None:
        self.checks = 0
        self.unbalanced: list[Stats] = []
        self._client = client
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._audit, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check the stats once. Thread-safe."""
        stats = self._client.stats
        self.checks += 1
        if not is_balanced(stats):
            self.unbalanced.append(stats)

    def end(self) -> dict[str, object]:
        """Stop checking; return the findings and the last stats."""
        self._done.set()
        self._thread.join(10)
        self.check()
        stats = self._client.stats
        return {
            "checks": self.checks,
            "unbalanced": len(self.unbalanced),
            "first_unbalanced": repr(self.unbalanced[0]) if self.unbalanced else "",
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
            self.check()
