"""Which flushers post the library's own lines to an emulator, and what wakes them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from .._runtime.diagnostics import RECENT_LINES

if TYPE_CHECKING:
    from .._config.destination import Destination
    from .flusher import Flusher

# Weak, so that the flusher of a deleted client ends.
_flushers: weakref.WeakSet[Flusher] = weakref.WeakSet()


def feed_emulator(flusher: Flusher, destination: Destination) -> None:
    """Let *flusher* post lines to *destination*, if an emulator may be there."""
    if not destination.is_loopback or not destination.api_host.startswith("http://"):
        return
    # Imported here: only a client of an emulator needs it.
    from .._transports.emulator_feed import EmulatorFeed

    flusher.reports.feed = EmulatorFeed(destination)
    _flushers.add(flusher)
    RECENT_LINES.on_line = _wake_flushers


def _wake_flushers() -> None:
    for flusher in list(_flushers):
        flusher.wake_to_publish()
