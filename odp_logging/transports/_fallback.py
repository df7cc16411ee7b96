"""HTTP, or else the spool: what there is no room to wait with goes to disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from .._delivery import Delivery
from .._event import OdpEvent
from ..stores._base import Batch
from ._base import Transport


class Shelf(Protocol):
    """What a `Fallback` needs of a spool."""

    def keep(self, events: Sequence[OdpEvent]) -> bool:
        """Take over *events*: all, or none of them."""

    def bury(self, events: Sequence[OdpEvent], reasons: Mapping[int, str]) -> None:
        """Keep those of *events* that were rejected, by position, as dead letters."""

    def holds(self) -> bool:
        """Whether events wait there."""


class Fallback:
    """
    A `Transport` that sends through *inner*, or leaves events in *spool*.

    They go to the spool while there is no room to wait in memory, and as long as
    earlier ones are there: so they stay in order, and an outage does not hold up those
    that come.

    Args:
        is_pressed: Whether there is no room to wait in memory.
        on_kept: Called after events were left in the spool.
    """

    def __init__(
        self,
        inner: Transport,
        spool: Shelf,
        *,
        is_pressed: Callable[[], bool],
        on_kept: Callable[[], object],
    ) -> None:
        self._inner = inner
        self._spool = spool
        self._is_pressed = is_pressed
        self._on_kept = on_kept

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch*, or keep it on disk, and report on each event."""
        size = len(batch.events)
        if (self._spool.holds() or self._is_pressed()) and self._spool.keep(
            batch.events
        ):
            self._on_kept()
            return Delivery(size, spooled=tuple(range(size)), requests=0)
        delivery = self._inner.send(batch, deadline=deadline)
        if delivery.rejected:
            self._spool.bury(batch.events, delivery.rejected)
        return delivery

    def prepare(self) -> None:
        """Load what the first request will need."""
        self._inner.prepare()

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._inner.after_fork()
