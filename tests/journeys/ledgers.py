"""Books of our own on what an emulator took, event by event, however many they are."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from odp_logging.emulator import Emulator

_PATIENCE = 0.05


class Books:
    """
    Follow the ledger of *odp* while the `with` lasts, and note each idempotence id.

    The emulator shows its latest 10,000 entries only, and counts duplicates itself:
    here every entry is read as it comes, and nothing of its counting is believed.
    """

    def __init__(self, odp: Emulator) -> None:
        self.accepted: set[str] = set()
        self.rejected: set[str] = set()
        self.duplicates = 0
        self.strangers: list[str] = []
        """Ids of entries that the emulator calls duplicates, though they are new."""
        self.twice: list[str] = []
        """Ids that were accepted or rejected a second time."""
        self.missed = 0
        """Entries that had left the ledger before they were read."""
        self._odp = odp
        self._last = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Books:
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
        while not self._done.wait(_PATIENCE):
            self._read()

    def _read(self) -> None:
        for entry in self._odp.events(since=self._last):
            self.missed += entry["n"] - self._last - 1
            self._last = entry["n"]
            self._enter(entry["status"], entry["event"])

    def _enter(self, status: str, event: Any) -> None:
        name = event["data"]["idempotence_id"]
        if status == "duplicate":
            self.duplicates += 1
            if name not in self.accepted:
                self.strangers.append(name)
            return
        known = self.accepted if status == "accepted" else self.rejected
        if name in known:
            self.twice.append(name)
        known.add(name)
