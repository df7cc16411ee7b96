"""What a worker holds of a queue: leased events, and acknowledgements to be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._events.batch import Batch, count_per_request
from ..._events.event import OdpEvent, parse_event
from ..._runtime.text import format_count
from .messages import VERSION, LeasedMessage, QueueError, group_by_shard

if TYPE_CHECKING:
    from ..._events.delivery import Delivery
    from ..counts import Counters
    from .base import QueueEngine

SINGLE_FROM_DELIVERY = 4
"""Deliveries from which an event is sent alone: it may have killed its workers."""


class LeasedEvent:
    """An event that is leased and not settled yet."""

    __slots__ = ("event", "is_suspect", "leased", "sequence", "was_sent")

    def __init__(self, leased: LeasedMessage, event: OdpEvent, sequence: int) -> None:
        self.leased = leased
        self.event = event
        self.sequence = sequence
        self.is_suspect = is_suspect(leased)
        self.was_sent = False


class Settled(NamedTuple):
    """Messages of one shard to acknowledge: accepted ones, and dead ones with why."""

    done: Sequence[LeasedMessage]
    dead: Sequence[tuple[LeasedMessage, str]]

    def __repr__(self) -> str:
        # A reason is ODP's text, which may quote an event.
        return f"<Settled: {len(self.done)} done, {len(self.dead)} dead>"


class LeasedEvents:
    """
    The events that one worker leased and did not settle, the oldest first.

    Caller holds the store's lock.

    Args:
        batch_size, batch_bytes: Events and bytes of one request.
        counters: Counts what becomes of the events.
    """

    def __init__(
        self, *, batch_size: int, batch_bytes: int, counters: Counters
    ) -> None:
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._counters = counters
        self._events: list[LeasedEvent] = []
        self._batch: Batch | None = None
        self.last_sequence = 0
        """Sequence number of the newest event that was leased; the first has 1."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def messages(self) -> list[LeasedMessage]:
        """The messages of all events."""
        return [entry.leased for entry in self._events]

    @property
    def capacity(self) -> int:
        """Number of events to lease for a full batch."""
        return self._batch_size - len(self._events)

    @property
    def capacity_bytes(self) -> int:
        """Number of bytes to lease for a full batch."""
        used = sum([len(entry.leased.message.body) for entry in self._events])
        return self._batch_bytes - used

    @property
    def settled_sequence(self) -> int:
        """Sequence number up to which all events are settled."""
        events = self._events
        return events[0].sequence - 1 if events else self.last_sequence

    def add(self, leased: LeasedMessage, event: OdpEvent) -> None:
        """Add an event that was leased just now."""
        self.last_sequence += 1
        self._events.append(LeasedEvent(leased, event, self.last_sequence))

    def keep(self, leased: Sequence[LeasedMessage]) -> None:
        """Remove the events of all messages but *leased*: another worker has them."""
        kept = {message.id for message in leased}
        before = self._events
        self._events = [entry for entry in before if entry.leased.id in kept]
        if self._batch is not None:
            # Its outcomes go by position, so the rest of it is sent again.
            count = len(self._batch.events)
            if before[:count] != self._events[:count]:
                self._batch = None

    def remove_all(self) -> list[LeasedMessage]:
        """Remove all events and return their messages."""
        removed, self._events, self._batch = self._events, [], None
        return [entry.leased for entry in removed]

    def forget_batch(self) -> None:
        """Settle nothing of the last batch: its events are sent again."""
        self._batch = None

    def build_batch(self) -> Batch:
        """Return the oldest events, within one request, for `settle`."""
        first = self._events[: self._batch_size]
        suspects = [index for index, entry in enumerate(first) if entry.is_suspect]
        if suspects:  # sent alone, after those before it
            first = first[: suspects[0] or 1]
        sizes = [len(entry.event.json) for entry in first]
        selected = first[: count_per_request(sizes, self._batch_bytes)]
        for entry in selected:
            # A flag for each event: a batch may mix new events and those of a retry.
            self._counters.retried += entry.was_sent
            entry.was_sent = True
        self._batch = batch = Batch(
            [entry.event for entry in selected],
            truncated=len(selected) < len(self._events),
        )
        return batch

    def settle(self, batch: Batch, delivery: Delivery) -> Settled | None:
        """
        Remove accepted and rejected events, count them, and keep the pending ones.

        Return what is to be acknowledged, or None if *batch* is not the last one.
        """
        if batch is not self._batch:
            return None
        sent = self._events[: len(batch.events)]
        done = [sent[position].leased for position in delivery.accepted]
        dead = [
            (sent[position].leased, reason)
            for position, reason in delivery.rejected.items()
        ]
        pending = [sent[position] for position in sorted(set(delivery.pending))]
        self._batch = None
        self._events[: len(sent)] = pending
        self._counters.delivered += len(done)
        self._counters.reject("refused", len(dead))
        self._counters.retried += delivery.resent
        return Settled(done, dead)


class Acknowledgements:
    """Settled messages that the queue does not know of yet."""

    def __init__(self) -> None:
        self._waiting: list[Settled] = []

    @property
    def ids(self) -> set[Any]:
        """The ids of all messages."""
        return {
            message.id
            for settled in self._waiting
            for message in (*settled.done, *(message for message, _ in settled.dead))
        }

    def add(self, settled: Settled) -> None:
        """Add messages shard by shard: one without an answer does not block others."""
        messages = [*settled.done, *(message for message, _ in settled.dead)]
        for shard in group_by_shard(messages):
            self._waiting.append(
                Settled(
                    [message for message in settled.done if message.shard == shard],
                    [pair for pair in settled.dead if pair[0].shard == shard],
                )
            )

    def send(self, engine: QueueEngine, warn: Callable[[str, str], object]) -> None:
        """Acknowledge the messages to *engine*; keep those that fail for the next."""
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            try:
                engine.acknowledge(settled.done, settled.dead)
            except QueueError as error:
                self._waiting.append(settled)
                warn(
                    "settle",
                    f"{error}. The events are settled. They are acknowledged when the"
                    " queue answers again",
                )


def is_suspect(leased: LeasedMessage) -> bool:
    """Whether *leased* may have killed the workers that had it."""
    return leased.deliveries >= SINGLE_FROM_DELIVERY


def format_deliveries(deliveries: int) -> str:
    """Return why a message is not sent that was leased so often."""
    workers = format_count(deliveries - 1, "worker")
    return f"deliveries: {workers} had it, and none settled it"


def parse_or_reject(
    leased: LeasedMessage, *, alias: str, max_deliveries: int
) -> OdpEvent | str:
    """Return the event of *leased*, or why it cannot be sent."""
    if leased.reason:
        return leased.reason
    if leased.deliveries > max_deliveries:
        return format_deliveries(leased.deliveries)
    if leased.message.version != VERSION:
        return "unreadable: it is of another version; retry it with a newer relay"
    if leased.message.alias != alias:
        return "account: it is for another account than this relay's"
    try:
        return parse_event(leased.message.body)
    except ValueError:
        return "unreadable: it is no event"
