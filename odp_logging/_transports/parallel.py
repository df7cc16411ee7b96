"""Several requests at a time for one large batch, each with a part of it.

The flusher takes a batch larger than one request; each lane sends its parts through a
`Retry` of its own. The setting is ``max_parallel_requests``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from .._events.batch import Batch, split_indexes
from .._events.delivery import Cause, Delivery
from .._runtime.lock import Wakeup
from .base import BaseTransport

if TYPE_CHECKING:
    from .._events.event import OdpEvent

_IDLE_WAIT_SECONDS = 10.0

_Part = Sequence[int]
_SentParts = list[tuple[_Part, Delivery]]


class Parallel(BaseTransport):
    """
    A `Transport` that sends a batch larger than one request as several, in parallel.

    Events that share an identifier, directly or through others, go through one lane,
    one request after the other: the events of one customer arrive in their order.
    `send` returns when all lanes are done, so the store sees one batch and one
    delivery.

    The thread of a lane is started when the lane is first used. If none can be started,
    as at interpreter exit, the calling thread sends all parts.

    Args:
        build_transport: Returns a transport for one lane, used by one thread at a time.
        lanes: Largest number of requests at a time.
        batch_size: Largest number of events in one request.
        batch_bytes: Largest size of one request.
    """

    def __init__(
        self,
        build_transport: Callable[[], BaseTransport],
        *,
        lanes: int,
        batch_size: int,
        batch_bytes: int,
    ) -> None:
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        # The calling thread uses the first one.
        self._first, *rest = [build_transport() for _ in range(lanes)]
        self._other_lanes = [_Lane(transport) for transport in rest]

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch*, in parts if it is large; report the outcome of each event."""
        if self._is_single_request(batch):
            return self._first.send(batch, deadline=deadline)
        sent: _SentParts = []
        caller_parts: list[_Part] = []
        started_lanes: list[_Lane] = []
        for number, indexes in enumerate(self._split_into_lanes(batch.events)):
            parts = split_indexes(
                batch.events, indexes, self._batch_size, self._batch_bytes
            )
            lane = self._other_lanes[number - 1] if number else None
            if lane is not None and lane.start(batch, parts, deadline):
                started_lanes.append(lane)
            else:
                caller_parts += parts
        try:
            sent += send_parts(self._first, batch, caller_parts, deadline)
        finally:
            for lane in started_lanes:
                sent += lane.wait()
        return merge_deliveries(len(batch.events), sent)

    def _is_single_request(self, batch: Batch) -> bool:
        count = len(batch.events)
        if count == 1:
            return True  # whatever its size
        return count <= self._batch_size and batch.size <= self._batch_bytes

    def _split_into_lanes(self, events: Sequence[OdpEvent]) -> list[list[int]]:
        """Return the indexes for each lane, in their order."""
        lanes: list[list[int]] = [[] for _ in range(len(self._other_lanes) + 1)]
        # Longest group first, to the shortest share: none is left for the end.
        for group in sorted(group_by_customer(events), key=len, reverse=True):
            min(lanes, key=len).extend(group)
        return [sorted(lane_indexes) for lane_indexes in lanes if lane_indexes]

    def prepare(self) -> None:
        """Prepare the first lane's transport for its first `send`."""
        self._first.prepare()

    def close(self) -> None:
        """Close connections, and stop the threads of the lanes."""
        self._first.close()
        for lane in self._other_lanes:
            lane.close()

    def after_fork(self) -> None:
        """Discard, in a forked child, the connections and threads of the parent."""
        self._first.after_fork()
        for lane in self._other_lanes:
            lane.after_fork()


