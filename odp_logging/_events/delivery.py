"""The outcome of sending a batch: which indexes were accepted, rejected or pending.

Transports return a `Delivery`; the flusher settles the batch in its store by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Cause(Enum):
    """Why events of a batch are pending, which decides about the next attempt."""

    TRANSIENT = "transient"
    """A fault that ends by itself: the network, 408, 425, 429, 5xx."""

    MISCONFIGURED = "misconfigured"
    """Nothing is delivered until a key, a host or a route is changed."""

    REMAINDER = "remainder"
    """The response named the invalid events; these are the others of the batch."""

    UNIDENTIFIED = "unidentified"
    """The batch was rejected because of events that the response does not name."""

    TOO_LARGE = "too_large"
    """The request was larger than the server accepts."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    The outcome of sending a batch of *size* events.

    An index that is neither rejected, pending nor spooled was accepted.

    Args:
        size: Events in the batch.
        rejected: Why an event was rejected for good, by index.
        pending: Indexes of events that are still to be sent.
        spooled: Indexes of events that are in the spool now, to be sent from there.
        in_doubt: Those of the pending that were sent and got no response.
        cause: Why events are pending; None if none are.
        message: One readable line on the cause; holds no key and no value.
        backoff: Seconds to wait before the next attempt, computed by this library.
        retry_after: Seconds to wait at least, as the server asked.
        requests: HTTP requests this took.
        durations: Seconds that each HTTP request took.
        resent: Events that were sent more than once within this delivery.
        rate_limited: Whether the server says that it gets too many requests.
        server_error: Whether the server failed on the request (5xx), which one of its
            events may have caused.
        advice: What to check, if the cause is the configuration; empty if nothing more
            precise is known than "api_key and api_host".
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
    rate_limited: bool = False
    server_error: bool = False
    advice: str = ""
    # Not compared: two requests never take the same time.
    durations: tuple[float, ...] = field(default=(), compare=False)

    @classmethod
    def all_pending(
        cls,
        size: int,
        cause: Cause,
        message: str,
        *,
        in_doubt: bool = False,
        retry_after: float = 0.0,
        requests: int = 1,
        rate_limited: bool = False,
        server_error: bool = False,
        advice: str = "",
    ) -> Delivery:
        """Return the delivery of a batch of which no event is settled."""
        indexes = tuple(range(size))
        return cls(
            size,
            pending=indexes,
            in_doubt=frozenset(indexes) if in_doubt else frozenset(),
            cause=cause,
            message=message,
            retry_after=retry_after,
            requests=requests,
            rate_limited=rate_limited,
            server_error=server_error,
            advice=advice,
        )

    @property
    def is_misconfigured(self) -> bool:
        """Whether nothing is delivered until the configuration is changed."""
        return self.cause is Cause.MISCONFIGURED

    @property
    def is_transient(self) -> bool:
        """Whether events are pending for a fault that ends by itself."""
        return self.cause is Cause.TRANSIENT

    @property
    def accepted(self) -> tuple[int, ...]:
        """Indexes of the events that the server accepted."""
        # Computed: so no index can be accepted and pending at once.
        open_indexes = {*self.pending, *self.spooled}
        return tuple(
            index
            for index in range(self.size)
            if index not in open_indexes and index not in self.rejected
        )
