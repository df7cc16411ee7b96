"""A store that many processes share: all of it but the engine beneath.

An engine (Redis Streams; Kafka could be another one) derives from `Shared` and says how
events are published, leased and finished. Everything else is the same for all of them:
what is made of a batch's delivery, poison, books, forks.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._event import OdpEvent, restored
from .._lock import OwnedLock
from ._base import Batch, Dropped
from ._parcels import VERSION, Depth, Leased, Parcel, QueueError, Refusal, by_shard
from ._tally import Tally

if TYPE_CHECKING:
    from .._delivery import Delivery
    from ._counts import Counts

LEASE = 30.0
"""Seconds a worker has events to itself; more than the worst request takes."""

MAX_DELIVERIES = 10
_ALONE_FROM = 4
"""Deliveries from which an event travels alone: it may have killed its workers."""

_LOOK_EVERY = 1.0
_LONGEST_PAUSE = 1.0


class Shared(ABC):
    """
    A `Store` beyond this process.

    `take` and `settle` are for relays, `hand_over` for those who fill the queue: each
    is called by one thread at a time. What is here is nobody's to wait for: `entered`
    and `passed` count what this process took, and a fork finds nothing of its own.

    Args:
        alias: Names the account that is delivered to; others' events are buried.
        batch_size, batch_bytes: Events and bytes of one request.
        max_deliveries: Workers that may have an event, one after the other.
        wait: Seconds that `take` waits for events.
        lease: Seconds a worker has events to itself.
        warn: Told, as kind and message, what is wrong with the queue.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        alias: str = "default",
        batch_size: int = 100,
        batch_bytes: int = 1_000_000,
        max_deliveries: int = MAX_DELIVERIES,
        wait: float = 0.0,
        lease: float = LEASE,
        warn: Callable[[str, str], object] = lambda kind, message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease_seconds = lease
        self._alias = alias
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._max_deliveries = max_deliveries
        self._wait = wait
        self._warn = warn
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._lock = OwnedLock()
        self._bell = threading.Event()
        self._held: list[_Held] = []
        self._current: Batch | None = None
        self._owed: list[_Owed] = []
        self._taken = 0
        self._waiting = 0
        self._look_at = 0.0
        self._tally = Tally()
        self.is_lost = False
        """Whether the queue gave no answer when it was asked last."""
        self.last_depth = Depth()
        """What the queue held when it was looked at, a few seconds ago at most."""
        self.redelivered = 0
        """Events that another worker had before, and did not settle."""

    # What an engine has to say. All of these may raise QueueError.

    @abstractmethod
    def publish(
        self, parcels: Sequence[Parcel], deadline: float | None
    ) -> Mapping[int, Refusal]:
        """Have *parcels* rest in the queue on return; say by position which do not."""

    @abstractmethod
    def lease(self, limit: int, wait: float) -> Sequence[Leased]:
        """Return what nobody has: abandoned first, then new; wait only for some."""

    @abstractmethod
    def extend(self, leased: Sequence[Leased]) -> Sequence[Leased]:
        """Start the lease of *leased* anew; return those that are still ours."""

    @abstractmethod
    def finish(
        self, done: Sequence[Leased], dead: Sequence[tuple[Leased, str]]
    ) -> None:
        """Forget *done*, and keep *dead* with their reasons among the dead letters."""

    @abstractmethod
    def depth(self) -> Depth:
        """Return how much there is."""

    @abstractmethod
    def disconnect(self, *, forked: bool = False) -> None:
        """Let go of connections; those of a parent without a word on them."""

    # What an engine may say besides.

    def give_back(self, leased: Sequence[Leased]) -> None:
        """Let others have *leased* at once, as if they had never been taken."""

    def pause(self, seconds: float) -> None:
        """Have all relays send nothing for so long."""

    def paused(self) -> float:
        """Return for how many seconds nothing is to be sent."""
        return 0.0

    # Filling it.

    def hand_over(
        self, events: Sequence[OdpEvent], deadline: float | None = None
    ) -> Mapping[int, Refusal]:
        """
        Put *events* into the queue; return, by position, which are not there and why.

        Args:
            deadline: Moment of ``time.monotonic()`` at which the answer is due.

        Raises:
            QueueError: Nothing is known of any of them.
        """
        parcels = [Parcel(_key(event), event.json, self._alias) for event in events]
        refused = self.publish(parcels, deadline)
        with self._lock.section():
            self._waiting += len(events) - len(refused)
        return refused

    def put(self, logged: Any) -> bool:
        """Hand over one event; what the queue does not take is counted as dropped."""
        if self.try_put(logged) is None:
            with self._lock.section():
                self._tally.drop("queue")
        return self._waiting >= self._batch_size

    def try_put(self, logged: Any) -> bool | None:
        """Hand over one event; None if the queue did not take it."""
        try:
            refused = self.hand_over([logged])
        except QueueError as error:
            self._warn("queue", str(error))
            return None
        return None if refused else self._waiting >= self._batch_size

    # Emptying it.

    def take(self) -> Batch:
        """Return what nobody else has, a batch at most; held until it is settled."""
        self._current = None
        try:
            self._renew()
            held_up = self.paused()
            if held_up <= 0:
                self._lease()
        except QueueError as error:
            held_up = _LONGEST_PAUSE
            self.is_lost = True
            self._warn("queue", f"{error}; it is asked again every second")
        else:
            self.is_lost = False
            self._look()
        self._pay()
        if held_up > 0:
            self._bell.wait(min(held_up, max(self._wait, 0.001), _LONGEST_PAUSE))
            return Batch(())
        with self._lock.section():
            self._current = self._batch()
            return self._current

    def _lease(self) -> None:
        room = self._batch_size - len(self._held)
        if room <= 0:
            return
        found = self.lease(room, 0.0 if self._held else self._wait)
        owed = {each[1:3] for one in self._owed for each in one.leased}
        found = [each for each in found if each[1:3] not in owed]
        self.redelivered += sum([each.deliveries > 1 for each in found])
        opened = [(each, self._open(each)) for each in found]
        sound = [(each, event) for each, event in opened if not isinstance(event, str)]
        dead = [(each, reason) for each, reason in opened if isinstance(reason, str)]
        # Were they on loan together, the innocent would die with the guilty.
        suspects = [each for each, _ in sound if each.deliveries >= _ALONE_FROM][1:]
        with self._lock.section():
            for each, event in sound:
                if each not in suspects:
                    self._taken += 1
                    self._held.append(_Held(each, event, self._taken))
            for _, reason in dead:
                self._tally.reject(reason.partition(":")[0])
            self._owe([], dead)
        if dead:
            self._warn(
                "buried",
                f"{len(dead)} events of the queue cannot be sent, the first for"
                f' "{dead[0][1]}"; they are kept as dead letters, see odp-logging dead'
                " list --from URL",
            )
        if suspects:
            self.give_back(suspects)

    def _open(self, leased: Leased) -> OdpEvent | str:
        """Return the event of *leased*, or why there is none to be sent."""
        if leased.deliveries > self._max_deliveries:
            workers = leased.deliveries - 1
            return f"deliveries: {workers} workers had it, and none settled it"
        if leased.parcel.version != VERSION:
            return "unreadable: it is of another version; retry it with a newer relay"
        if leased.parcel.alias != self._alias:
            return "account: it is for another account than this relay's"
        try:
            return restored(leased.parcel.body)
        except ValueError:
            return "unreadable: it is no event"

    def _batch(self) -> Batch:
        events: list[OdpEvent] = []
        size = 2
        for held in self._held[: self._batch_size]:
            alone = held.leased.deliveries >= _ALONE_FROM
            size += len(held.event.json) + 1
            if events and (alone or size > self._batch_bytes):
                break
            events.append(held.event)
            self._tally.retried += held.sent
            held.sent = True
            if alone:
                break
        return Batch(events, cut=len(events) < len(self._held))

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Finish what was accepted or rejected; hold what is pending."""
        with self._lock.section():
            if batch is not self._current:
                return
            self._settle(self._held[: len(batch.events)], delivery)
        self._pay()
        if not (delivery.throttled or delivery.retry_after > 0):
            return
        try:
            self.pause(max(delivery.retry_after, delivery.backoff))
        except QueueError as error:
            self._warn("queue", f"{error}; other relays do not know of ODP's pause")

    def _settle(self, settled: Sequence[_Held], delivery: Delivery) -> None:
        pending = set(delivery.pending)
        done = [settled[place].leased for place in delivery.accepted]
        dead = [
            (settled[place].leased, why) for place, why in delivery.rejected.items()
        ]
        still = [settled[place] for place in sorted(pending)]
        self._current = None
        self._held[: len(settled)] = still
        self._owe(done, dead)
        self._waiting = max(len(self._held), self._waiting - len(done) - len(dead))
        self._tally.delivered += len(done)
        self._tally.reject("refused", len(dead))
        self._tally.retried += delivery.resent

    def _owe(self, done: Sequence[Leased], dead: Sequence[tuple[Leased, str]]) -> None:
        # Shard by shard: one that cannot be reached does not hold up the others.
        for shard in by_shard([*done, *(each for each, _ in dead)]):
            mine = [each for each in done if each.shard == shard]
            buried = [each for each in dead if each[0].shard == shard]
            self._owed.append(_Owed(mine, buried))

    def _pay(self) -> bool:
        """Finish what was settled; what fails is left for the next time."""
        owed, self._owed = self._owed, []
        for one in owed:
            try:
                self.finish(one.done, one.dead)
            except QueueError as error:
                self._owed.append(one)
                self._warn(
                    "settle",
                    f"{error}; what was settled is acknowledged when it answers",
                )
        return not self._owed

    def keep(self) -> None:
        """Go on holding what is held: a long retry must not look like a dead worker."""
        try:
            self._renew()
        except QueueError as error:
            self._warn("queue", f"{error}; others may take over what is held")

    def _renew(self) -> None:
        if not self._held:
            return
        ours = {each[1:3] for each in self.extend([held.leased for held in self._held])}
        with self._lock.section():
            self._held = [held for held in self._held if held.leased[1:3] in ours]

    def _look(self) -> None:
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + _LOOK_EVERY
        try:
            self._count()
        except QueueError:
            pass  # a part of it is away: it is taken for what it was

    def _count(self) -> None:
        self.last_depth = depth = self.depth()
        with self._lock.section():
            self._waiting = max(depth.ready + depth.leased, len(self._held))

    def hurry(self) -> None:
        """Cut a wait within `take` short; for any thread."""
        self._bell.set()

    # The rest of what a Store says; a queue is no part of this process.

    def give_up(self, reason: str) -> int:
        """Let others have what is held; nothing is lost."""
        held, self._held, self._current = self._held, [], None
        self._pay()
        try:
            self.give_back([each.leased for each in held])
        except QueueError as error:
            self._warn("queue", f"{error}; others take over what was held in a while")
        return 0

    def close(self) -> None:
        """Let go of connections; they are made again when needed."""
        self.disconnect()

    def after_fork(self) -> None:
        """Forget, in a forked child, what the parent holds."""
        self.disconnect(forked=True)
        self._reset()

    def counts(self) -> Counts:
        """Return what became of what this process took, and how much is waiting."""
        self._count_refused()
        gone = self._tally.gone()
        return self._tally.counts(
            pending=self._waiting,
            spooled=0,
            unbooked=gone + self._waiting - self._tally.accepted,
            size=0,
        )

    def refuse(self, reason: str) -> None:
        """Count an event that is rejected before it comes to rest here."""
        self._tally.refuse(reason)
        self._count_refused()

    def _count_refused(self) -> None:
        if not self._lock.mine():
            with self._lock.section():
                self._tally.count_refused()

    def entered(self) -> int:
        """Return the number of the newest event that this process took."""
        return self._taken

    def passed(self) -> int:
        """Return the number up to which all that this process took has left."""
        held = self._held
        return held[0].number - 1 if held else self._taken

    def look(self) -> bool:
        """Do nothing: no log call leaves an event here by itself."""
        return False

    def has_more(self) -> bool:
        """Whether others may have left events: who asks is to take and see."""
        return True

    def is_pressed(self) -> bool:
        """Whether events had better go elsewhere; here they rest for good."""
        return False

    def dropped(self) -> Sequence[Dropped]:
        """Return what was dropped: nothing is, in a queue."""
        return ()

    def is_mine(self) -> bool:
        """Whether this thread was interrupted in the middle of the books."""
        return self._lock.mine()

    def spooled(self) -> int:
        """Return how many events rest on disk of this machine: none."""
        return 0

    def is_durable(self) -> bool:
        """Whether what is put here outlives this process when `put` returns."""
        return True

    def overflowed(self) -> int:
        """Return how many events were dropped for want of room."""
        return 0

    def before_fork(self, deadline: float) -> None:
        """Do nothing: the child has connections of its own."""

    def after_fork_in_parent(self) -> None:
        """Do nothing."""


class _Owed(NamedTuple):
    """What was settled, and what the queue does not know yet."""

    done: Sequence[Leased]
    dead: Sequence[tuple[Leased, str]]

    @property
    def leased(self) -> list[Leased]:
        """All of it."""
        return [*self.done, *(each for each, _ in self.dead)]


class _Held:
    """An event on loan that was not settled yet."""

    __slots__ = ("event", "leased", "number", "sent")

    def __init__(self, leased: Leased, event: OdpEvent, number: int) -> None:
        self.leased = leased
        self.event = event
        self.number = number
        self.sent = False


def _key(event: OdpEvent) -> bytes:
    name, value = next(iter(event.identifiers.items()))
    return f"{name}={value}".encode("utf-8", "replace")