class _Lane:
    """A thread with a transport of its own that sends the parts it is given."""

    def __init__(self, transport: BaseTransport) -> None:
        self._transport = transport
        self._reset()

    def _reset(self) -> None:
        self._wakeup = Wakeup()
        self._done = Wakeup()
        self._thread: threading.Thread | None = None
        self._work: tuple[Batch, Sequence[_Part], float | None] | None = None
        self._sent: _SentParts | None = None
        self._is_active = False

    def start(
        self, batch: Batch, parts: Sequence[_Part], deadline: float | None
    ) -> bool:
        """Start to send *parts* of *batch*; return False if the lane cannot."""
        if self._is_active:  # Ctrl-C ended the wait for its previous parts
            return False
        self._sent, self._is_active = None, True
        self._work = batch, parts, deadline
        if self._thread is None and not self._start_thread():
            self._work, self._is_active = None, False
            return False
        self._wakeup.wake()
        return True

    def _start_thread(self) -> bool:
        # A new one, so that a thread which is about to end does not consume the signal
        # that is meant for its successor.
        self._wakeup = Wakeup()
        self._thread = thread = threading.Thread(
            target=self._run,
            args=[self._wakeup],
            name="odp-logging-lane",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            self._thread = None
        return self._thread is not None

    def wait(self) -> _SentParts:
        """Wait until the parts are sent; return them with their deliveries."""
        # After a fork by a signal handler meanwhile, the child has nothing to wait for:
        # `after_fork` has reset the flag.
        while self._is_active:
            self._done.wait(_IDLE_WAIT_SECONDS)
        return self._sent or []

    def _run(self, wakeup: Wakeup) -> None:
        current_thread = threading.current_thread()
        try:
            while self._thread is current_thread:
                work, self._work = self._work, None
                if work is None:
                    wakeup.wait(_IDLE_WAIT_SECONDS)
                else:
                    self._finish(send_parts(self._transport, *work))
        finally:
            if self._thread is current_thread:  # it failed; `wait` must still return
                self._thread = None
                self._finish([])

    def _finish(self, sent: _SentParts) -> None:
        self._sent, self._is_active = sent, False
        self._done.wake()

    def close(self) -> None:
        """Close the connection and stop the thread; a later `start` starts another."""
        if not self._is_active:
            self._transport.close()
        self._thread = None
        self._wakeup.wake()

    def after_fork(self) -> None:
        """Discard, in a forked child, the thread and connection of the parent."""
        self._transport.after_fork()
        self._reset()


def send_parts(
    transport: BaseTransport,
    batch: Batch,
    parts: Sequence[_Part],
    deadline: float | None,
) -> _SentParts:
    """Send *parts* of *batch* in order, up to the first that leaves events pending."""
    sent: _SentParts = []
    for part in parts:
        try:
            delivery = transport.send(batch.only(part), deadline=deadline)
        except Exception as error:  # the thread must survive any error of a library
            delivery = Delivery.all_pending(
                len(part),
                Cause.TRANSIENT,
                f"sending failed with {type(error).__name__}",
                in_doubt=True,
            )
        sent.append((part, delivery))
        if delivery.pending:
            break
    return sent


def merge_deliveries(size: int, sent: _SentParts) -> Delivery:
    """Return the delivery of a batch of *size*; events not sent are pending."""
    rejected: dict[int, str] = {}
    pending = set(range(size))
    in_doubt: set[int] = set()
    for part, delivery in sent:
        rejected.update(
            {part[index]: reason for index, reason in delivery.rejected.items()}
        )
        in_doubt.update(part[index] for index in delivery.in_doubt)
        remaining = {part[index] for index in delivery.pending}
        pending -= set(part) - remaining
    results = [delivery for _, delivery in sent]
    stops = [delivery for delivery in results if delivery.pending]
    # A wrong configuration lasts longest, so it decides about the next attempt.
    stop = max(
        stops, key=lambda delivery: delivery.is_misconfigured, default=Delivery(0)
    )
    return Delivery(
        size,
        rejected=rejected,
        pending=tuple(sorted(pending)),
        in_doubt=frozenset(in_doubt),
        cause=stop.cause,
        message=stop.message,
        backoff=max([delivery.backoff for delivery in results], default=0.0),
        retry_after=max([delivery.retry_after for delivery in results], default=0.0),
        requests=sum([delivery.requests for delivery in results]),
        durations=tuple(
            chain.from_iterable(delivery.durations for delivery in results)
        ),
        resent=sum([delivery.resent for delivery in results]),
        rate_limited=any([delivery.rate_limited for delivery in results]),
        server_error=stop.server_error,
        advice=stop.advice,
    )


def group_by_customer(events: Sequence[OdpEvent]) -> list[list[int]]:
    """Return the indexes of *events* in groups that share no identifier."""
    # A disjoint-set forest: each index points towards the root of its group.
    parents = list(range(len(events)))
    first_indexes: dict[tuple[str, str], int] = {}

    def find_root(index: int) -> int:
        while parents[index] != index:
            # Path halving: the trees stay flat, without recursion.
            parents[index] = index = parents[parents[index]]
        return index

    for index, event in enumerate(events):
        for identifier in event.identifiers.items():
            first = first_indexes.setdefault(identifier, index)
            if first != index:
                parents[find_root(index)] = find_root(first)
    groups: dict[int, list[int]] = {}
    for index in range(len(events)):
        groups.setdefault(find_root(index), []).append(index)
    return list(groups.values())
