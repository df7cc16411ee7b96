"""Hand-off: events go into a queue, from which relays deliver them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .._delivery import Cause, Delivery
from .._event import OdpEvent
from ..stores._base import Batch
from ..stores._parcels import QueueError, Refusal


class Queue(Protocol):
    """What a `Handoff` needs of a store that is shared with relays."""

    def hand_over(
        self, events: Sequence[OdpEvent], deadline: float | None = None
    ) -> Mapping[int, Refusal]:
        """Put *events* there; return by position which are not, or raise QueueError."""

    def close(self) -> None:
        """Let go of connections."""

    def after_fork(self) -> None:
        """Forget connections that belong to the parent."""


class Handoff:
    """
    A `Transport` into *queue*.

    An event is accepted once the queue has answered that it is there. Back-pressure and
    outages leave it pending: the store it came from holds it, within its bounds.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Hand *batch* over and report what became of each event."""
        size = len(batch.events)
        try:
            refused = self._queue.hand_over(batch.events, deadline)
        except QueueError as error:
            return Delivery.nothing_yet(size, Cause.PASSING, str(error), in_doubt=True)
        if not refused:
            return Delivery(size)
        return Delivery(
            size,
            pending=tuple(sorted(refused)),
            in_doubt=frozenset(n for n, each in refused.items() if each.in_doubt),
            cause=Cause.PASSING,
            message=next(iter(refused.values())).message,
        )

    def prepare(self) -> None:
        """Do nothing: what it takes is there since the client was made."""

    def close(self) -> None:
        """Let go of connections."""
        self._queue.close()

    def after_fork(self) -> None:
        """Forget connections that belong to the parent."""
        self._queue.after_fork()
