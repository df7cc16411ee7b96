"""Keeps events in their store while a test blocks the network.

The innermost step before `Http` and `Handoff`. It is the only part of a transport that
knows of tests, see `_capture.interception`.
"""

from __future__ import annotations

from .._capture import interception
from .._events.batch import Batch
from .._events.delivery import Cause, Delivery
from .base import BaseTransport, WrappingTransport


class GuardedTransport(WrappingTransport):
    """
    A `Transport` that sends through *inner*, unless a test blocks *host*.

    A client rejects events for a blocked host in the log call. So this keeps only those
    that were put, or left in a spool, before the block was set.

    Args:
        host: URL of the host to which *inner* sends.
    """

    def __init__(self, inner: BaseTransport, host: str) -> None:
        super().__init__(inner)
        self._host = host

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* and report the outcome of each event."""
        # Read for each batch: a test may set the block while events wait.
        block = interception.current.block
        if block is None or not block.blocks(self._host):
            return self._inner.send(batch, deadline=deadline)
        reason = block.defer(self._host)
        return Delivery.all_pending(
            len(batch.events), Cause.MISCONFIGURED, reason, requests=0
        )
