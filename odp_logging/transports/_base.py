"""What every transport does."""

from __future__ import annotations

from typing import Protocol

from .._delivery import Delivery
from ..stores._base import Batch


class Transport(Protocol):
    """
    A way for a batch to leave the process.

    All methods are called by one thread at a time. `send` answers with what became of
    the batch and does not raise; it does not wait between attempts either, but says in
    its answer how long the next one should wait.
    """

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """
        Send *batch* and report what became of each event.

        Args:
            deadline: Moment of ``time.monotonic()`` at which the answer is due.
        """

    def prepare(self) -> None:
        """Load what the first `send` will need; may take a while."""

    def close(self) -> None:
        """Let go of connections; a later `send` opens new ones."""

    def after_fork(self) -> None:
        """Forget, in a forked child, connections that belong to the parent."""
