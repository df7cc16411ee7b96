"""Hand-off: writes events to a queue, from which relays deliver them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .._events.batch import Batch
from .._events.delivery import Cause, Delivery
from .._events.event import OdpEvent
from .._stores.queue.messages import PublishFailure, QueueError
from .base import BaseTransport


class Queue(Protocol):
    """The part of a queue shared with relays that a `Handoff` calls."""

    def hand_over(
        self, events: Sequence[OdpEvent], deadline: float | None = None
    ) -> Mapping[int, PublishFailure]:
        """Store *events*; return failures by index, or raise QueueError."""

    def close(self) -> None:
        """Close connections."""

    def after_fork(self) -> None:
        """Discard, in a forked child, the connections of the parent."""


class Handoff(BaseTransport):
    """
    A `Transport` that writes events to *queue*.

    An event is accepted once the queue has confirmed it. Back-pressure and outages
    leave it pending: the store it came from keeps it, within its limits.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Write *batch* to the queue and report the outcome of each event."""
        size = len(batch.events)
        try:
            failures = self._queue.hand_over(batch.events, deadline)
        except QueueError as error:
            # The queue may have stored some of them before the connection failed.
            return Delivery.all_pending(
                size, Cause.TRANSIENT, str(error), in_doubt=True
            )
        if not failures:
            return Delivery(size)
        return Delivery(
            size,
            pending=tuple(sorted(failures)),
            in_doubt=frozenset(
                index for index, failure in failures.items() if failure.in_doubt
            ),
            cause=Cause.TRANSIENT,
            message=next(iter(failures.values())).message,
        )

    def close(self) -> None:
        """Close connections."""
        self._queue.close()

    def after_fork(self) -> None:
        """Discard, in a forked child, the connections of the parent."""
        self._queue.after_fork()
