"""What every store does, and the values it speaks in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from .._delivery import Delivery
    from .._event import OdpEvent
    from ._counts import Counts


class Invalid(NamedTuple):
    """A logged event that could not be made: why, and where it was logged."""

    reason: str
    message: str
    origin: str


class Batch(NamedTuple):
    """What one `Store.take` yields: events to send, and what could not become one."""

    events: Sequence[OdpEvent]
    invalid: Sequence[Invalid] = ()
    cut: bool = False
    """Whether more was there than fits into one request by its bytes."""

    def only(self, positions: Sequence[int]) -> Batch:
        """Return the batch of the events at *positions*, in that order."""
        return Batch([self.events[position] for position in positions])

    @property
    def size(self) -> int:
        """Bytes of the events' JSON, with the commas and brackets around them."""
        return sum(len(event.json) + 1 for event in self.events) + 1


class Dropped(NamedTuple):
    """Events that will not be delivered, and why."""

    events: Sequence[OdpEvent]
    reason: str


class Shelter(Protocol):
    """Where a store in memory leaves what it cannot hold."""

    def keep(self, events: Sequence[OdpEvent]) -> bool:
        """Take over *events*: all, or none of them."""

    def has_kept(self, events: Sequence[OdpEvent]) -> bool:
        """Whether the last `keep` of *events* was done, though it was cut off."""

    def is_able(self) -> bool:
        """Whether it is worth to ask."""


class Store(Protocol):
    """
    A place where events rest between a log call and their delivery.

    `put` is called on any thread, and within a signal handler or a finaliser that
    interrupted another `put`: it takes no lock that it would have to wait for. `take`
    and `settle` are called by one thread at a time, in turns, always as a pair.

    Whoever writes a store beyond the process derives from `_shared.Shared`, which says
    all of this in terms of six methods.
    """

    def put(self, logged: Any) -> bool:
        """Keep what was logged; return whether enough is there for a full batch."""

    def look(self) -> bool:
        """Look at what log calls left by themselves; return as `put` does."""

    def try_put(self, logged: Any) -> bool | None:
        """Do as `put`; None if *logged* cannot be kept here, and was not counted."""

    def refuse(self, reason: str) -> None:
        """Count an event that is rejected before it comes to rest here."""

    def take(self) -> Batch:
        """Return the oldest events, a batch at most; they stay here until settled."""

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Forget what was accepted or rejected; keep what is pending, in its place."""

    def give_up(self, reason: str) -> int:
        """Drop all that is here, counted by *reason* or ``in_doubt``; say how many."""

    def close(self) -> None:
        """Let go of what is not needed while nothing is here."""

    def has_more(self) -> bool:
        """Whether events wait here that others left, and that nobody waits for."""

    def is_pressed(self) -> bool:
        """Whether so much is here that it had better go elsewhere."""

    def dropped(self) -> Sequence[Dropped]:
        """Return what was dropped since the last call, for those who want to know."""

    def entered(self) -> int:
        """Return the number of the newest event here, counted from 1."""

    def passed(self) -> int:
        """Return the number up to which every event has left: settled or dropped."""

    def is_mine(self) -> bool:
        """Whether this thread was interrupted in the middle of the store's code."""

    def counts(self) -> Counts:
        """Return what became of all events so far."""

    def spooled(self) -> int:
        """Return how many events rest here on disk."""

    def is_durable(self) -> bool:
        """Whether what is put here is on disk when `put` returns."""

    def overflowed(self) -> int:
        """Return how many events were dropped for want of room."""

    def before_fork(self, deadline: float) -> None:
        """Come to a point where a fork does no harm, until *deadline*."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork(self) -> None:
        """Start empty in a forked child: what is here belongs to the parent."""
