"""The limits of a `Buffer`, and what follows from them for the events it holds."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inbox import Inbox

LARGE_EVENT_BYTES = 4096
"""Size from which an event is accounted at once."""
ACCOUNT_CHUNK = 512
"""Most events that one log call accounts for the bounds: 0.5 ms, 1 µs for each."""
# The fast path takes 32 identifiers and 32 data of up to 256 characters.
_MAX_UNCHECKED_BYTES = 16_384
"""Largest size assumed for an event whose size was not computed yet."""
_MIN_SPILL_WAIT_FROM = 64
"""Least number of unaccounted events from which a put waits for a spill to disk."""
_HIGH_WATER = 0.75
"""Share of a bound from which callers wait, so that the flusher can still keep up."""


class Limits:
    """
    The limits of a buffer. Its methods are given what it holds: events and bytes.

    Args:
        batch_size, batch_bytes: Events and bytes of a full batch.
        max_size, max_bytes: Bounds, in events (0 for none) and in bytes.
            One hundredth more may be in the inbox, so that a log call to a full buffer
            does not account and drop a single event, which takes three times as long.
    """

    # The default bound is in bytes. With 10,000 events as the bound, a loop that logged
    # 100,000 lost 90,000 of them, since it leaves the flusher little of the GIL.

    def __init__(
        self, *, batch_size: int, batch_bytes: int, max_size: int, max_bytes: int
    ) -> None:
        self.batch_size = batch_size
        self.batch_bytes = batch_bytes
        self.max_size = max_size = max_size or sys.maxsize
        self.max_bytes = max_bytes
        self._high_water_size = math.ceil(max_size * _HIGH_WATER)
        self._high_water_bytes = max_bytes * _HIGH_WATER
        self._spare_events = min(max_size, ACCOUNT_CHUNK * 100) // 100
        self._spare_bytes = max_bytes // 100
        # A small buffer must not be full before the flusher is woken.
        self.due_size = min(batch_size, max(1, max_size // 2))
        self.due_bytes = min(batch_bytes, max(1, max_bytes // 2))
        self.spill_wait_from = max(
            _MIN_SPILL_WAIT_FROM, min(max_size, max_bytes // _MAX_UNCHECKED_BYTES) // 10
        )
        """Number of unaccounted events from which a put waits for a spill to disk."""

    def is_due(self, waiting: int, size: int) -> bool:
        """Whether *waiting* events fill a batch; *size* includes those in a request."""
        return waiting >= self.due_size or size >= self.due_bytes

    def is_exceeded(self, count: int, size: int) -> bool:
        """Whether *count* events of *size* bytes exceed a bound."""
        return size > self.max_bytes or count > self.max_size

    def is_above_high_water(self, count: int, size: int) -> bool:
        """Whether three quarters of the events or bytes are in use."""
        return count >= self._high_water_size or size >= self._high_water_bytes

    def compute_account_after(self, count: int, size: int, event_size: int) -> int:
        """
        Return the number of events in the inbox that could reach the bounds.

        Args:
            event_size: Bytes of the newest one, or 0.
        """
        largest = max(event_size, _MAX_UNCHECKED_BYTES)
        room = (self.max_bytes + self._spare_bytes - size) // largest
        # Until callers start to wait for room; beyond that in ever smaller steps.
        left = self._high_water_size - count
        if left <= 0:
            left = max(self._spare_events, (self.max_size - count) // 4 + 1)
        return max(1, min(left, room + 1))

    def update_inbox(
        self, inbox: Inbox, waiting: int, count: int, size: int, event_size: int
    ) -> None:
        """
        Tell log calls when to check the buffer, and whether to wait for room.

        Args:
            waiting: Accounted events that are in no request yet.
            count, size: All events that the buffer holds, and their bytes, without
                those in the inbox.
            event_size: Bytes of the newest event in the inbox, or 0.
        """
        incoming = len(inbox.queue)
        check_after = self.compute_account_after(count, size, event_size)
        to_batch = self.due_size - waiting
        if incoming < to_batch and size < self.due_bytes:
            to_bytes = (self.due_bytes - size) // (event_size or LARGE_EVENT_BYTES)
            check_after = min(check_after, to_batch, to_bytes + 1)
        inbox.check_after = max(1, check_after)
        inbox.nearly_full = self.is_above_high_water(
            count + incoming, size + incoming * event_size
        )
