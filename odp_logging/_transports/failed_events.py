"""Find the one event that a server fails on (5xx) while it accepts others.

A server that answers 500 to one certain event answers 500 to each batch that holds it.
Sent unchanged again and again, it would block all events behind it. But in an outage a
server answers 500 to everything, and no event is the cause. So an event is rejected
only if it failed alone, several times, while other events were accepted.

`Retry` uses both classes: a `FailureSearch` for each batch, and one `FailedEvents` that
lasts as long as the transport.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._events.batch import Batch
    from .._events.delivery import Delivery

FAILURES_BEFORE_SEARCH = 3
"""Times a whole batch is answered 5xx before its parts are sent: most faults have ended
by then."""

ATTEMPTS_BEFORE_REJECT = 4
"""Times an event is answered 5xx alone before it is rejected."""

VALID_ATTEMPTS_BEFORE_REJECT = 2
"""Of those attempts, how many must follow the acceptance of other events."""

_MAX_RETRIES_PER_SEND = 10
_MAX_FAILED_EVENTS = 1_000


class FailureSearch:
    """
    The search in one batch: which parts failed, and which events failed alone.

    Args:
        size: Events in the batch.
    """

    def __init__(self, size: int) -> None:
        # The steps from the whole batch down to one event and its neighbour. If all of
        # these fail, the server may accept nothing at all.
        self._max_consecutive_failures = size.bit_length() + 2
        self._consecutive_failures = 0
        self._failed_parts: list[Sequence[int]] = []
        self.single_failures: list[int] = []
        """Indexes of the events that failed alone."""
        self.last_failure: Delivery | None = None
        """The last response to a part that failed."""

    def record_failure(self, part: Sequence[int], delivery: Delivery) -> bool:
        """Record that *part* failed; return whether to continue the search."""
        self.last_failure = delivery
        self._consecutive_failures += 1
        if len(part) > 1:
            self._failed_parts.append(part)
        else:
            self.single_failures.append(part[0])
        return self._consecutive_failures <= self._max_consecutive_failures

    def record_success(self) -> None:
        """Record that the server did not fail on a part."""
        self._consecutive_failures = 0

    def is_inconclusive(self, accepted: Collection[int]) -> bool:
        """Whether all events of a failed part were accepted later: no event is bad."""
        return any(
            all(index in accepted for index in part) for part in self._failed_parts
        )


class _FailedEvent:
    __slots__ = ("attempts", "last_success_count", "retry_at", "valid_attempts")

    def __init__(self) -> None:
        self.attempts = 0
        self.valid_attempts = 0
        self.last_success_count = -1
        self.retry_at = 0.0


class FailedEvents:
    """
    Events that failed alone while others were accepted.

    Args:
        compute_delay: Returns the seconds to wait after so many attempts.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, compute_delay: Callable[[int], float], clock: Callable[[], float]
    ) -> None:
        self._compute_delay = compute_delay
        self._clock = clock
        self.by_id: dict[str, _FailedEvent] = {}
        """By idempotence id; empty nearly always."""
        self._success_count = 0
        self.message = ""
        """The server's response to the last of them."""

    def clear(self) -> None:
        """Forget all of them."""
        self.by_id.clear()

    def split(self, batch: Batch) -> tuple[Sequence[int], list[int]]:
        """Return the indexes of other events, and of failed ones by their time."""
        indexes = range(len(batch.events))
        if not self.by_id:  # asking an event for its id may parse its JSON
            return indexes, []
        retry_times = {}
        for index in indexes:
            entry = self.by_id.get(batch.events[index].idempotence_id)
            if entry is not None:
                retry_times[index] = entry.retry_at
        other_indexes = [index for index in indexes if index not in retry_times]
        return other_indexes, sorted(retry_times, key=lambda index: retry_times[index])

    def select_ready(
        self, batch: Batch, indexes: Sequence[int], *, ignore_delay: bool
    ) -> list[int]:
        """Return which events at *indexes* to send now: any if *ignore_delay*."""
        ready = [
            index
            for index in indexes
            if ignore_delay or not self.compute_wait(batch, [index])
        ]
        # Bounded, because each of them takes a request of its own.
        return ready[:_MAX_RETRIES_PER_SEND]

    def compute_wait(self, batch: Batch, indexes: Sequence[int]) -> float:
        """Return the seconds until the first event at *indexes* is sent again."""
        if not self.by_id:
            return 0.0
        ids = [batch.events[index].idempotence_id for index in indexes]
        retry_times = [self.by_id[id_].retry_at for id_ in ids if id_ in self.by_id]
        return max(0.0, min(retry_times, default=0.0) - self._clock())

    def record_success(self) -> None:
        """Record that the server accepted other events."""
        self._success_count += 1

    def reset_valid_attempts(self) -> None:
        """Record that it failed on other events, too: earlier attempts do not count."""
        for entry in self.by_id.values():
            entry.valid_attempts = 0

    def record_failure(self, idempotence_id: str) -> int:
        """Record that an event failed alone; return its attempts if to be rejected."""
        entry = self.by_id.setdefault(idempotence_id, _FailedEvent())
        entry.attempts += 1
        entry.valid_attempts += self._success_count > entry.last_success_count
        entry.last_success_count = self._success_count
        entry.retry_at = self._clock() + self._compute_delay(entry.attempts)
        if (
            entry.attempts >= ATTEMPTS_BEFORE_REJECT
            and entry.valid_attempts >= VALID_ATTEMPTS_BEFORE_REJECT
        ):
            del self.by_id[idempotence_id]
            return entry.attempts
        # The oldest one is forgotten: a dict keeps its entries in order of insertion.
        if len(self.by_id) > _MAX_FAILED_EVENTS:
            del self.by_id[next(iter(self.by_id))]
        return 0

    def has_any(self, batch: Batch, indexes: Iterable[int]) -> bool:
        """Whether an event at *indexes* is one of them."""
        if not self.by_id:
            return False
        return any(
            batch.events[index].idempotence_id in self.by_id for index in indexes
        )
