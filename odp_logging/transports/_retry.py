"""HTTP, retried: what to send again at once, in smaller parts, or later."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._delivery import Cause, Delivery
from ..stores._base import Batch
from ._base import Transport

PROBE_INTERVAL = 60.0
"""Seconds between attempts while the configuration is at fault."""

_TRUST = 1_000
"""Requests cut to a learnt limit before it is tried anew: it may have been lifted, or
been one of bytes when the events were larger than today's."""


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

    def delay(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after so many *failures*; *chance* in 0..1."""
        return min(self.cap, self.base * 2.0 ** min(failures - 1, 30)) * chance


class Retry:
    """
    A `Transport` around another one that makes the most of each answer.

    Bad events named by the answer are rejected and the rest goes out again at once; of
    a batch that is refused without naming them, halves are sent until each bad event
    stands alone; what is too large is halved, and what fitted is remembered. For
    passing and configuration faults it says how long to wait: nothing here sleeps.

    Args:
        inner: Sends a batch once.
        max_delay: Seconds, the longest backoff and the longest Retry-After obeyed.
        chance: Random numbers in 0..1.
        probe_interval: Seconds between attempts while the configuration is at fault.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        max_delay: float = 60.0,
        chance: Callable[[], float] = random.random,
        probe_interval: float = PROBE_INTERVAL,
    ) -> None:
        self._inner = inner
        self._max_delay = max_delay
        self._backoff = Backoff(cap=max_delay)
        self._chance = chance
        self._probe_interval = probe_interval
        self._failures = 0
        self._fits = _Fits()

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch*, in parts where it must be, and report on each event."""
        books = _Books(len(batch.events))
        parts = deque(self._fits.cut(batch, range(len(batch.events))))
        while parts:
            part = parts.popleft()
            if deadline is not None and books.requests and time.monotonic() > deadline:
                break
            sent = batch.only(part) if len(part) < len(batch.events) else batch
            answer = self._inner.send(sent, deadline=deadline)
            rest = books.enter(part, answer)
            if answer.cause in (Cause.PASSING, Cause.CONFIGURATION):
                books.stopped_by(answer)
                break
            self._failures = 0
            if answer.cause is Cause.REST:
                parts.appendleft(rest)
            elif answer.cause in (Cause.UNNAMED, Cause.TOO_LARGE):
                parts.extendleft(reversed(books.halve(part, answer)))
            if answer.cause is Cause.TOO_LARGE:
                books.too_large(sent)
            elif answer.cause is None:
                books.fitted(sent)
        books.teach(self._fits)
        return books.delivery(*self._waits(books.stop))

    def _waits(self, stop: Delivery | None) -> tuple[float, float]:
        """Return the seconds to wait at our wish, and at the server's."""
        if stop is None:
            return 0.0, 0.0
        asked = min(stop.retry_after, self._max_delay)
        if stop.cause is Cause.CONFIGURATION:
            return self._probe_interval, asked
        self._failures += 1
        return self._backoff.delay(self._failures, self._chance()), asked

    def prepare(self) -> None:
        """Load what the first request will need."""
        self._inner.prepare()

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._failures = 0
        self._inner.after_fork()


class _Fits:
    """What is known of the largest request the server takes.

    Which of count and bytes was too many, an answer does not say: both are kept.
    """

    def __init__(self) -> None:
        self.events: int | None = None
        self.bytes: int | None = None
        self._parts = 0

    def learn(self, events: int, size: int) -> None:
        """Cut at what is known to fit: so many *events*, of *size* bytes in all."""
        self.events, self.bytes = events, size
        self._parts = 0

    def cut(self, batch: Batch, positions: Sequence[int]) -> list[Sequence[int]]:
        """Return *positions* in parts that should fit."""
        if self._parts > _TRUST:
            self.events = self.bytes = None
        if self.events is None and self.bytes is None:
            return [positions]
        parts: list[list[int]] = [[]]
        size = 2
        for position in positions:
            more = len(batch.events[position].json) + 1
            full = self.events is not None and len(parts[-1]) >= self.events
            heavy = self.bytes is not None and size + more > self.bytes
            if parts[-1] and (full or heavy):
                parts.append([])
                size = 2
            parts[-1].append(position)
            size += more
        self._parts += len(parts)
        return list(parts)


_NO_TIME = "no time was left to send the rest"


class _Books:
    """What became of each position while a batch is sent in parts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.open = set(range(size))
        self.rejected: dict[int, str] = {}
        self.in_doubt: set[int] = set()
        self.requests = 0
        self.resent = 0
        self.seen: set[int] = set()
        self.stop: Delivery | None = None
        self._fitted = (0, 0)
        self._refused = 0
        self._giant = False

    def enter(self, part: Sequence[int], answer: Delivery) -> list[int]:
        """Book *answer* for the events at *part*; return which are still open."""
        self.requests += answer.requests
        self.resent += answer.resent + len(self.seen.intersection(part))
        self.seen.update(part)
        for place, reason in answer.rejected.items():
            self.rejected[part[place]] = reason
        rest = [part[place] for place in answer.pending]
        self.in_doubt.update(part[place] for place in answer.in_doubt)
        self.open.difference_update(set(part) - set(rest))
        return rest

    def halve(self, part: Sequence[int], answer: Delivery) -> list[Sequence[int]]:
        """Return the halves of *part*; an event that stands alone is rejected."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[:middle], part[middle:]]
        self.rejected[part[0]] = answer.message
        self.open.discard(part[0])
        return []

    def stopped_by(self, answer: Delivery) -> None:
        """Note the answer that leaves the open events for later."""
        self.stop = answer

    def too_large(self, sent: Batch) -> None:
        """Note that *sent* was refused for its size."""
        self._refused = min(self._refused or sent.size, sent.size)
        self._giant |= len(sent.events) == 1

    def fitted(self, sent: Batch) -> None:
        """Note that *sent* was taken."""
        events, size = self._fitted
        self._fitted = max(events, len(sent.events)), max(size, sent.size)

    def teach(self, fits: _Fits) -> None:
        """Remember what fitted, unless one single giant was what did not."""
        events, size = self._fitted
        if self._refused and events and not self._giant:
            # A little more than fitted: no two batches have quite the same size.
            fits.learn(events, size + max(0, self._refused - size) // 4)

    def delivery(self, backoff: float, retry_after: float) -> Delivery:
        """Return the report on the whole batch."""
        pending = tuple(sorted(self.open))
        return Delivery(
            self.size,
            rejected=self.rejected,
            pending=pending,
            in_doubt=frozenset(self.in_doubt & self.open),
            cause=self.stop.cause if self.stop else Cause.REST if pending else None,
            message=self.stop.message if self.stop else _NO_TIME if pending else "",
            backoff=backoff,
            retry_after=retry_after,
            requests=self.requests,
            resent=self.resent,
            throttled=self.stop is not None and self.stop.throttled,
        )
