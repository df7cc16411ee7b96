"""A transport that is made when it is first needed: what it takes is imported then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._delivery import Delivery
    from ..stores._base import Batch
    from ._base import Transport


class Late:
    """
    A `Transport` that stands for the one *make* returns, from its first use on.

    A program that configures its logging does not wait for modules that the sending
    thread needs, nor does one that never logs an event.
    """

    def __init__(self, make: Callable[[], Transport]) -> None:
        self._make = make
        self._inner: Transport | None = None

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* and report what became of each event."""
        return self._ready().send(batch, deadline=deadline)

    def prepare(self) -> None:
        """Make it, and load what its first `send` will need."""
        self._ready().prepare()

    def close(self) -> None:
        """Let go of connections, if there are any."""
        if self._inner is not None:
            self._inner.close()

    def after_fork(self) -> None:
        """Forget connections that belong to the parent."""
        if self._inner is not None:
            self._inner.after_fork()

    def _ready(self) -> Transport:
        if self._inner is None:
            self._inner = self._make()
        return self._inner
