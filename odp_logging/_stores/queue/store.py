"""`QueueStore`: a store that several processes share, over the engine of its queue.

The engine publishes, leases and acknowledges messages. What is the same for all engines
is here: batches, settling, dead letters of unreadable messages, counts, forks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..._events.batch import Batch
from ..._events.event import OdpEvent
from ..._runtime.lock import Wakeup, monotonic, with_lock
from ..._runtime.text import format_count
from ..base import BaseStore
from .base import MAX_DELIVERIES
from .leases import (
    Acknowledgements,
    LeasedEvents,
    Settled,
    is_suspect,
    parse_or_reject,
)
from .messages import (
    Depth,
    LeasedMessage,
    PublishFailure,
    QueueError,
    QueueMessage,
    build_key,
)
from .pause import MAX_PAUSE_SECONDS, SharedPause

if TYPE_CHECKING:
    from ..._events.delivery import Delivery
    from ..counts import Counts
    from ..inbox import EventHolder
    from .base import QueueEngine

_DEPTH_INTERVAL_SECONDS = 1.0
_MAX_WAIT_SECONDS = 1.0
_MIN_REGISTRATION_SECONDS = 5.0


class QueueStore(BaseStore):
    """
    A `Store` outside of this process, reached through *engine*.

    Relays call `take` and `settle`, and clients call `hand_over`; each is called by one
    thread at a time. A flush does not wait for the events in the queue:
    `get_last_sequence` and `get_settled_sequence` count what this process took. A
    forked child holds no event.

    Args:
        engine: Reaches the queue. Messages for another account than that of its URL
            become dead letters.
        batch_size, batch_bytes: Events and bytes of one request.
        max_deliveries: Number of workers that may take an event, one after the other.
        wait: Seconds that `take` waits for events.
        max_pause: Longest time in seconds for which other relays can stop this one.
        random_fraction: Returns random numbers in 0..1, for the end of a pause.
        warn: Called with kind and message when something is wrong with the queue.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        engine: QueueEngine,
        *,
        batch_size: int = 100,
        batch_bytes: int = 1_000_000,
        max_deliveries: int = MAX_DELIVERIES,
        wait: float = 0.0,
        max_pause: float = MAX_PAUSE_SECONDS,
        random_fraction: Callable[[], float] = lambda: 0.0,
        warn: Callable[[str, str], object] = lambda kind, message: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.engine = engine
        engine.max_deliveries = max_deliveries
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._max_deliveries = max_deliveries
        self._wait_seconds = wait
        self._warn = warn
        self._clock = clock
        self._pause = SharedPause(
            engine,
            max_seconds=max_pause,
            random_fraction=random_fraction,
            warn=warn,
            clock=clock,
        )
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self._wakeup = Wakeup()
        self._wait_interrupted = False
        self._leases = LeasedEvents(
            batch_size=self._batch_size,
            batch_bytes=self._batch_bytes,
            counters=self._counters,
        )
        self._acknowledgements = Acknowledgements()
        self._waiting = 0
        self._next_depth_at = 0.0
        self._has_reported_problems = False
        self.is_unavailable = False
        """Whether the last request to the queue failed."""
        self.last_depth = Depth()
        """What the queue held at the last measurement, at most a few seconds ago."""
        self.redelivered = 0
        """Number of events that another worker took before and did not settle."""

    # Clients fill the queue.

    def hand_over(
        self, events: Sequence[OdpEvent], deadline: float | None = None
    ) -> Mapping[int, PublishFailure]:
        """
        Put *events* into the queue; return why some were not stored, by index.

        Args:
            deadline: Time of `monotonic` until which to wait for the response.

        Raises:
            QueueError: It is unknown whether the events are in the queue.
        """
        alias = self.engine.url.alias
        messages = [
            QueueMessage(build_key(event), event.json, alias) for event in events
        ]
        failures = self.engine.publish(messages, deadline)
        self._report_problems(deadline)
        self._add_waiting(len(events) - len(failures))
        return failures

    def _report_problems(self, deadline: float | None = None) -> None:
        """Report once what in the setup of the queue endangers events."""
        if self._has_reported_problems:
            return
        self._has_reported_problems = True
        try:
            problems = self.engine.find_problems(deadline)
        except QueueError:  # the next request reports that the queue is down
            # Where only *deadline* was too short, a later call finds them.
            self._has_reported_problems = deadline is None
            return
        for problem in problems:
            self._warn("queue_setup", problem)

    @with_lock
    def _add_waiting(self, more: int) -> None:
        self._waiting += more

    def put(self, logged: Any, holder: EventHolder | None = None) -> bool:
        """Hand over one event; count it as dropped if the queue refuses it."""
        try:
            is_failed = bool(self.hand_over([logged]))
        except QueueError as error:
            self._warn("queue", str(error))
            is_failed = True
        if is_failed:
            self._lock.hold(lambda: self._counters.drop("queue"))
        return self._waiting >= self._batch_size

    # Relays empty the queue.

    def take(self, requests: int = 1) -> Batch:
        """Lease and return at most one batch; it is held until it is settled."""
        # A batch that was not settled, as after an error of the sender, is sent again.
        self._leases.forget_batch()
        try:
            self._renew_leases()
            pause = self._pause.read()
            if pause <= 0:
                self._lease()
        except QueueError as error:
            pause = _MAX_WAIT_SECONDS
            self.is_unavailable = True
            self._warn("queue", f"{error}. The relay tries again every second")
        else:
            self.is_unavailable = False
            self._update_depth_if_due()
            self._register_worker()
            self._report_problems()
        # Those that failed before. Without them the events are delivered again.
        self._acknowledgements.send(self.engine, self._warn)
        if pause > 0:
            self._wait(pause)
            return Batch(())
        return self._build_batch()

    def _wait(self, seconds: float) -> None:
        # In short waits, because another relay may end or prolong the pause.
        if not self._wait_interrupted:
            self._wakeup.wait(
                min(seconds, max(self._wait_seconds, 0.001), _MAX_WAIT_SECONDS)
            )

    def interrupt_wait(self) -> None:
        """End a wait within `take`. Thread-safe."""
        self._wait_interrupted = True
        self._wakeup.wake()

    def _lease(self) -> None:
        capacity, capacity_bytes = self._leases.capacity, self._leases.capacity_bytes
        if capacity <= 0 or capacity_bytes <= 0:
            return
        leased = self._lease_messages(capacity, capacity_bytes)
        self.redelivered += sum([message.deliveries > 1 for message in leased])
        parsed = [(message, self._parse_or_reject(message)) for message in leased]
        events = [(m, event) for m, event in parsed if not isinstance(event, str)]
        dead = [(m, reason) for m, reason in parsed if isinstance(reason, str)]
        # One suspect at a time. Leased together, harmless events would become dead
        # letters with the one that kills.
        suspects = [message for message, _ in events if is_suspect(message)][1:]
        self._add_leased([pair for pair in events if pair[0] not in suspects], dead)
        if dead:
            self._warn_of_dead_letters(dead)
        if suspects:
            self.engine.release(suspects)

    def _lease_messages(self, limit: int, max_bytes: int) -> list[LeasedMessage]:
        # Pending events must not wait for new ones, which may never come.
        wait = 0.0 if len(self._leases) else self._wait_seconds
        # The queue returns a message again if its acknowledgement failed and its lease
        # ended. It was delivered and must not be sent again.
        settled = self._acknowledgements.ids
        return [
            message
            for message in self.engine.lease(limit, wait, max_bytes)
            if message.id not in settled
        ]

    def _parse_or_reject(self, leased: LeasedMessage) -> OdpEvent | str:
        return parse_or_reject(
            leased,
            alias=self.engine.url.alias,
            max_deliveries=self._max_deliveries,
        )

    @with_lock
    def _add_leased(
        self,
        events: Sequence[tuple[LeasedMessage, OdpEvent]],
        dead: Sequence[tuple[LeasedMessage, str]],
    ) -> None:
        for message, event in events:
            self._leases.add(message, event)
        for _, reason in dead:
            # The first word: as a label of a metric it must not hold varying text.
            self._counters.reject(reason.partition(":")[0])
        self._acknowledgements.add(Settled([], dead))

    def _warn_of_dead_letters(self, dead: Sequence[tuple[LeasedMessage, str]]) -> None:
        self._warn(
            "dead_letters",
            f"{format_count(len(dead), 'event')} of the queue cannot be sent, the first"
            f' for "{dead[0][1]}". They are kept as dead letters, see odp-logging dead'
            " list --from URL",
        )

    @with_lock
    def _build_batch(self) -> Batch:
        return self._leases.build_batch()

    def settle(self, batch: Batch, delivery: Delivery) -> None:
        """Acknowledge accepted and rejected events; keep pending ones leased."""
        if not self._settle(batch, delivery):
            return
        self._acknowledgements.send(self.engine, self._warn)
        # Only if ODP asked for it. A network fault of one relay is not one of all.
        if delivery.rate_limited or delivery.retry_after > 0:
            self._pause.start(max(delivery.retry_after, delivery.backoff))

    @with_lock
    def _settle(self, batch: Batch, delivery: Delivery) -> bool:
        settled = self._leases.settle(batch, delivery)
        if settled is None:
            return False
        self._acknowledgements.add(settled)
        removed = len(settled.done) + len(settled.dead)
        self._waiting = max(len(self._leases), self._waiting - removed)
        return True

    def renew_leases(self) -> None:
        """Renew the leases, so a long retry does not look like a dead worker."""
        try:
            self._renew_leases()
        except QueueError as error:
            self._warn(
                "queue", f"{error}. Other relays may take over the leased events"
            )
        else:
            self._register_worker()

    def _register_worker(self) -> None:
        # Longer than a lease: a request within it may take two thirds of that.
        seconds = max(_MIN_REGISTRATION_SECONDS, 1.5 * self.engine.lease_seconds)
        try:
            self.engine.register_worker(seconds)
        except QueueError as error:  # delivery does not depend on it
            self._warn(
                "workers",
                f"{error}. Delivery goes on, but `relay status` may not count this"
                " worker",
            )

    def _renew_leases(self) -> None:
        self._keep_leased(self.engine.renew(self._leases.messages))

    @with_lock
    def _keep_leased(self, leased: Sequence[LeasedMessage]) -> None:
        self._leases.keep(leased)

    def _update_depth_if_due(self) -> None:
        if self._clock() < self._next_depth_at:
            return
        self._next_depth_at = self._clock() + _DEPTH_INTERVAL_SECONDS
        try:
            depth = self.engine.read_depth()
        except QueueError:  # a shard is down: the last measurement stays
            return
        self.last_depth = depth
        # Replaces what `hand_over` added: other processes add and remove, too.
        self._set_waiting(depth.ready + depth.leased)

    @with_lock
    def _set_waiting(self, count: int) -> None:
        self._waiting = max(count, len(self._leases))

    # The rest of the Store protocol.

    def discard(self, reason: str) -> int:
        """Release what is leased to other workers; return 0, since nothing is lost."""
        leased = self._leases.remove_all()
        self._acknowledgements.send(self.engine, self._warn)
        try:
            self.engine.release(leased)
        except QueueError as error:
            self._warn(
                "queue",
                f"{error}. Other relays take over the leased events when their lease"
                " ends",
            )
        try:
            self.engine.unregister_worker()
        except QueueError:
            pass  # the registration ends by itself; the line above told the cause
        return 0

    def close(self) -> None:
        """Close connections; they are opened again when needed."""
        self.engine.close()

    def after_fork(self) -> None:
        """Start empty in a forked child: the leases belong to the parent."""
        self.engine.after_fork()
        super().after_fork()

    def counts(self) -> Counts:
        """Return the counts of what this process took, and how much is waiting."""
        self._lock.run(self._count_early_outcomes, -1)
        # Events are counted as accepted when they are settled here or wait in the
        # queue. Applications on other machines put most of them there.
        settled = self._counters.count_settled()
        return self._counters.read(
            pending=self._waiting,
            spooled=0,
            uncounted=settled + self._waiting - self._counters.accepted,
            size=0,
        )

    def get_last_sequence(self) -> int:
        """Return the sequence number of the newest event that this process took."""
        return self._leases.last_sequence

    def get_settled_sequence(self) -> int:
        """Return the sequence number up to which all taken events are settled."""
        return self._leases.settled_sequence

    def has_more(self) -> bool:
        """Return True: other processes may have put events; `take` finds out."""
        return True

    def is_durable(self) -> bool:
        """Return True: an event outlives this process once `put` returns."""
        return True
