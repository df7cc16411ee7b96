"""Parallel: how a large batch is split over lanes, and how deliveries are merged."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import pytest

from odp_logging import OdpClient, OdpEvent
from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._transports.parallel import Parallel, group_by_customer
from odp_logging.emulator import Emulator

from ..conftest import KEY


def build_event(number: int, **identifiers: str) -> OdpEvent:
    """Return an event with a number in its data."""
    return OdpEvent("viewed", identifiers, data={"n": number}, timestamp=1.0)


def read_numbers(events: Sequence[OdpEvent]) -> list[int]:
    """Return the numbers of *events* in their order."""
    return [event.data["n"] for event in events]


class RecordingTransport:
    """A transport that records the events it sent and returns *answer* of a batch."""

    def __init__(self, answer: Callable[[Batch], Delivery]) -> None:
        self.sent: list[list[int]] = []
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self._answer = answer

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        self.sent.append(read_numbers(batch.events))
        self.threads.add(threading.get_ident())
        return self._answer(batch)

    def prepare(self) -> None: ...

    def close(self) -> None:
        self.closed.set()

    def after_fork(self) -> None:
        self.sent.clear()


def accept(batch: Batch) -> Delivery:
    """Answer like a server that accepts everything."""
    return Delivery(len(batch.events))


@pytest.fixture
def lanes() -> Iterator[list[RecordingTransport]]:
    """The transports of the lanes of the last `build_parallel`."""
    yield []


def build_parallel(
    lanes: list[RecordingTransport], answer: Callable[[Batch], Delivery] = accept
) -> Parallel:
    """Return a transport with four lanes and at most ten events per request."""

    def make() -> RecordingTransport:
        lanes.append(RecordingTransport(answer))
        return lanes[-1]

    return Parallel(make, lanes=4, batch_size=10, batch_bytes=100_000)


def build_batch(count: int) -> Batch:
    """Return a batch of *count* events of as many customers."""
    return Batch([build_event(n, fs_user_id=f"u{n}") for n in range(count)])


def test_a_batch_that_fits_into_one_request_is_sent_by_the_caller(
    lanes: list[RecordingTransport],
) -> None:
    """A small batch goes through the first lane, on the calling thread."""
    transport = build_parallel(lanes)

    assert transport.send(build_batch(10)) == Delivery(10)
    assert [lane.sent for lane in lanes] == [[list(range(10))], [], [], []]
    assert lanes[0].threads == {threading.get_ident()}
    transport.close()


def test_four_requests_run_at_a_time(lanes: list[RecordingTransport]) -> None:
    """Each request waits for all four, so sequential requests would never end."""
    barrier = threading.Barrier(4)

    def wait_for_all(batch: Batch) -> Delivery:
        barrier.wait(20)
        return accept(batch)

    transport = build_parallel(lanes, wait_for_all)
    delivery = transport.send(build_batch(40))

    assert delivery == Delivery(40, requests=4)
    assert [len(lane.sent) for lane in lanes] == [1, 1, 1, 1]
    assert sorted(chain.from_iterable(lane.sent[0] for lane in lanes)) == list(
        range(40)
    )
    transport.close()


def test_the_events_of_a_customer_stay_in_one_lane(
    lanes: list[RecordingTransport],
) -> None:
    """Events that share any identifier, even through others, stay in order."""
    events = [
        build_event(n, **{["fs_user_id", "email"][n % 2]: f"{n // 2 % 4}"})
        for n in range(36)
    ]
    # The last event links all events of the customers 0 and 1.
    events.append(build_event(36, fs_user_id="0", email="1"))
    transport = build_parallel(lanes)
    delivery = transport.send(Batch(events))
    transport.close()

    assert not delivery.pending
    groups = [set(group) for group in group_by_customer(events)]
    assert len(groups) == 7
    for lane in lanes:
        flat = [*chain.from_iterable(lane.sent)]
        assert flat == sorted(flat)
        assert all(len(request) <= 10 for request in lane.sent)
    for group in groups:
        shares = [group & {*chain.from_iterable(lane.sent)} for lane in lanes]
        assert sum(map(bool, shares)) == 1


def test_events_that_one_lane_cannot_send_are_pending(
    lanes: list[RecordingTransport],
) -> None:
    """A lane stops at its first fault; the other lanes deliver their events."""

    def answer(batch: Batch) -> Delivery:
        size = len(batch.events)
        if batch.events[0].identifiers != {"fs_user_id": "busy"}:
            return Delivery(size)
        return Delivery.all_pending(size, Cause.TRANSIENT, "no", retry_after=3.0)

    events = [
        build_event(n, fs_user_id="busy" if n < 25 else f"u{n}") for n in range(45)
    ]
    transport = build_parallel(lanes, answer)
    delivery = transport.send(Batch(events))
    transport.close()

    assert delivery.pending == tuple(range(25))
    assert (delivery.cause, delivery.message) == (Cause.TRANSIENT, "no")
    assert delivery.retry_after == 3.0
    assert read_numbers(events[:10]) in [
        *chain.from_iterable(lane.sent for lane in lanes)
    ]


def test_merged_positions_refer_to_the_whole_batch(
    lanes: list[RecordingTransport],
) -> None:
    """Events rejected or in doubt have their batch position in the delivery."""

    def answer(batch: Batch) -> Delivery:
        found = read_numbers(batch.events)
        rejected = {index: "bad" for index, n in enumerate(found) if n == 7}
        pending = tuple(index for index, n in enumerate(found) if n == 33)
        cause = Cause.TRANSIENT if pending else None
        return Delivery(
            len(found),
            rejected=rejected,
            pending=pending,
            in_doubt=frozenset(pending),
            cause=cause,
        )

    transport = build_parallel(lanes, answer)
    delivery = transport.send(build_batch(40))
    transport.close()

    assert delivery.rejected == {7: "bad"}
    assert (delivery.pending, delivery.in_doubt) == ((33,), {33})


def test_a_lane_that_raises_leaves_its_events_in_doubt(
    lanes: list[RecordingTransport],
) -> None:
    """An error of a library neither ends a thread nor loses an event."""

    def answer(batch: Batch) -> Delivery:
        if 39 in read_numbers(batch.events):
            raise LookupError
        return accept(batch)

    transport = build_parallel(lanes, answer)
    delivery = transport.send(build_batch(40))

    assert 39 in delivery.pending and 39 in delivery.in_doubt
    assert len(delivery.pending) == 10
    assert transport.send(build_batch(40)).requests == 4
    transport.close()


def test_closed_lanes_stop_and_can_be_used_again(
    lanes: list[RecordingTransport],
) -> None:
    """Close stops the threads; a later send starts new ones."""
    transport = build_parallel(lanes)
    for _ in range(2):
        assert not transport.send(build_batch(40)).pending
        threads = [lane._thread for lane in transport._other_lanes]
        assert [thread.name for thread in threads if thread] == ["odp-logging-lane"] * 3
        transport.close()
        for thread in threads:
            assert thread is not None
            thread.join(20)
            assert not thread.is_alive()
        assert all(lane.closed.is_set() for lane in lanes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_lanes(lanes: list[RecordingTransport]) -> None:
    """A forked child starts new threads in place of the parent's."""
    transport = build_parallel(lanes)
    transport.send(build_batch(40))
    pid = os.fork()
    if pid == 0:
        transport.after_fork()
        os._exit(
            0 if transport.send(build_batch(40)) == Delivery(40, requests=4) else 1
        )

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not transport.send(build_batch(40)).pending
    transport.close()


def test_events_of_a_customer_stay_in_order_despite_faults() -> None:
    """Events of 50 customers arrive once and in order despite faults."""
    customers, events_per_customer = 50, 100
    with Emulator(seed=5) as odp:
        odp.fault(status=503, rate=0.1)
        odp.fault(status=429, rate=0.05, retry_after=0.01)
        odp.fault(latency=0.01)
        client = OdpClient(
            KEY,
            api_host=odp.url,
            max_batch_size=50,
            max_retry_delay=0.05,
            handle_sigterm=False,
        )
        for number in range(events_per_customer):
            for customer in range(customers):
                client.send_odp_event(
                    "viewed", {"fs_user_id": f"u{customer}"}, data={"n": number}
                )
        assert client.close(60)
        arrived: dict[str, list[int]] = {}
        for entry in odp.events(limit=None):
            found = arrived.setdefault(entry["event"]["identifiers"]["fs_user_id"], [])
            found.append(entry["event"]["data"]["n"])

    assert client.stats.delivered == customers * events_per_customer
    assert len(arrived) == customers
    assert all(found == list(range(events_per_customer)) for found in arrived.values())
