"""Buffer: bounds, overflow, exact counts, many threads, interruptions."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging.stores import _buffer
from odp_logging.stores._buffer import Buffer

from .contract import LocalContract, balanced, event, numbers


def make(**changes: Any) -> Buffer:
    """Return a buffer of ten to the batch, with what a test changes."""
    settings: dict[str, Any] = {
        "build": lambda logged, event_id=None: logged,
        "batch_size": 10,
        "batch_bytes": 1_000_000,
        "max_size": 1000,
        "max_bytes": 1_000_000,
    }
    return Buffer(**{**settings, **changes})


class TestContract(LocalContract):
    def make(self) -> Buffer:
        """Return a buffer in memory."""
        return make()

    def test_giving_up_tells_the_doubtful_from_the_unsent(self):
        """Events sent without an answer are in doubt; the others are not."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        doubtful = Delivery.nothing_yet(10, Cause.PASSING, "", in_doubt=True)
        store.settle(batch, doubtful)

        assert store.give_up("exit") == 12
        assert store.counts().dropped == {"in_doubt": 10, "exit": 2}
        assert store.entered() == store.passed()
        assert balanced(store)

    def test_giving_up_in_mid_flight_is_counted_once(self):
        """A delivery that comes after giving up changes no count."""
        store = self.make()
        store.put(event(1))
        batch = store.take()
        store.give_up("exit")
        store.settle(batch, Delivery(1))

        assert store.counts().dropped == {"in_doubt": 1}
        assert store.counts().delivered == 0
        assert balanced(store)


def test_a_batch_is_due_when_it_is_full():
    """put says so with the event that fills a batch, and not before."""
    store = make()

    assert [store.put(event(number)) for number in range(10)] == [False] * 9 + [True]


def test_a_batch_is_due_when_its_bytes_are_full():
    """put says so when the events' bytes fill a request."""
    store = make(batch_bytes=9_000)

    due = [store.put(event(n, text="x" * 1000, b="y" * 1000)) for n in (1, 2)]
    due += [
        store.put(event(n, **{f"t{i}": "x" * 1000 for i in range(5)})) for n in (3,)
    ]

    assert due[-1] is True


def test_a_batch_holds_what_fits_into_a_request():
    """take stops before the bytes of a request are passed, and says so."""
    store = make(batch_bytes=1000)
    for number in range(5):
        store.put(event(number, text="x" * 200))

    first = store.take()
    store.settle(first, Delivery(len(first.events)))
    second = store.take()

    assert (first.cut and not second.cut) or len(second.events) < 5
    assert first.size <= 1000
    assert numbers([*first.events, *second.events])[:2] == [0, 1]


def test_an_event_larger_than_a_request_goes_alone():
    """An event that alone passes the bound is still sent, by itself."""
    store = make(batch_bytes=300)
    for number in range(3):
        store.put(event(number, text="x" * 500))

    assert numbers(store.take().events) == [0]


def test_the_oldest_go_when_the_buffer_is_full():
    """drop_oldest keeps the newest events, and counts exactly."""
    store = make(max_size=100)
    for number in range(250):
        store.put(event(number))

    assert store.counts().pending == 100
    assert store.counts().dropped == {"overflow": 150}
    assert numbers(store.take().events) == list(range(150, 160))
    assert balanced(store)


def test_the_newest_go_when_the_buffer_is_full():
    """drop_newest keeps the oldest events, and counts exactly."""
    store = make(max_size=100, overflow="drop_newest")
    for number in range(250):
        store.put(event(number))

    assert store.counts().pending == 100
    assert store.counts().dropped == {"overflow": 150}
    assert numbers(store.take().events) == list(range(10))
    assert balanced(store)


def test_what_is_on_its_way_counts_and_is_not_dropped():
    """A batch that was taken fills the buffer too, but only waiting events go."""
    store = make(max_size=15)
    for number in range(15):
        store.put(event(number))
    batch = store.take()
    for number in range(15, 20):
        store.put(event(number))

    assert numbers(batch.events) == list(range(10))
    assert store.counts().pending == 15
    assert store.counts().dropped == {"overflow": 5}
    store.settle(batch, Delivery(10))
    assert numbers(store.take().events) == [15, 16, 17, 18, 19]


def test_a_buffer_full_of_what_is_on_its_way_takes_no_more():
    """Where nothing waits that could go, the new event goes."""
    store = make(max_size=10)
    for number in range(10):
        store.put(event(number))
    store.take()
    store.put(event(10))

    assert store.counts().dropped == {"overflow": 1}
    assert balanced(store)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_bytes_are_bounded_as_well(overflow):
    """The bytes of what waits pass the bound by one small event at most."""
    store = make(max_bytes=100_000, overflow=overflow)
    for number in range(1000):
        store.put(event(number, text="x" * 1000))
        assert store.counts().pending * 1200 <= 100_000 + 4096

    assert store.counts().pending > 70
    assert balanced(store)


