"""Sends over HTTP, or writes to the spool what memory has no room to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._events.batch import Batch
from .._events.delivery import Delivery
from .base import BaseTransport, WrappingTransport

if TYPE_CHECKING:
    from .._stores.base import OverflowStore


class Fallback(WrappingTransport):
    """
    A `Transport` that sends through *inner*, or stores events in *spool*.

    Events go to the spool while memory is nearly full, and as long as earlier events
    are there. So they stay in order, and an outage does not delay later ones.

    Args:
        is_nearly_full: Whether memory has no room left for events that wait.
        on_spooled: Called after events were stored in the spool.
    """

    def __init__(
        self,
        inner: BaseTransport,
        spool: OverflowStore,
        *,
        is_nearly_full: Callable[[], bool],
        on_spooled: Callable[[], object],
    ) -> None:
        super().__init__(inner)
        self._spool = spool
        self._is_nearly_full = is_nearly_full
        self._on_spooled = on_spooled

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch*, or store it on disk, and report the outcome of each event."""
        size = len(batch.events)
        # Asked for each batch: the spool may have been emptied meanwhile.
        needs_spool = self._spool.has_unsent_events() or self._is_nearly_full()
        if needs_spool and self._spool.take_over(batch.events):
            self._on_spooled()
            return Delivery(size, spooled=tuple(range(size)), requests=0)
        delivery = self._inner.send(batch, deadline=deadline)
        # A buffer keeps no dead letters: `odp-logging dead` finds them here.
        if delivery.rejected:
            self._spool.add_dead_letters(batch.events, delivery.rejected)
        return delivery
