"""What every transport does: the protocol `Transport`, and base classes to derive from.

The flusher sends each batch through one of these. A transport that sends through
another one, as `Retry` does, derives from `WrappingTransport`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from .._events.batch import Batch
from .._events.delivery import Delivery


class Transport(Protocol):
    """
    Sends batches of events out of the process.

    One thread at a time calls these methods. `send` reports the outcome of each event
    and does not raise. It does not sleep between attempts either: its result says how
    long to wait before the next one.
    """

    @abstractmethod
    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """
        Send *batch* and report the outcome of each event.

        Args:
            deadline: Time of `monotonic` by which this must return.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections; a later `send` opens new ones."""


class BaseTransport(Transport):
    """A `Transport` with defaults for what not every transport has to do."""

    def prepare(self) -> None:
        """Import and build what the first `send` needs; this may take a while.

        Called once, before the first `send`. No fork happens meanwhile.
        """

    def after_fork(self) -> None:
        """Discard, in a forked child, the connections of the parent."""


class WrappingTransport(BaseTransport):
    """
    A transport that sends through another one.

    Args:
        inner: The other transport; no other object uses it.
    """

    def __init__(self, inner: BaseTransport) -> None:
        self._inner = inner

    def prepare(self) -> None:
        """Prepare the inner transport for its first `send`."""
        self._inner.prepare()

    def close(self) -> None:
        """Close connections; a later `send` opens new ones."""
        self._inner.close()

    def after_fork(self) -> None:
        """Discard, in a forked child, the connections of the parent."""
        self._inner.after_fork()
