"""The buffer for ``overflow="block"``: a put waits until there is room."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .._runtime.lock import Waiters, monotonic
from .buffer import Buffer
from .inbox import EventHolder, hand_over

if TYPE_CHECKING:
    from .._events.batch import Batch
    from .._events.delivery import Delivery


class BlockingBuffer(Buffer):
    """
    A `Buffer` in which `put` waits for room. Log calls must not append to its inbox.

    Args:
        block_timeout: Seconds that `put` waits; then the event is dropped.
        settings: Arguments of `Buffer`, without *overflow*.
    """

    def __init__(self, *args: Any, block_timeout: float, **settings: Any) -> None:
        self._block_timeout = block_timeout
        super().__init__(*args, **settings, overflow="drop_newest")

    def _reset(self) -> None:
        super()._reset()
        self._room = Waiters()

    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        """Wait for room and keep *logged*; return whether a full batch is waiting."""
        holder = holder or [logged]
        deadline = monotonic() + self._block_timeout
        while True:
            is_last = monotonic() >= deadline
            attempt = partial(self._put_if_room, logged, holder, is_last=is_last)
            is_kept = self._lock.run(attempt, -1)
            if is_kept is None:  # this thread was interrupted while it held the lock
                hand_over(holder, self.inbox.queue)
                return False
            if is_kept:
                return self._is_due()
            self._room.wait(
                lambda: self._has_room_for(logged.size), lambda: deadline - monotonic()
            )

    def _put_if_room(self, logged: Any, holder: EventHolder, *, is_last: bool) -> bool:
        self._account_incoming()
        if (
            not is_last
            # A larger one never finds room; it is dropped as too large.
            and logged.size <= self._limits.max_bytes
            and not self._has_room_for(logged.size)
        ):
            return False
        hand_over(holder, self.inbox.queue)
        # At once, since `put` returns whether this event fills a batch.
        self._account_incoming()
        return True

    def _has_room_for(self, size: int) -> bool:
        pending = self._pending
        return not self._limits.is_exceeded(pending.count() + 1, pending.size + size)

    def take(self, requests: int = 1) -> Batch:
        """Take events, and wake the callers: JSON may be smaller than the estimate."""
        batch = super().take(requests)
        self._room.wake()
        return batch

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Settle *batch*, and wake the callers that wait for room."""
        super().settle(batch, delivery)
        self._room.wake()

    def discard(self, reason: str) -> int:
        """Drop all events, and wake the callers that wait for room."""
        count = super().discard(reason)
        self._room.wake()
        return count