def test_an_event_larger_than_the_buffer_goes_and_no_other():
    """A giant does not push out everything else."""
    store = make(max_bytes=3000)
    store.put(event(1))
    store.put(event(2, **{f"t{i}": "x" * 1000 for i in range(9)}))

    assert store.counts().dropped == {"too_large": 1}
    assert numbers(store.take().events) == [1]


def test_blocking_waits_for_room():
    """With overflow="block" a put waits until something was settled."""
    store = make(max_size=10, overflow="block", block_timeout=30.0)
    for number in range(10):
        store.put(event(number))
    batch = store.take()
    settler = threading.Timer(0.05, store.settle, (batch, Delivery(10)))
    settler.start()
    store.put(event(10))
    settler.join()

    assert store.counts().dropped == {}
    assert numbers(store.take().events) == [10]


def test_blocking_ends_with_its_timeout():
    """With overflow="block" a put gives up after block_timeout, and counts."""
    store = make(max_size=1, overflow="block", block_timeout=0.05)
    store.put(event(1))
    started = time.monotonic()
    store.put(event(2))

    assert 0.05 <= time.monotonic() - started < 5
    assert store.counts().dropped == {"overflow": 1}
    assert balanced(store)


def test_dropped_events_are_shown_to_those_who_ask():
    """With keep_dropped the events themselves can be asked for, once, by reason."""
    store = make(max_size=2, keep_dropped=True)
    for number in range(4):
        store.put(event(number))
    store.give_up("exit")

    shown = {each.reason: numbers(each.events) for each in store.dropped()}
    assert shown == {"overflow": [0, 1], "exit": [2, 3]}
    assert store.dropped() == []


def test_what_cannot_be_built_is_rejected_alone():
    """A logged event that makes no OdpEvent is rejected; its company is not harmed."""

    def build(logged: OdpEvent, event_id: object = None) -> OdpEvent:
        if logged.data["n"] == 1:
            raise InvalidEventError("no identifiers", reason="no_identifiers")
        if logged.data["n"] == 2:
            raise ZeroDivisionError
        return logged

    store = make(build=build)
    for number in range(4):
        store.put(event(number))
    batch = store.take()

    assert numbers(batch.events) == [0, 3]
    assert [each.reason for each in batch.invalid] == [
        "no_identifiers",
        "not_buildable",
    ]
    assert store.counts().rejected == {"no_identifiers": 1, "not_buildable": 1}
    assert balanced(store)


def test_what_is_left_out_on_purpose_is_counted_as_dropped():
    """An event for which build returns None is dropped for that reason."""
    store = make(build=lambda logged, event_id: logged if logged.data["n"] else None)
    for number in range(2):
        store.put(event(number))

    assert numbers(store.take().events) == [1]
    assert store.counts().dropped == {"before_send": 1}
    assert balanced(store)


def test_adjusted_values_are_summed_up():
    """What had to be changed in events is counted over all of them."""
    store = make()
    store.put(event(1, text="x" * 2000))
    store.put(event(2, ratio=float("nan"), text="x" * 2000))
    store.take()

    assert store.counts().adjusted == {"cut": 2, "not_finite": 1}


def test_a_put_in_the_middle_of_the_books_does_not_wait():
    """Whoever interrupts the books on their own thread appends and goes on."""
    store = make(max_size=5)
    interrupted = []

    class Interrupting:
        """Logs when its size is asked for, as a finaliser might."""

        @property
        def size(self) -> int:
            if not interrupted and store.is_mine():
                interrupted.append(store.put(event(99)))
                assert store.entered() >= 0
                assert store.counts().accepted >= 0
                store.refuse("ignored")
            return 1

    for number in range(5):
        store.put(event(number))
    store.put(Interrupting())

    assert interrupted == [False]
    assert store.counts().accepted == 8
    assert store.counts().rejected == {"ignored": 1}
    assert balanced(store)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_counts_are_exact_under_many_threads(overflow):
    """Eight threads put, one takes, one reads: every event is accounted for always."""
    store = make(max_size=500, overflow=overflow)
    seen: list[int] = []
    unbalanced: list[object] = []
    running = threading.Event()
    running.set()

    def fill(first: int) -> None:
        for number in range(first, first + 2000):
            store.put(event(number))

    def empty() -> None:
        while running.is_set() or store.counts().pending:
            batch = store.take()
            seen.extend(numbers(batch.events))
            store.settle(batch, Delivery(len(batch.events)))

    def watch() -> None:
        while running.is_set():
            if not balanced(store):
                unbalanced.append(store.counts())

    helpers = [threading.Thread(target=empty), threading.Thread(target=watch)]
    fillers = [threading.Thread(target=fill, args=(n * 2000,)) for n in range(8)]
    for thread in (*helpers, *fillers):
        thread.start()
    for thread in fillers:
        thread.join()
    running.clear()
    for thread in helpers:
        thread.join()

    counts = store.counts()
    assert not unbalanced
    assert counts.accepted == 16_000
    assert counts.delivered == len(seen) == len(set(seen))
    assert counts.delivered + counts.dropped.get("overflow", 0) == 16_000


