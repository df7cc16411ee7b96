"""
The values that stores, flusher and transports exchange: batches and rejections.

A store yields a `Batch`; `Invalid` and `Dropped` say which events it does not contain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._runtime.locations import format_location

if TYPE_CHECKING:
    from .event import OdpEvent


def format_origin(logged: Any) -> str:
    """Return file and line of the log call; empty if they are not known."""
    return format_location(getattr(logged, "origin", None))


def count_per_request(sizes: Sequence[int], max_bytes: int) -> int:
    """
    Return how many events fit into a request body of *max_bytes*; at least one.

    Args:
        sizes: Bytes of each event's JSON, in the order in which they are sent.
    """
    if sum(sizes) + len(sizes) + 2 <= max_bytes:  # as below, without a loop in Python
        return len(sizes)
    count, total = 0, 2  # the brackets of the array
    for size in sizes:
        total += size + 1
        # One event is always tried: ODP documents no limit of bytes, and may accept it.
        if count and total > max_bytes:
            break
        count += 1
    return count


def split_indexes(
    events: Sequence[OdpEvent],
    indexes: Sequence[int],
    max_events: int,
    max_bytes: int,
) -> list[Sequence[int]]:
    """Return *indexes* in parts that each fit into one request, in their order."""
    parts: list[Sequence[int]] = []
    start = 0
    while start < len(indexes):
        part = indexes[start : start + max_events]
        sizes = [len(events[index].json) for index in part]
        part = part[: count_per_request(sizes, max_bytes)]
        parts.append(part)
        start += len(part)
    return parts


class Invalid(NamedTuple):
    """A log call from which no event could be built: the reason, and file and line."""

    reason: str
    message: str
    origin: str


class Batch(NamedTuple):
    """The result of one `Store.take`: events to send, and log calls that gave none."""

    events: Sequence[OdpEvent]
    invalid: Sequence[Invalid] = ()
    truncated: bool = False
    """Whether the store held more events than one request may have bytes."""

    def only(self, indexes: Sequence[int]) -> Batch:
        """Return a batch of the events at *indexes*, in that order."""
        return Batch([self.events[index] for index in indexes])

    @property
    def size(self) -> int:
        """Bytes of the request body: the events' JSON with commas and brackets."""
        return sum([len(event.json) for event in self.events]) + len(self.events) + 1


class Dropped(NamedTuple):
    """Events that will not be delivered, and the reason."""

    events: Sequence[OdpEvent]
    reason: str


def group_by_reason(dropped: Iterable[tuple[OdpEvent, str]]) -> list[Dropped]:
    """Return events that were dropped one by one, together by their reason."""
    groups: dict[str, list[OdpEvent]] = {}
    for event, reason in dropped:
        groups.setdefault(reason, []).append(event)
    return [Dropped(events, reason) for reason, events in groups.items()]
