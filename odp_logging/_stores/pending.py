"""The events that a `Buffer` holds: waiting, being built, and taken but not settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .._events.batch import Batch, Invalid, count_per_request, format_origin
from .._events.ids import Identified, generate_ids
from ..exceptions import InvalidEventError
from .counts import NONE, add_count, add_counts, add_unbuilt

if TYPE_CHECKING:
    from .._events.delivery import Delivery
    from .._events.event import OdpEvent
    from .counts import Counters

EncodeBatch = Callable[[Sequence[Any], Sequence[str]], Sequence["OdpEvent | None"]]
"""Returns for each its event with this id, or None if it may need adjusting."""


def _pop_first(queue: deque[Any], count: int) -> Iterable[Any]:
    # Compares nothing: an event's __eq__ is Python, where a signal handler may raise.
    return starmap(queue.popleft, repeat((), count))


class PendingEvents:
    """
    The events of a buffer in their order: taken, being built, and waiting.

    Caller holds the buffer's lock. A signal handler of the application may raise at any
    call within these methods. Events are moved in one step in C, so that none is lost.

    Args:
        complete_capture: Returns a capture with a size for the bare tuple that a log
            call left in the inbox.
    """

    def __init__(self, complete_capture: Callable[[Any], Any]) -> None:
        self._complete_capture = complete_capture
        self.waiting: deque[Any] = deque()
        """Accounted, so each has a size, and in no request."""
        self.building: list[Any] = []
        """What the current take builds events from, without the lock."""
        self._accounted = 0
        """How many of `building` were accounted before: `size` includes them."""
        self.unsettled: list[OdpEvent] = []
        self._sequences: list[int] = []
        """The sequence number of each unsettled event."""
        self._sent = 0
        """How many of the unsettled events were in a request: the first ones."""
        self._in_doubt: frozenset[int] = frozenset()
        """Sequence numbers of the events that ODP may have accepted."""
        self.current: Batch | None = None
        """The batch that was taken last; it holds the first unsettled events."""
        self.size = 0
        """Bytes of all accounted events. One that is built counts as its JSON."""
        self.last_sequence = 0

    def count(self) -> int:
        """Return the number of events."""
        return len(self.waiting) + len(self.building) + len(self.unsettled)

    def complete(self, logged: Any) -> Any:
        """Return *logged*; a capture with a size if it is a bare tuple."""
        return self._complete_capture(logged) if type(logged) is tuple else logged

    def account(self, incoming: deque[Any], count: int, counters: Counters) -> int:
        """
        Move the first *count* entries of *incoming* to the waiting events.

        Return the largest of their sizes.
        """
        # One step in C: an exception of a signal handler cannot come in between.
        self.waiting.extend(_pop_first(incoming, count))
        # No calls in between, see `recount`.
        counters.accepted += count
        self.last_sequence += count
        return self._add_sizes(count)

    def _add_sizes(self, count: int) -> int:
        waiting = self.waiting
        largest = 0
        for index in range(-count, 0):
            # Replaced in place: an exception here loses no event.
            waiting[index] = logged = self.complete(waiting[index])
            size = logged.size
            self.size += size
            if size > largest:
                largest = size
        return largest

    def recount(self, counters: Counters) -> None:
        """Repair counts and size, after an exception cut off an update."""
        self.size = sum([len(event.json) for event in self.unsettled])
        self.size += sum([logged.size for logged in self.building[: self._accounted]])
        self._add_sizes(len(self.waiting))
        accepted = counters.count_settled() + counters.moved + self.count()
        # The update that was cut off changes both in one step.
        self.last_sequence += max(0, accepted - counters.accepted)
        counters.accepted = accepted

    def pop_oldest(self) -> Any:
        """Remove and return the oldest waiting event."""
        logged = self.waiting.popleft()
        self.size -= logged.size
        return logged

    def pop_newest(self) -> Any:
        """Remove and return the newest waiting event."""
        logged = self.waiting.pop()
        self.last_sequence -= 1
        self.size -= logged.size
        return logged

    def remove_larger(self, max_bytes: int) -> list[Any]:
        """Remove and return the waiting events that alone exceed *max_bytes*."""
        kept = deque([logged for logged in self.waiting if logged.size <= max_bytes])
        removed = [logged for logged in self.waiting if logged.size > max_bytes]
        count, size = len(removed), sum([logged.size for logged in removed])
        # No calls below: CPython runs signal handlers only at calls and loop jumps, so
        # these assignments cannot be interrupted.
        self.waiting = kept
        self.size -= size
        self.last_sequence -= count
        return removed

    def start_building(
        self, max_unsettled: int, incoming: deque[Any], counters: Counters
    ) -> tuple[list[Any], int]:
        """
        Reserve waiting events for a take, and then those of *incoming*.

        Those need not be accounted: `finish_building` adds the bytes of their JSON.

        Args:
            max_unsettled: Number of events that may be unsettled after the take.

        Returns:
            The reserved events, and the sequence number before that of the first one.
        """
        room = max(0, max_unsettled - len(self.unsettled))
        accounted = min(room, len(self.waiting))
        fresh: list[Any] = []
        # Held from here before it is filled, so that an exception loses none of it.
        self.building, self._accounted = fresh, accounted
        # One step in C each, as in `account`.
        fresh.extend(_pop_first(self.waiting, accounted))
        count = min(room - accounted, len(incoming))
        fresh.extend(_pop_first(incoming, count))
        counters.accepted += count
        self.last_sequence += count
        return fresh, self.last_sequence - len(self.waiting) - len(fresh)

    def return_unbuilt(self) -> None:
        """Return what a take was building to the waiting events, accounted."""
        building = self.building
        for index, logged in enumerate(building):
            building[index] = self.complete(logged)
        size = sum([logged.size for logged in building[self._accounted :]])
        waiting = deque((*building, *self.waiting))
        # No calls below, as in `remove_larger`.
        self.waiting, self.building, self._accounted = waiting, [], 0
        self.size += size

    def finish_building(
        self,
        built: Built,
        sequence: int,
        max_count: int,
        max_bytes: int,
        counters: Counters,
    ) -> Batch:
        """
        Add the events of *built* to the unsettled, and count the failures.

        Args:
            sequence: Sequence number before that of the first one.
            max_count, max_bytes: Limits of the batch that is returned: the first
                unsettled events. More are unsettled if several requests failed at once.
        """
        sequences = [sequence + 1 + position for position in built.positions]
        size = self.size + sum([len(event.json) for event in built.events])
        size -= sum([logged.size for logged in self.building[: self._accounted]])
        rejected, dropped = counters.rejected, counters.dropped
        if built.failures:
            rejected, dropped = dict(rejected), dict(dropped)
            for result in built.failures:
                add_unbuilt(result, rejected, dropped)
        adjusted = counters.adjusted
        if built.adjusted:
            adjusted = dict(adjusted)
            add_counts(adjusted, built.adjusted)
        unsettled = [*self.unsettled, *built.events]
        events = _cut_to_limits(unsettled, max_count, max_bytes)
        invalid = [failure for failure in built.failures if failure is not None]
        batch = Batch(events, invalid, truncated=len(events) < len(unsettled))
        retried = min(self._sent, len(events))
        sent = self._sent + len(events) - retried
        # No calls below, as in `remove_larger`.
        self.building, self._accounted = [], 0
        self.unsettled = unsettled
        self._sequences += sequences
        self._sent = sent
        self.current = batch
        self.size = size
        counters.rejected, counters.dropped = rejected, dropped
        counters.adjusted = adjusted
        counters.retried += retried
        return batch

    def settle(self, batch: Batch, delivery: Delivery, counters: Counters) -> None:
        """Remove the events of *batch* that are not pending, and count them."""
        count = len(batch.events)
        kept = sorted({position for position in delivery.pending if position < count})
        events = [batch.events[position] for position in kept]
        sequences = [self._sequences[position] for position in kept]
        in_doubt = self._in_doubt
        if in_doubt or delivery.in_doubt:
            sent = [
                self._sequences[position]
                for position in kept
                if position in delivery.in_doubt
            ]
            in_doubt = in_doubt.union(sent).intersection(
                (*sequences, *self._sequences[count:])
            )
        # Nearly always all are delivered: nothing is looked up for each of them.
        settled = set(range(count)).difference(kept)
        refused = len(settled.intersection(delivery.rejected))
        moved = len(settled.intersection(delivery.spooled))
        undelivered = settled.intersection((*delivery.rejected, *delivery.spooled))
        delivered = len(settled) - len(undelivered)
        size = sum([len(event.json) for event in batch.events])
        size -= sum([len(event.json) for event in events])
        kept_count = len(kept)
        rejected = dict(counters.rejected)
        add_count(rejected, "refused", refused)
        # No calls below, as in `remove_larger`.
        self.current = None
        self.unsettled[:count] = events
        self._sequences[:count] = sequences
        self._sent -= count - kept_count
        self._in_doubt = in_doubt
        self.size -= size
        counters.delivered += delivered
        counters.moved += moved
        counters.rejected = rejected
        counters.retried += delivery.resent

    def get_settled_sequence(self) -> int:
        """Return the sequence number up to which every event is settled."""
        if self.unsettled:
            return self._sequences[0] - 1
        return self.last_sequence - len(self.waiting) - len(self.building)

    def is_in_doubt(self, position: int) -> bool:
        """Whether ODP may have accepted the unsettled event at *position*."""
        is_in_flight = self.current and position < len(self.current.events)
        return bool(is_in_flight) or self._sequences[position] in self._in_doubt

    def clear(self) -> None:
        """Remove all events."""
        self.waiting, self.building, self._accounted = deque(), [], 0
        self.clear_unsettled()
        self.size = 0

    def clear_unsettled(self) -> None:
        """Remove the events that were taken."""
        self.unsettled, self._sequences, self._sent = [], [], 0
        self._in_doubt, self.current = frozenset(), None


def _cut_to_limits(
    events: Sequence[OdpEvent], max_count: int, max_bytes: int
) -> Sequence[OdpEvent]:
    """Return the first *max_count* events, as many as fit into *max_bytes*."""
    events = events[:max_count]
    sizes = [len(event.json) for event in events]
    return events[: count_per_request(sizes, max_bytes)]


class Built(NamedTuple):
    """
    What was built from captures.

    Args:
        events: The events, in the order of the captures.
        positions: The position of each one's capture.
        failures: Why other captures gave no event; None for one that is left out.
        adjusted: The adjustments that were made to the events.
    """

    events: Sequence[OdpEvent]
    positions: Sequence[int]
    failures: Sequence[Invalid | None] = ()
    adjusted: Mapping[str, int] = NONE


def build_event(
    build: Callable[..., OdpEvent | None], logged: Any, event_id: str | None = None
) -> OdpEvent | Invalid | None:
    """Return the event of *logged*, why it is invalid, or None if it is left out."""
    try:
        return build(logged, event_id)
    except KeyboardInterrupt:
        # Not the event's fault: the next take builds it.
        raise
    except InvalidEventError as error:
        return Invalid(error.reason, str(error), format_origin(logged))
    except BaseException as error:  # before_send is the application's code
        name = type(error).__name__
        return Invalid(
            "not_buildable", f"making it raised {name}", format_origin(logged)
        )


def build_events(
    build: Callable[..., OdpEvent | None],
    encode_batch: EncodeBatch,
    complete: Callable[[Any], Any],
    fresh: list[Any],
) -> Built:
    """
    Build the events of *fresh*: captures, bare or with a size, and events.

    Args:
        build: Builds a single event, where *encode_batch* returned None for it.
        complete: See `PendingEvents.complete`.
    """
    event_ids = generate_ids(len(fresh))
    # Without a pause: giving up the GIL after each 100 events shortens the longest gap
    # of a busy thread from 2.6 to 1.5 ms, and costs it twice the time in all.
    encoded = encode_batch(fresh, event_ids)
    if all(encoded):
        return Built(cast("Sequence[OdpEvent]", encoded), range(len(encoded)))
    events: list[OdpEvent] = []
    positions: list[int] = []
    failures: list[Invalid | None] = []
    adjusted: dict[str, int] = {}
    for position, (event, event_id) in enumerate(zip(encoded, event_ids)):
        result: OdpEvent | Invalid | None = event
        if result is None:
            fresh[position] = logged = complete(fresh[position])
            result = build_event(build, logged, event_id)
        if isinstance(result, Identified):
            events.append(result)
            positions.append(position)
            if event is None:
                add_counts(adjusted, result.adjusted)
        else:
            failures.append(result)
    return Built(events, positions, failures, adjusted)