def test_what_is_kept_for_showing_is_bounded_too():
    """Dropped events that nobody asks for take no more room than the buffer."""
    store = make(max_bytes=100_000, keep_dropped=True)
    for number in range(2000):
        store.put(event(number, text="x" * 1000))

    shown = [each for group in store.dropped() for each in group.events]
    assert sum(each.size for each in shown) <= 100_000
    assert store.counts().accepted == 2000


def test_blocking_loses_no_event_while_there_is_time():
    """Many threads that wait for little room all get it, one after the other."""
    store = make(max_size=4, overflow="block", block_timeout=60.0)
    threads = [threading.Thread(target=store.put, args=(event(n),)) for n in range(40)]
    for thread in threads:
        thread.start()
    while store.counts().delivered < 40:
        batch = store.take()
        store.settle(batch, Delivery(len(batch.events)))
    for thread in threads:
        thread.join()

    assert store.counts().dropped == {}


def test_an_interrupted_take_loses_nothing():
    """What a take had in hand when a signal handler raised is taken again."""
    interrupt = [True]

    def build(logged: OdpEvent, event_id: object = None) -> OdpEvent:
        if logged.data["n"] == 3 and interrupt.pop():
            interrupt.append(False)
            raise KeyboardInterrupt
        return logged

    store = make(build=build)
    for number in range(5):
        store.put(event(number))
    with pytest.raises(KeyboardInterrupt):
        store.take()
    assert balanced(store)

    interrupt[:] = [False]
    assert numbers(store.take().events) == [0, 1, 2, 3, 4]
    assert balanced(store)


def test_the_books_are_mended_after_an_interruption():
    """Where an exception cut off who kept the books, they are right again at once."""
    store = make(max_size=5)
    raising = [True]

    class Interrupted:
        """Raises when its size is asked for within the books, once."""

        data = {"n": 9}

        @property
        def size(self) -> int:
            if raising and store.is_mine():
                raising.clear()
                raise KeyboardInterrupt
            return 100

    for number in range(5):
        store.put(event(number))
    with pytest.raises(KeyboardInterrupt):
        store.put(Interrupted())

    assert balanced(store)
    store.put(event(6))
    assert balanced(store)
    assert store.counts().accepted == 7
    assert store.give_up("exit") == 5
    assert store.counts().queue_bytes == 0


def test_whoever_interrupts_the_books_reads_them_balanced():
    """Counts read between any two steps of the books balance, and leave them alone.

    The trace function stands for a signal handler or a finaliser on the same thread.
    Mended in the middle, what came in was once counted twice for ever.
    """

    def build(logged: OdpEvent, event_id: object = None) -> OdpEvent | None:
        if logged.data["n"] == 2:
            raise InvalidEventError("no", reason="no")
        return None if logged.data["n"] == 3 else logged

    store = make(build=build, max_size=8, max_bytes=4000, keep_dropped=True)
    wrong: list[str] = []
    looks = 0

    def look(frame: Any, what: str, _: object) -> Any:
        nonlocal looks
        if frame.f_code.co_filename != _buffer.__file__ or not store.is_mine():
            return look
        frame.f_trace_opcodes = True
        sys.settrace(None)
        looks += 1
        if not balanced(store):
            wrong.append(f"{frame.f_code.co_name}, line {frame.f_lineno}")
        sys.settrace(look)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        for number in range(12):
            store.put(event(number, text="x" * (9000 if number == 1 else 10)))
        store.refuse("no")
        batch = store.take()
        size = len(batch.events)
        store.settle(batch, Delivery(size, rejected={0: "no"}, pending=(1,)))
        store.give_up("exit")
    finally:
        sys.settrace(before)

    assert looks > 1000
    assert wrong == []
    assert store.counts().accepted == 13
    assert balanced(store)


def test_mending_that_is_cut_off_as_well_is_done_again():
    """A second exception, anywhere in `_mend`, leaves nothing wrong for good."""
    for step in range(1, 40):
        store = make()
        store.put(event(0))
        store.counts()
        store._ready.extend(store.intake.incoming)
        store.intake.incoming.clear()
        store._unfinished = True  # cut off before the books were written
        left = [step]

        def cut(frame, what, argument, left=left):
            inside = frame.f_code.co_name in ("_mend", "gone", "_size_last")
            if inside and what in ("line", "call"):
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return cut

        before = sys.gettrace()
        sys.settrace(cut)
        try:
            store.counts()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert balanced(store), step
        assert store.counts().accepted == 1, step


def test_what_may_fill_a_batch_by_its_bytes_is_looked_at():
    """A batch is full by its bytes as well, where log calls leave what has no size."""
    store = make(sized=lambda bare: event(0, text="x" * 3000), batch_bytes=50_000)
    store._due_size = 500
    store.take()
    due = []
    for _ in range(40):
        store.intake.incoming.append(("bare",))
        if len(store.intake.incoming) >= store.intake.look_at:
            due.append(store.look())
    assert any(due)
