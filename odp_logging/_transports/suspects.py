"""Find the one event that a server fails on (5xx) while it accepts others.

A server that answers 500 to one certain event answers 500 to each batch that holds it.
Sent unchanged again and again, it would block all events behind it. But in an outage a
server answers 500 to everything, and no event is the cause. So an event is rejected
only on evidence: it failed alone, several times, while other events were accepted.

`Retry` uses both classes: a `FailureSearch` for each batch, and one set of `Suspects`
that lasts as long as the transport.
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

ATTEMPTS_BEFORE_REJECTION = 4
"""Times an event is answered 5xx alone before it is rejected."""

EVIDENCE_BEFORE_REJECTION = 2
"""Of those attempts, how many must follow the acceptance of other events."""

_MAX_SUSPECTS_PER_SEND = 10
_MAX_SUSPECTS = 1_000


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
        self.failed_alone: list[int] = []
        """Positions of the events that failed alone."""
        self.last_failure: Delivery | None = None
        """The last answer to a part that failed."""

    def record_failure(self, part: Sequence[int], answer: Delivery) -> bool:
        """Record that *part* failed; return whether to continue the search."""
        self.last_failure = answer
        self._consecutive_failures += 1
        if len(part) > 1:
            self._failed_parts.append(part)
        else:
            self.failed_alone.append(part[0])
        return self._consecutive_failures <= self._max_consecutive_failures

    def record_success(self) -> None:
        """Record that the server did not fail on a part."""
        self._consecutive_failures = 0

    def is_refuted(self, accepted: Collection[int]) -> bool:
        """Whether all events of a failed part were accepted later: no event is bad."""
        return any(
            all(position in accepted for position in part)
            for part in self._failed_parts
        )


class _Suspect:
    __slots__ = ("attempts", "due", "evidence", "successes_before")

    def __init__(self) -> None:
        self.attempts = 0
        self.evidence = 0
        self.successes_before = -1
        self.due = 0.0


class Suspects:
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
        self.by_id: dict[str, _Suspect] = {}
        """By idempotence id; empty nearly always."""
        self._successes = 0
        self.message = ""
        """The server's answer to the last of them."""

    def clear(self) -> None:
        """Clear all events of suspicion."""
        self.by_id.clear()

    def partition(self, batch: Batch) -> tuple[Sequence[int], list[int]]:
        """Return the positions of unsuspected events, and of suspects by due time."""
        positions = range(len(batch.events))
        if not self.by_id:  # asking an event for its id may parse its JSON
            return positions, []
        due_times = {}
        for position in positions:
            suspect = self.by_id.get(batch.events[position].idempotence_id)
            if suspect is not None:
                due_times[position] = suspect.due
        unsuspected = [position for position in positions if position not in due_times]
        return unsuspected, sorted(due_times, key=lambda position: due_times[position])

    def select_due(
        self, batch: Batch, positions: Sequence[int], *, hurried: bool
    ) -> list[int]:
        """Return which suspects at *positions* to send now: any if *hurried*."""
        due = [
            position
            for position in positions
            if hurried or not self.compute_wait(batch, [position])
        ]
        # Bounded, because each of them takes a request of its own.
        return due[:_MAX_SUSPECTS_PER_SEND]

    def compute_wait(self, batch: Batch, positions: Sequence[int]) -> float:
        """Return the seconds until the first suspect at *positions* is due."""
        if not self.by_id:
            return 0.0
        ids = [batch.events[position].idempotence_id for position in positions]
        due_times = [self.by_id[id_].due for id_ in ids if id_ in self.by_id]
        return max(0.0, min(due_times, default=0.0) - self._clock())

    def record_success(self) -> None:
        """Record that the server accepted other events."""
        self._successes += 1

    def record_outage(self) -> None:
        """Record that it failed on other events, too: earlier evidence is void."""
        for suspect in self.by_id.values():
            suspect.evidence = 0

    def record_failure(self, idempotence_id: str) -> int:
        """Record that an event failed alone; return its attempts if to be rejected."""
        suspect = self.by_id.setdefault(idempotence_id, _Suspect())
        suspect.attempts += 1
        suspect.evidence += self._successes > suspect.successes_before
        suspect.successes_before = self._successes
        suspect.due = self._clock() + self._compute_delay(suspect.attempts)
        if (
            suspect.attempts >= ATTEMPTS_BEFORE_REJECTION
            and suspect.evidence >= EVIDENCE_BEFORE_REJECTION
        ):
            del self.by_id[idempotence_id]
            return suspect.attempts
        # The oldest one is forgotten: a dict keeps its entries in order of insertion.
        if len(self.by_id) > _MAX_SUSPECTS:
            del self.by_id[next(iter(self.by_id))]
        return 0

    def has_any(self, batch: Batch, positions: Iterable[int]) -> bool:
        """Whether an event at *positions* is suspected."""
        if not self.by_id:
            return False
        return any(
            batch.events[position].idempotence_id in self.by_id
            for position in positions
        )
