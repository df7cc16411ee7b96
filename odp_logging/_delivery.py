"""The value that comes back: by position accepted, rejected or pending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Cause(Enum):
    """Why events of a batch are pending: what the answer means for the next attempt."""

    PASSING = "passing"
    """A fault that heals by itself: the network, 408, 425, 429, 5xx."""

    CONFIGURATION = "configuration"
    """Nothing is delivered until somebody changes a key, a host or a route."""

    REST = "rest"
    """The answer named the bad ones; these were only in their company."""

    UNNAMED = "unnamed"
    """The batch was refused for events that the answer does not name."""

    TOO_LARGE = "too_large"
    """The request was larger than the server takes."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    What became of a batch of *size* events.

    A position that is neither rejected, pending nor spooled was accepted.

    Args:
        size: Events in the batch.
        rejected: Why an event was refused for good, by position.
        pending: Positions of events still to be sent.
        spooled: Positions of events that rest in the spool now, to be sent from there.
        in_doubt: Those of the pending that were sent and never answered.
        cause: Why events are pending; None if none are.
        message: One line on the cause, for people; holds no key and no value.
        backoff: Seconds to wait before the next attempt, at our own wish.
        retry_after: Seconds the server wants us to wait, at least.
        requests: HTTP requests this took.
        resent: Events that went out more than once within this delivery.
        throttled: Whether the server says that too much is sent to it.
    """

    size: int
    rejected: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    pending: tuple[int, ...] = ()
    spooled: tuple[int, ...] = ()
    in_doubt: frozenset[int] = frozenset()
    cause: Cause | None = None
    message: str = ""
    backoff: float = 0.0
    retry_after: float = 0.0
    requests: int = 1
    resent: int = 0
    throttled: bool = False

    @classmethod
    def nothing_yet(
        cls,
        size: int,
        cause: Cause,
        message: str,
        *,
        in_doubt: bool = False,
        retry_after: float = 0.0,
        requests: int = 1,
        throttled: bool = False,
    ) -> Delivery:
        """Return the delivery of a batch none of whose events is settled."""
        positions = tuple(range(size))
        return cls(
            size,
            pending=positions,
            in_doubt=frozenset(positions) if in_doubt else frozenset(),
            cause=cause,
            message=message,
            retry_after=retry_after,
            requests=requests,
            throttled=throttled,
        )

    @property
    def is_misconfigured(self) -> bool:
        """Whether nothing is delivered until somebody changes the configuration."""
        return self.cause is Cause.CONFIGURATION

    @property
    def is_held_up(self) -> bool:
        """Whether a fault stands in the way that heals by itself."""
        return self.cause is Cause.PASSING

    @property
    def accepted(self) -> tuple[int, ...]:
        """Positions of the events ODP took."""
        open_positions = {*self.pending, *self.spooled}
        return tuple(
            position
            for position in range(self.size)
            if position not in open_positions and position not in self.rejected
        )
