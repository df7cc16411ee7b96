"""The events that a `Buffer` holds: waiting, being built, and taken but not settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, final

from .._events.batch import Batch, Invalid, count_fitting, format_origin
from .._events.ids import generate_ids
from ..exceptions import InvalidEventError
from .counts import add_counts, add_unbuilt

if TYPE_CHECKING:
    from .._events.event import OdpEvent
    from .counts import Counters

EncodeBatch = Callable[[Sequence[Any], Sequence[str]], Sequence["OdpEvent | None"]]
"""Returns the events of those that need no adjusting, with these ids; else None."""

_SENTINEL = object()


class PendingEvents:
    """
    The events of a buffer in their order: taken, being built, and waiting.

    Caller holds the buffer's lock. A signal handler of the application may raise at any
    call within these methods. Events are moved in one step in C, so that none is lost.
    """

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()
        """What log calls left here, and no take has touched yet."""
        self.building: Sequence[Any] = ()
        """What the current take builds events from, without the lock."""
        self.unsettled: list[TakenEvent] = []
        self.current: Batch | None = None
        """The batch that was taken last; it holds the first unsettled events."""
        self.size = 0
        """Bytes of all events."""
        self.last_sequence = 0

    def count(self) -> int:
        """Return the number of events."""
        return len(self.waiting) + len(self.building) + len(self.unsettled)

    def move_in(self, incoming: deque[Any], count: int) -> None:
        """Move the first *count* entries of *incoming* to the waiting events."""
        # One step in C: an exception of a signal handler cannot come in between.
        self.waiting.extend(islice(iter(incoming.popleft, _SENTINEL), count))

    def add_sizes(self, count: int, complete_capture: Callable[[Any], Any]) -> int:
        """
        Add the sizes of the last *count* waiting events; return the largest size.

        A bare tuple is replaced by its capture, which has a size.
        """
        waiting = self.waiting
        largest = 0
        for index in range(-count, 0):
            logged = waiting[index]
            if type(logged) is tuple:
                # Replaced in place: an exception here loses no event.
                waiting[index] = logged = complete_capture(logged)
            size = logged.size
            self.size += size
            if size > largest:
                largest = size
        return largest

    def recompute_size(self, complete_capture: Callable[[Any], Any]) -> None:
        """Add up all sizes again, after an exception cut off an update."""
        self.size = sum([taken.size for taken in self.unsettled])
        self.size += sum([logged.size for logged in self.building])
        self.add_sizes(len(self.waiting), complete_capture)

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

    def return_unbuilt(self) -> None:
        """Return what an interrupted take was building to the waiting events."""
        self.waiting.extendleft(reversed(self.building))
        self.building = ()

    def start_building(self, max_unsettled: int) -> tuple[list[Any], int]:
        """
        Reserve waiting events for a take.

        Args:
            max_unsettled: Number of events that may be unsettled after the take.

        Returns:
            The reserved events, and the sequence number before that of the first one.
        """
        fresh: list[Any] = []
        # Held from here before it is filled, so that an exception loses none of it.
        self.building = fresh
        room = max(0, max_unsettled - len(self.unsettled))
        # One step in C, as in `move_in`.
        taking = min(room, len(self.waiting))
        fresh.extend(islice(iter(self.waiting.popleft, _SENTINEL), taking))
        return fresh, self.last_sequence - len(self.waiting) - len(fresh)

    def record_built(
        self,
        fresh: Sequence[Any],
        built: Sequence[TakenEvent | Invalid | None],
        counters: Counters,
    ) -> None:
        """Add the taken events of *built* to the unsettled, and count the others."""
        taken = [result for result in built if type(result) is TakenEvent]
        size = self.size
        rejected, dropped = dict(counters.rejected), dict(counters.dropped)
        adjusted = dict(counters.adjusted)
        for held in taken:
            if held.event.adjusted:
                add_counts(adjusted, held.event.adjusted)
        if len(taken) < len(built):
            for logged, result in zip(fresh, built):
                if result is None or type(result) is Invalid:
                    size -= logged.size
                    add_unbuilt(result, rejected, dropped)
        # No calls below: CPython runs signal handlers only at calls and loop jumps, so
        # these assignments cannot be interrupted.
        self.building = ()
        self.unsettled += taken
        self.size = size
        counters.rejected, counters.dropped = rejected, dropped
        counters.adjusted = adjusted

    def select(self, max_count: int, max_bytes: int) -> list[TakenEvent]:
        """Return the first unsettled events, as many as the limits allow."""
        # More events are unsettled than requested if several requests failed at once.
        first = self.unsettled[:max_count]
        # A list: a generator would be resumed for each event by another module.
        sizes = [len(taken.event.json) for taken in first]
        return first[: count_fitting(sizes, max_bytes)]

    def get_settled_sequence(self) -> int:
        """Return the sequence number up to which every event is settled."""
        if self.unsettled:
            return self.unsettled[0].sequence - 1
        return self.last_sequence - len(self.waiting) - len(self.building)

    def clear(self) -> None:
        """Remove all events."""
        self.unsettled, self.building, self.current = [], (), None
        self.waiting.clear()
        self.size = 0


@final
class TakenEvent:
    """An event that was taken and not settled yet."""

    __slots__ = ("event", "in_doubt", "sent", "sequence", "size")

    def __init__(self, event: OdpEvent, sequence: int, size: int) -> None:
        self.event = event
        self.sequence = sequence
        self.size = size
        self.sent = False
        self.in_doubt = False


def build_taken_event(
    build: Callable[..., OdpEvent | None],
    logged: Any,
    sequence: int,
    event_id: str | None = None,
) -> TakenEvent | Invalid | None:
    """Return the event of *logged*, why it is invalid, or None if it is left out."""
    try:
        event = build(logged, event_id)
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
    return None if event is None else TakenEvent(event, sequence, logged.size)


def build_taken_events(
    build: Callable[..., OdpEvent | None],
    encode_batch: EncodeBatch,
    fresh: Sequence[Any],
    sequence: int,
) -> list[TakenEvent | Invalid | None]:
    """
    Return what `build_taken_event` returns for each of *fresh*.

    Args:
        sequence: Sequence number before that of the first one.
    """
    event_ids = generate_ids(len(fresh))
    # Without a pause: giving up the GIL after each 100 events shortens the longest gap
    # of a busy thread from 2.6 to 1.5 ms, and costs it twice the time in all.
    return [
        build_taken_event(build, logged, sequence + n, event_id)
        if event is None
        else TakenEvent(event, sequence + n, logged.size)
        for n, (logged, event, event_id) in enumerate(
            zip(fresh, encode_batch(fresh, event_ids), event_ids), 1
        )
    ]
