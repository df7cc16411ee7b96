"""Retries around another transport: what to send at once, in smaller parts, or later.

It stands between the flusher and `Http`. The flusher waits as long as the returned
delivery says, so nothing here sleeps.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._events.batch import Batch, split_indexes
from .._events.delivery import Cause, Delivery
from .._runtime.lock import monotonic
from .base import BaseTransport, WrappingTransport
from .failed_events import FAILURES_BEFORE_SEARCH, FailedEvents, FailureSearch

get_random_fraction = random.random
"""Returns a random number in 0..1, so that machines do not do the same at once."""

PROBE_INTERVAL = 60.0
"""Seconds between attempts while the configuration is at fault."""

_MAX_PARTS_PER_LIMIT = 1_000
"""Parts cut to a learnt limit before it is forgotten: the server may have raised it, or
it may have been a limit of bytes while the events were larger than today's."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    Full jitter: a random part of a bound that doubles with each failure.

    Args:
        base: Seconds, the bound after the first failure.
        cap: Seconds, the largest bound.
    """

    base: float = 0.5
    cap: float = 60.0

    def compute_delay(self, failures: int, fraction: float) -> float:
        """Return the seconds to wait after *failures*; *fraction* is in 0..1."""
        # Full jitter: see "Exponential Backoff and Jitter" on AWS's Architecture Blog.
        # At most 2**30: the power of a float overflows from 2**1024 on.
        return min(self.cap, self.base * 2.0 ** min(failures - 1, 30)) * fraction


class Retry(WrappingTransport):
    """
    A `Transport` around another one that decides what to do after each response.

    Events that the response names as invalid are rejected, and the rest is sent again
    at once. A batch that is rejected without naming any is halved until each invalid
    event stands alone. A batch that is too large is halved, and the size that was
    accepted is remembered. After transient faults and wrong configuration, the delivery
    says how long to wait.

    A single event may be what a server fails on (5xx, except 503 and responses with
    Retry-After). A batch that was answered so three times is sent in halves. Events
    that fail alone while others are accepted do not block the others; they are tried
    again, and rejected after four attempts. While a server accepts nothing, all are
    kept.

    Args:
        inner: Sends a batch once.
        max_delay: Seconds, the longest backoff and the longest Retry-After obeyed.
        random_fraction: Returns random numbers in 0..1.
        probe_interval: Seconds between attempts while the configuration is at fault.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        inner: BaseTransport,
        *,
        max_delay: float = 60.0,
        random_fraction: Callable[[], float] = get_random_fraction,
        probe_interval: float = PROBE_INTERVAL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(inner)
        self._max_delay = max_delay
        self._backoff = Backoff(cap=max_delay)
        self._random_fraction = random_fraction
        self._probe_interval = probe_interval
        self._failures = 0
        self._server_errors = 0
        self._limits = _SizeLimits()
        self._failed_events = FailedEvents(self._compute_delay, clock)

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch*, in parts if necessary, and report the outcome of each event."""
        outcome = _BatchOutcome(len(batch.events))
        other_indexes: Sequence[int] = range(len(batch.events))
        failed_indexes: Sequence[int] = ()
        if self._failed_events.by_id:
            other_indexes, failed_indexes = self._failed_events.split(batch)
        if other_indexes:
            parts = self._limits.split(batch, other_indexes)
            self._send_parts(parts, batch, outcome, deadline)
            if outcome.last_failure and not outcome.find_accepted():
                outcome.stop = outcome.stop or outcome.last_failure
        if failed_indexes and outcome.stop is None:
            # Last, because only then it is known whether others are accepted.
            # A drain has no later attempt.
            ready = self._failed_events.select_ready(
                batch, failed_indexes, ignore_delay=deadline is not None
            )
            parts = [[index] for index in ready]
            self._send_parts(parts, batch, outcome, deadline, is_isolated=True)
        outcome.update_limits(self._limits)
        self._update_failed_events(batch, outcome)
        return self._build_delivery(batch, outcome, failed_indexes)

    def _send_parts(
        self,
        first_parts: Sequence[Sequence[int]],
        batch: Batch,
        outcome: _BatchOutcome,
        deadline: float | None,
        *,
        is_isolated: bool = False,
    ) -> None:
        """
        Send the events at each of *first_parts*.

        Args:
            is_isolated: Whether each part is one event that failed before.
        """
        parts = deque(first_parts)
        while parts:
            part = parts.popleft()
            # The first part is always sent: its transport keeps the deadline.
            if deadline is not None and outcome.requests and monotonic() > deadline:
                break
            sent = batch.only(part) if len(part) < len(batch.events) else batch
            delivery = self._inner.send(sent, deadline=deadline)
            remainder = outcome.record(part, delivery)
            should_search = delivery.server_error and (
                is_isolated or self._server_errors + 1 >= FAILURES_BEFORE_SEARCH
            )
            if should_search and outcome.continue_search(part, delivery):
                parts.extendleft(reversed(self._split_failed(part)))
                continue
            if delivery.cause in (Cause.TRANSIENT, Cause.MISCONFIGURED):
                outcome.stop = delivery
                break
            self._failures = 0
            if outcome.search is not None:
                outcome.search.record_success()
            # In front of the other parts, so that the events keep their order.
            if delivery.cause is Cause.REMAINDER:
                parts.appendleft(remainder)
            elif delivery.cause in (Cause.UNIDENTIFIED, Cause.TOO_LARGE):
                parts.extendleft(reversed(outcome.split_or_reject(part, delivery)))
            if delivery.cause is Cause.TOO_LARGE:
                outcome.record_too_large(sent)
            elif delivery.cause is None:
                outcome.record_accepted_size(sent)

    def _split_failed(self, part: Sequence[int]) -> list[Sequence[int]]:
        """Return the halves of *part*, which failed; none for a single event."""
        if len(part) < 2:
            return []
        parts = _split_in_half(part)
        # In order, unless that has found nothing: bad events may be neighbours.
        if (
            self._server_errors >= FAILURES_BEFORE_SEARCH
            and self._random_fraction() < 0.5
        ):
            parts.reverse()
        return parts

    def _update_failed_events(self, batch: Batch, outcome: _BatchOutcome) -> None:
        """Record events that failed alone; reject those with enough valid attempts."""
        accepted = outcome.find_accepted()
        if accepted:
            self._server_errors = 0
            self._failed_events.record_success()
        elif outcome.stop and outcome.stop.server_error:
            self._server_errors += 1
            self._failed_events.reset_valid_attempts()
        search = outcome.search
        is_inconclusive = search is not None and search.is_inconclusive(accepted)
        if is_inconclusive or self._failed_events.has_any(batch, accepted):
            # The server fails at times, whatever it gets.
            self._failed_events.clear()
            return
        for index in outcome.single_failures:
            idempotence_id = batch.events[index].idempotence_id
            if not accepted and not self._failed_events.has_any(batch, [index]):
                continue  # it is not known whether the server accepts others
            attempts = self._failed_events.record_failure(idempotence_id)
            if attempts and outcome.last_failure:
                failure = outcome.last_failure.message
                reason = f"{failure} to this event alone {attempts} times"
                outcome.reject(index, f"{reason}, and accepted others")

    def _build_delivery(
        self,
        batch: Batch,
        outcome: _BatchOutcome,
        failed_indexes: Sequence[int],
    ) -> Delivery:
        """Return the delivery of *batch*, with the seconds to wait."""
        left = [index for index in failed_indexes if index in outcome.open]
        has_failed_events = outcome.open and (left or outcome.single_failures)
        if outcome.stop or not has_failed_events:
            return outcome.build_delivery(*self._compute_wait_times(outcome.stop))
        if outcome.last_failure:
            failure = outcome.last_failure.message
            self._failed_events.message = f"{failure} to events sent alone"
        message = f"{self._failed_events.message}, and accepted others"
        if outcome.find_accepted():
            # Other events do not wait for the failed ones.
            return outcome.build_delivery(0.0, 0.0, message)
        wait = self._failed_events.compute_wait(batch, left)
        return outcome.build_delivery(wait, 0.0, message, Cause.TRANSIENT)

    def _compute_delay(self, failures: int) -> float:
        return self._backoff.compute_delay(failures, self._random_fraction())

    def _compute_wait_times(self, stop: Delivery | None) -> tuple[float, float]:
        """Return the backoff and the Retry-After after *stop*, in seconds."""
        if stop is None:
            return 0.0, 0.0
        retry_after = min(stop.retry_after, self._max_delay)
        if stop.cause is Cause.MISCONFIGURED:
            return self._probe_interval, retry_after
        # Counted for transient faults only: probes come at a constant interval.
        self._failures += 1
        return self._compute_delay(self._failures), retry_after

    def after_fork(self) -> None:
        """Forget, in a forked child, connections and failures of the parent."""
        self._failures = self._server_errors = 0
        self._failed_events.clear()
        super().after_fork()


class _SizeLimits:
    """
    The largest request that the server is known to accept.

    A response does not say whether the count or the bytes were too many: both are kept.
    """

    def __init__(self) -> None:
        self.max_events: int | None = None
        self.max_bytes: int | None = None
        self._parts = 0

    def set(self, max_events: int, max_bytes: int) -> None:
        """Limit later requests to *max_events* and *max_bytes*."""
        self.max_events, self.max_bytes = max_events, max_bytes
        self._parts = 0

    def split(self, batch: Batch, indexes: Sequence[int]) -> list[Sequence[int]]:
        """Return *indexes* in parts that the server should accept."""
        if self._parts > _MAX_PARTS_PER_LIMIT:
            self.max_events = self.max_bytes = None
        if self.max_events is None or self.max_bytes is None:
            return [indexes]
        parts = split_indexes(batch.events, indexes, self.max_events, self.max_bytes)
        self._parts += len(parts)
        return parts


def _split_in_half(part: Sequence[int]) -> list[Sequence[int]]:
    half = len(part) // 2
    return [part[:half], part[half:]]


_NO_TIME = "no time was left to send the rest"


class _BatchOutcome:
    """The outcome of each event so far, while a batch is sent in parts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.open = set(range(size))
        self.rejected: dict[int, str] = {}
        self.in_doubt: set[int] = set()
        self.requests = 0
        self.durations: tuple[float, ...] = ()
        self.resent = 0
        self.stop: Delivery | None = None
        """The response after which the open events wait for the next attempt."""
        self.search: FailureSearch | None = None
        """Created at the first failure that one event may have caused."""
        self._sent: set[int] = set()
        self._accepted: list[Batch] = []
        """What was accepted as a whole."""
        self._too_large_bytes = 0
        self._has_large_event = False

    @property
    def last_failure(self) -> Delivery | None:
        """The last response to a part that failed in the search for one event."""
        return self.search.last_failure if self.search else None

    @property
    def single_failures(self) -> Sequence[int]:
        """Indexes of the events that failed alone."""
        return self.search.single_failures if self.search else ()

    def continue_search(self, part: Sequence[int], delivery: Delivery) -> bool:
        """Record that *part* failed; return whether to search for the cause in it."""
        self.search = self.search or FailureSearch(self.size)
        return self.search.record_failure(part, delivery)

    def record(self, part: Sequence[int], delivery: Delivery) -> list[int]:
        """Record *delivery* for the events at *part*; return which are still open."""
        self.requests += delivery.requests
        self.durations += delivery.durations
        self.resent += delivery.resent + len(self._sent.intersection(part))
        self._sent.update(part)
        for index, reason in delivery.rejected.items():
            self.rejected[part[index]] = reason
        remainder = [part[index] for index in delivery.pending]
        self.in_doubt.update(part[index] for index in delivery.in_doubt)
        self.open.difference_update(set(part).difference(remainder))
        return remainder

    def split_or_reject(
        self, part: Sequence[int], delivery: Delivery
    ) -> list[Sequence[int]]:
        """Return the halves of *part*; reject an event that stands alone."""
        if len(part) > 1:
            return _split_in_half(part)
        self.reject(part[0], delivery.message)
        return []

    def find_accepted(self) -> set[int]:
        """Return the indexes that are settled and not rejected."""
        return set(range(self.size)) - self.open - self.rejected.keys()

    def reject(self, index: int, reason: str) -> None:
        """Record that the event at *index* is rejected for good."""
        self.rejected[index] = reason
        self.open.discard(index)

    def record_too_large(self, sent: Batch) -> None:
        """Record that *sent* was rejected for its size."""
        self._too_large_bytes = min(self._too_large_bytes or sent.size, sent.size)
        self._has_large_event |= len(sent.events) == 1

    def record_accepted_size(self, sent: Batch) -> None:
        """Record that *sent* was accepted as a whole."""
        self._accepted.append(sent)

    def update_limits(self, limits: _SizeLimits) -> None:
        """Store the accepted size in *limits*, unless one giant event was too large."""
        if self._too_large_bytes and self._accepted and not self._has_large_event:
            accepted_events = max(len(sent.events) for sent in self._accepted)
            accepted_bytes = max(sent.size for sent in self._accepted)
            # A little more than was accepted: no two batches have quite the same size.
            excess = max(0, self._too_large_bytes - accepted_bytes)
            limits.set(accepted_events, accepted_bytes + excess // 4)

    def build_delivery(
        self,
        backoff: float,
        retry_after: float,
        message: str = _NO_TIME,
        cause: Cause = Cause.REMAINDER,
    ) -> Delivery:
        """
        Return the delivery of the whole batch.

        Args:
            message, cause: Why events are pending, if no response stopped the sending.
        """
        pending = tuple(sorted(self.open))
        stop = self.stop
        return Delivery(
            self.size,
            rejected=self.rejected,
            pending=pending,
            in_doubt=frozenset(self.in_doubt & self.open),
            cause=stop.cause if stop else cause if pending else None,
            message=stop.message if stop else message if pending else "",
            backoff=backoff,
            retry_after=retry_after,
            requests=self.requests,
            durations=self.durations,
            resent=self.resent,
            rate_limited=stop is not None and stop.rate_limited,
            server_error=stop is not None and stop.server_error,
            advice=stop.advice if stop else "",
        )
