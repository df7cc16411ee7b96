"""The pause of all relays of an account, after ODP asked one of them to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .messages import QueueError

if TYPE_CHECKING:
    from .base import QueueEngine

MAX_PAUSE_SECONDS = 60.0
"""Default of the longest pause: that of the setting ``max_retry_delay``."""

_MAX_JITTER_SECONDS = 5.0
# The response to `read_pause` takes time, so the same pause seems to end a bit later.
_TOLERANCE_SECONDS = 1.0


class SharedPause:
    """
    The pause that the relays of one account share through *engine*.

    After it the workers begin again at different times, so that they do not send one
    wave of requests: each waits for a random part of the pause's length, at most 5
    seconds, in addition.

    A pause that is longer than *max_seconds* is not one that ODP asked for. It is
    shortened and reported.

    Args:
        max_seconds: Longest pause in seconds.
        random_fraction: Returns random numbers in 0..1.
        warn: Called with kind and message.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        engine: QueueEngine,
        *,
        max_seconds: float,
        random_fraction: Callable[[], float],
        warn: Callable[[str, str], object],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._max_seconds = max_seconds
        self._random_fraction = random_fraction
        self._warn = warn
        self._clock = clock
        self._pause_end = 0.0
        self._jitter = 0.0
        self._limited_until: float | None = None

    def read(self) -> float:
        """Return the seconds that this worker still has to wait."""
        now = self._clock()
        left = self._read_limited(now)
        if left > 0:
            self._extend(now, left)
        elif now < self._pause_end - _TOLERANCE_SECONDS:  # ended early by an operator
            self._pause_end = now
        return (
            max(0.0, self._pause_end + self._jitter - now) if self._pause_end else 0.0
        )

    def start(self, seconds: float) -> None:
        """Let all relays of the account wait for *seconds*, this worker included."""
        seconds = min(seconds, self._max_seconds)
        self._extend(self._clock(), seconds)
        try:
            self._engine.start_pause(seconds)
        except QueueError as error:
            self._warn("queue", f"{error}. Other relays do not know of ODP's pause")

    def _extend(self, now: float, left: float) -> None:
        if now + left > self._pause_end + _TOLERANCE_SECONDS:
            self._jitter = self._random_fraction() * min(left, _MAX_JITTER_SECONDS)
        self._pause_end = max(self._pause_end, now + left)

    def _read_limited(self, now: float) -> float:
        left = self._engine.read_pause()
        if left <= self._max_seconds + _TOLERANCE_SECONDS:
            self._limited_until = None
            return left
        if self._limited_until is None:
            self._limited_until = now + self._max_seconds
            self._limit(left)
        return max(0.0, self._limited_until - now)

    def _limit(self, left: float) -> None:
        seconds = f"{self._max_seconds:g} s"
        length = "no end" if left == float("inf") else f"{left:,.0f} s left"
        self._warn(
            "pause",
            f"the queue {self._engine.url.display_url} has a pause with {length}, which"
            f" ODP did not ask for. This relay waits for max_retry_delay={seconds} and"
            " continues. Check which programs may write to the queue",
        )
        try:
            self._engine.limit_pause(self._max_seconds)
        except QueueError:  # this worker counts for itself
            pass
