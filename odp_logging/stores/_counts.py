"""What became of a store's events, as others may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What a store did with its events, read at one moment.

    Always: ``accepted == delivered + sum(rejected) + sum(dropped) + pending + spooled +
    moved``. What one store moved to another one counts here as positive, there as
    negative.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    spooled: int = 0
    moved: int = field(default=0, repr=False)
    replayed: int = 0
    queue_bytes: int = 0
    retried: int = 0
    adjusted: Mapping[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Events still to be sent, in memory and on disk."""
        return self.pending + self.spooled
