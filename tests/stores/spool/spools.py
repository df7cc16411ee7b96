"""Spools for the tests: make, leave behind, copy as a killed process, and drain."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from odp_logging import OdpEvent
from odp_logging._events.delivery import Delivery
from odp_logging._stores.spool.store import Spool

from ..contract import event, numbers


class Warnings(list[tuple[str, str]]):
    """Records the warnings of a spool."""

    def __call__(self, kind: str, message: str) -> None:
        self.append((kind, message))

    @property
    def kinds(self) -> list[str]:
        """The kinds of all warnings."""
        return [kind for kind, _ in self]


def make_spool(directory: Path, **changes: Any) -> Spool:
    """Return a spool with batches of ten; *changes* override arguments."""
    settings: dict[str, Any] = {
        "account": "account",
        "build": lambda logged: logged,
        "batch_size": 10,
        "batch_bytes": 1_000_000,
        "max_bytes": 1_000_000,
    }
    return Spool(directory, **{**settings, **changes})


def leave_orphaned_events(
    directory: Path, count: int, **changes: Any
) -> list[OdpEvent]:
    """Leave *count* events as an ended process does; return them."""
    events = [event(number) for number in range(count)]
    gone = make_spool(directory, **changes)
    for logged in events:
        gone.put(logged)
    gone.discard("exit")
    return events


def list_files(directory: Path) -> list[Path]:
    """Return the spool files."""
    return sorted(directory.glob("*.spool"))


def drain(store: Spool) -> list[int]:
    """Take and accept all events of *store*; return their numbers in order."""
    found: list[int] = []
    for _ in range(1000):
        if not (
            store.has_more() or store.get_last_sequence() > store.get_settled_sequence()
        ):
            return found
        batch = store.take()
        found += numbers(batch.events)
        store.settle(batch, Delivery(len(batch.events)))
    raise AssertionError("it never ends")


def copy_as_killed(directory: Path) -> Path:
    """Return a copy of *directory* as it would be if its process were killed now."""
    copy = directory.with_name(f"{directory.name}-killed")
    copy.mkdir(0o700)
    for path in directory.iterdir():
        if not path.name.endswith((".lock", "-shm")):
            shutil.copyfile(path, copy / path.name)
    return copy
