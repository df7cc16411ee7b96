"""Record every entry of an emulator's ledger, independently of its own counts."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from odp_logging.emulator import Emulator

_POLL_SECONDS = 0.05


class LedgerFollower:
    """
    Follow the ledger of *odp* within a `with` block, and record each idempotence id.

    The emulator keeps only its latest 10,000 entries and counts duplicates itself.
    This class reads every entry as it arrives and counts independently.
    """

    def __init__(self, odp: Emulator) -> None:
        self.accepted: set[str] = set()
        self.rejected: set[str] = set()
        self.duplicates = 0
        self.false_duplicates: list[str] = []
        """Ids of entries that the emulator calls duplicates although they are new."""
        self.repeated: list[str] = []
        """Ids that were accepted or rejected a second time."""
        self.missed = 0
        """Number of entries that were removed from the ledger before they were read."""
        self._odp = odp
        self._last = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def check(self, logged: set[str]) -> None:
        """Assert that all *logged* events arrived, each once, and no others."""
        received = self.accepted | self.rejected
        assert sorted(logged - received)[:20] == []
        assert received == logged
        found = (self.missed, self.false_duplicates, self.repeated)
        assert found == (0, [], [])

    def __enter__(self) -> LedgerFollower:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._read()

    def _follow(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            self._read()

    def _read(self) -> None:
        for entry in self._odp.events(since=self._last):
            self.missed += entry["n"] - self._last - 1
            self._last = entry["n"]
            self._record(entry["status"], entry["event"])

    def _record(self, status: str, event: Any) -> None:
        name = event["data"]["idempotence_id"]
        if status == "duplicate":
            self.duplicates += 1
            if name not in self.accepted:
                self.false_duplicates.append(name)
            return
        known = self.accepted if status == "accepted" else self.rejected
        if name in known:
            self.repeated.append(name)
        known.add(name)
