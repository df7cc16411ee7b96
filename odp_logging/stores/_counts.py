"""What became of a store's events, as others may read it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, int] = MappingProxyType({})


class Counts(NamedTuple):
    """
    What a store did with its events, read at one moment.

    Always: ``accepted == delivered + sum(rejected) + sum(dropped) + pending + spooled +
    moved``. What one store moved to another one counts here as positive, there as
    negative.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = NONE
    dropped: Mapping[str, int] = NONE
    pending: int = 0
    spooled: int = 0
    moved: int = 0
    replayed: int = 0
    queue_bytes: int = 0
    retried: int = 0
    adjusted: Mapping[str, int] = NONE

    @property
    def waiting(self) -> int:
        """Events still to be sent, in memory and on disk."""
        return self.pending + self.spooled
