"""`Buffer`: bounds, overflow, exact counts, many threads, interruptions."""

from __future__ import annotations

import dis
import sys
import threading
import time
from typing import Any

import pytest

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores import buffer, limits, overflow, pending
from odp_logging._stores.blocking import BlockingBuffer
from odp_logging._stores.buffer import Buffer

from .contract import LocalStoreContract, balanced, event, numbers


def make(**changes: Any) -> Buffer:
    """Return a buffer with batches of ten events and with *changes*."""
    make_buffer = BlockingBuffer if "block_timeout" in changes else Buffer
    settings: dict[str, Any] = {
        "build": lambda logged, event_id=None: logged,
        "batch_size": 10,
        "batch_bytes": 1_000_000,
        "max_size": 1000,
        "max_bytes": 1_000_000,
    }
    return make_buffer(**{**settings, **changes})


class TestContract(LocalStoreContract):
    def make(self) -> Buffer:
        """Return a buffer in memory."""
        return make()

    def test_discard_separates_events_in_doubt_from_unsent_events(self):
        """Events sent without an answer are in doubt; the others are not."""
        store = self.make()
        for number in range(12):
            store.put(event(number))
        batch = store.take()
        doubtful = Delivery.all_pending(10, Cause.TRANSIENT, "", in_doubt=True)
        store.settle(batch, doubtful)

        assert store.discard("exit") == 12
        assert store.counts().dropped == {"in_doubt": 10, "exit": 2}
        assert store.get_last_sequence() == store.get_settled_sequence()
        assert balanced(store)

    def test_events_discarded_during_a_request_are_counted_once(self):
        """A delivery that arrives after discard changes no count."""
        store = self.make()
        store.put(event(1))
        batch = store.take()
        store.discard("exit")
        store.settle(batch, Delivery(1))

        assert store.counts().dropped == {"in_doubt": 1}
        assert store.counts().delivered == 0
        assert balanced(store)


def test_a_batch_is_due_when_it_is_full():
    """put returns True for the event that fills a batch, and not before."""
    store = make()

    assert [store.put(event(number)) for number in range(10)] == [False] * 9 + [True]


def test_a_batch_is_due_when_its_bytes_fill_a_request():
    """put returns True for the event with which the bytes fill a request."""
    store = make(batch_bytes=9_000)

    due = [store.put(event(n, text="x" * 1000, b="y" * 1000)) for n in (1, 2)]
    due += [
        store.put(event(n, **{f"t{i}": "x" * 1000 for i in range(5)})) for n in (3,)
    ]

    assert due[-1] is True


def test_a_batch_fits_into_a_request():
    """take stops before the bytes of a request are exceeded, and sets `truncated`."""
    store = make(batch_bytes=1000)
    for number in range(5):
        store.put(event(number, text="x" * 200))

    first = store.take()
    store.settle(first, Delivery(len(first.events)))
    second = store.take()

    assert (first.truncated and not second.truncated) or len(second.events) < 5
    assert first.size <= 1000
    assert numbers([*first.events, *second.events])[:2] == [0, 1]


def test_a_batch_for_several_requests_is_as_many_times_larger():
    """Four requests take 40 events; after a failure one request takes ten of them."""
    store = make(batch_size=10, batch_bytes=100_000)
    for number in range(60):
        store.put(event(number))
    batch = store.take(4)
    assert numbers(batch.events) == list(range(40))
    left = tuple(range(5, 40))
    store.settle(batch, Delivery(40, pending=left, cause=Cause.TRANSIENT))

    again = store.take()
    assert numbers(again.events) == list(range(5, 15))
    store.settle(again, Delivery(10))
    assert numbers(store.take(5).events) == list(range(15, 60))
    assert balanced(store)


def test_an_event_larger_than_a_request_is_sent_alone():
    """An event that alone exceeds the bytes of a request is a batch of its own."""
    store = make(batch_bytes=300)
    for number in range(3):
        store.put(event(number, text="x" * 500))

    assert numbers(store.take().events) == [0]


def test_drop_oldest_keeps_the_newest_events():
    """drop_oldest keeps the newest events, and counts exactly."""
    store = make(max_size=100)
    for number in range(250):
        store.put(event(number))

    assert store.counts().pending == 100
    assert store.counts().dropped == {"overflow": 150}
    assert numbers(store.take().events) == list(range(150, 160))
    assert balanced(store)


def test_drop_newest_keeps_the_oldest_events():
    """drop_newest keeps the oldest events, and counts exactly."""
    store = make(max_size=100, overflow="drop_newest")
    for number in range(250):
        store.put(event(number))

    assert store.counts().pending == 100
    assert store.counts().dropped == {"overflow": 150}
    assert numbers(store.take().events) == list(range(10))
    assert balanced(store)


def test_events_in_a_request_count_toward_the_bound():
    """A taken batch counts toward the bound; only waiting events are dropped."""
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


def test_a_buffer_full_of_events_in_a_request_drops_the_new_event():
    """If no waiting event can be dropped, the new one is dropped."""
    store = make(max_size=10)
    for number in range(10):
        store.put(event(number))
    store.take()
    store.put(event(10))

    assert store.counts().dropped == {"overflow": 1}
    assert balanced(store)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_bytes_are_bounded(overflow):
    """The bytes of waiting events exceed the bound by one small event at most."""
    store = make(max_bytes=100_000, overflow=overflow)
    for number in range(1000):
        store.put(event(number, text="x" * 1000))
        assert store.counts().pending * 1200 <= 100_000 + 4096

    assert store.counts().pending > 70
    assert balanced(store)


def test_only_the_event_larger_than_the_buffer_is_dropped():
    """An oversized event does not displace the others."""
    store = make(max_bytes=3000)
    store.put(event(1))
    store.put(event(2, **{f"t{i}": "x" * 1000 for i in range(9)}))

    assert store.counts().dropped == {"too_large": 1}
    assert numbers(store.take().events) == [1]


def test_a_blocking_put_waits_for_room():
    """With block_timeout a put waits until events are settled."""
    store = make(max_size=10, block_timeout=30.0)
    for number in range(10):
        store.put(event(number))
    batch = store.take()
    settler = threading.Timer(0.05, store.settle, (batch, Delivery(10)))
    settler.start()
    store.put(event(10))
    settler.join()

    assert store.counts().dropped == {}
    assert numbers(store.take().events) == [10]


def test_a_blocking_put_ends_at_its_timeout():
    """With block_timeout a put drops the event after block_timeout."""
    store = make(max_size=1, block_timeout=0.05)
    store.put(event(1))
    started = time.monotonic()
    store.put(event(2))

    assert 0.05 <= time.monotonic() - started < 5
    assert store.counts().dropped == {"overflow": 1}
    assert balanced(store)


def test_dropped_events_are_returned_once_by_reason():
    """With keep_dropped, `pop_dropped` returns each event once, grouped by reason."""
    store = make(max_size=2, keep_dropped=True)
    for number in range(4):
        store.put(event(number))
    store.discard("exit")

    shown = {drop.reason: numbers(drop.events) for drop in store.pop_dropped()}
    assert shown == {"overflow": [0, 1], "exit": [2, 3]}
    assert store.pop_dropped() == []


def test_an_event_that_cannot_be_built_is_rejected_alone():
    """An invalid event is rejected; the others of its batch are taken."""

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
    assert [invalid.reason for invalid in batch.invalid] == [
        "no_identifiers",
        "not_buildable",
    ]
    assert store.counts().rejected == {"no_identifiers": 1, "not_buildable": 1}
    assert balanced(store)


def test_an_event_that_before_send_removes_is_counted_as_dropped():
    """An event for which build returns None is dropped for that reason."""
    store = make(build=lambda logged, event_id: logged if logged.data["n"] else None)
    for number in range(2):
        store.put(event(number))

    assert numbers(store.take().events) == [1]
    assert store.counts().dropped == {"before_send": 1}
    assert balanced(store)


def test_adjusted_values_are_summed_up():
    """Values that were changed are counted by kind, over all events."""
    store = make()
    store.put(event(1, text="x" * 2000))
    store.put(event(2, ratio=float("nan"), text="x" * 2000))
    store.take()

    assert store.counts().adjusted == {"cut": 2, "not_finite": 1}


def test_a_put_that_interrupts_the_lock_holder_does_not_wait():
    """Code that interrupts the lock holder on its thread appends and returns."""
    store = make(max_size=5)
    interrupted = []

    class Interrupting:
        """Puts an event when its size is read, as a finalizer might."""

        @property
        def size(self) -> int:
            if not interrupted and store.is_held_by_current_thread():
                interrupted.append(store.put(event(99)))
                assert store.get_last_sequence() >= 0
                assert store.counts().accepted >= 0
                store.reject_early("ignored")
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
    """Eight threads put, one takes, one reads: the counts always balance."""
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


def test_dropped_events_that_are_kept_are_bounded():
    """Dropped events that are never read take no more bytes than the buffer."""
    store = make(max_bytes=100_000, keep_dropped=True)
    for number in range(2000):
        store.put(event(number, text="x" * 1000))

    shown = [event for group in store.pop_dropped() for event in group.events]
    assert sum(event.size for event in shown) <= 100_000
    assert store.counts().accepted == 2000


def test_blocking_puts_lose_no_event_before_their_timeout():
    """Forty threads that wait for room for four all get it in turn."""
    store = make(max_size=4, block_timeout=60.0)
    threads = [threading.Thread(target=store.put, args=(event(n),)) for n in range(40)]
    for thread in threads:
        thread.start()
    while store.counts().delivered < 40:
        batch = store.take()
        store.settle(batch, Delivery(len(batch.events)))
    for thread in threads:
        thread.join()

    assert store.counts().dropped == {}


def test_an_interrupted_take_loses_no_event():
    """The events of a take that a signal handler interrupted are taken again."""
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


def test_counts_are_recovered_after_an_interruption():
    """After an exception cut off an update, the next read returns exact counts."""
    store = make(max_size=5)
    raising = [True]

    class Interrupted:
        """Raises once, when its size is read under the lock."""

        data = {"n": 9}

        @property
        def size(self) -> int:
            if raising and store.is_held_by_current_thread():
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
    assert store.discard("exit") == 5
    assert store.counts().queue_bytes == 0


def test_stats_read_in_a_signal_handler_are_consistent():
    """Counts read between any two steps of an update balance, and change nothing.

    The trace function stands for a signal handler or a finalizer on the same thread.
    A recovery at that point once counted incoming events twice for good.
    """

    def build(logged: OdpEvent, event_id: object = None) -> OdpEvent | None:
        if logged.data["n"] == 2:
            raise InvalidEventError("no", reason="no")
        return None if logged.data["n"] == 3 else logged

    store = make(build=build, max_size=8, max_bytes=4000, keep_dropped=True)
    files = {module.__file__ for module in (buffer, limits, overflow, pending)}
    wrong: list[str] = []
    looks = 0

    def look(frame: Any, what: str, _: object) -> Any:
        nonlocal looks
        if (
            frame.f_code.co_filename not in files
            or not store.is_held_by_current_thread()
        ):
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
        store.reject_early("no")
        batch = store.take()
        size = len(batch.events)
        store.settle(batch, Delivery(size, rejected={0: "no"}, pending=(1,)))
        store.discard("exit")
    finally:
        sys.settrace(before)

    assert looks > 1000
    assert wrong == []
    assert store.counts().accepted == 13
    assert balanced(store)


def test_an_interrupted_recovery_of_the_counts_is_repeated():
    """After a second exception within `_recover_counts` the counts still recover."""
    for step in range(1, 40):
        store = make()
        store.put(event(0))
        store.counts()
        store._pending.waiting.extend(store.inbox.queue)
        store.inbox.queue.clear()
        store._counts_dirty = True  # cut off before the counts were updated
        left = [step]

        def cut(frame, what, argument, left=left):
            inside = frame.f_code.co_name in (
                "_recover_counts",
                "count_settled",
                "add_sizes",
                "recompute_size",
            )
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


def test_captures_without_a_size_can_fill_a_batch_by_bytes():
    """A batch of captures without a size is due by its bytes as well."""
    store = make(
        complete_capture=lambda bare: event(0, text="x" * 3000), batch_bytes=50_000
    )
    store._limits.due_size = 500
    store.take()
    due = []
    for _ in range(40):
        store.inbox.queue.append(("bare",))
        if len(store.inbox.queue) >= store.inbox.check_after:
            due.append(store.check_due())
    assert any(due)


def bare(number: int) -> tuple[int]:
    """Return what stands for the tuple that a log call leaves in the inbox."""
    return (number,)


class BareEvents:
    """Settings of a buffer of `bare` entries, and which of them were accounted."""

    def __init__(self) -> None:
        self.accounted: list[int] = []

    def settings(self) -> dict[str, Any]:
        """Return arguments for `make`."""
        return {"complete_capture": self._complete, "encode_batch": self._encode}

    def _complete(self, logged: tuple[int]) -> OdpEvent:
        self.accounted.append(logged[0])
        return event(logged[0])

    def _encode(self, fresh: Any, event_ids: Any) -> list[OdpEvent | None]:
        # As the real one, it leaves some to `build`.
        return [
            event(logged[0]) if type(logged) is tuple and logged[0] % 4 else None
            for logged in fresh
        ]


def read_numbers(batch: Any) -> list[int]:
    """Return the numbers of the events in *batch*."""
    return [one.data["n"] for one in batch.events]


def test_a_take_accounts_nothing_that_it_can_encode():
    """Events that are sent at once never get an estimated size, which costs 1 µs."""
    bare_events = BareEvents()
    store = make(**bare_events.settings())
    store.inbox.queue.extend(map(bare, range(1, 4)))

    batch = store.take()

    assert read_numbers(batch) == [1, 2, 3]
    assert bare_events.accounted == []
    assert store.counts().queue_bytes == sum([len(one.json) for one in batch.events])
    store.settle(batch, Delivery(3))
    assert balanced(store)
    assert store.counts().delivered == 3 and store.counts().queue_bytes == 0


def test_accounted_events_are_taken_before_those_in_the_inbox():
    """Reading the counts accounts the inbox; the order of the events stays."""
    store = make(**BareEvents().settings())
    store.inbox.queue.extend(map(bare, range(5)))
    assert store.counts().queue_bytes > 0
    store.inbox.queue.extend(map(bare, range(5, 12)))

    first = store.take()
    assert read_numbers(first) == [*range(10)]
    assert store.get_last_sequence() == 12 and store.get_settled_sequence() == 0
    store.settle(first, Delivery(10, pending=(3,)))
    assert store.get_settled_sequence() == 3
    assert read_numbers(store.take()) == [3, 10, 11]
    assert store.counts().retried == 1
    assert balanced(store)


def test_the_bounds_hold_for_events_that_no_take_accounted():
    """Log calls account the inbox before the events in it could exceed the bytes."""
    store = make(
        **BareEvents().settings(), max_size=0, max_bytes=600_000, batch_size=500
    )
    for number in range(9_000):
        store.inbox.queue.append(bare(number))
        if len(store.inbox.queue) >= store.inbox.check_after:
            store.check_due()
        assert len(store.inbox.queue) <= 600_000 // 16_384 + 1
    counts = store.counts()
    assert 500_000 < counts.queue_bytes <= 600_000
    assert counts.overflowed == 9_000 - counts.pending > 0
    assert balanced(store)


def test_a_log_call_accounts_few_events_at_once():
    """With the default bound in bytes, at most 512 are accounted by one call."""
    bare_events = BareEvents()
    store = make(**bare_events.settings(), max_size=0, max_bytes=64 * 2**20)
    most = 0
    for number in range(20_000):
        store.inbox.queue.append(bare(number))
        before = len(bare_events.accounted)
        if len(store.inbox.queue) >= store.inbox.check_after:
            store.check_due()
        most = max(most, len(bare_events.accounted) - before)
    assert 0 < most <= 513  # and the newest one, to estimate the others
    assert len(store.inbox.queue) <= 4097


class CutAtCall:
    """
    Raises where CPython may run a signal handler: after a call or a jump back.

    Args:
        functions: Names of the functions that are cut off.
        step: Which of these places it is.
    """

    def __init__(self, functions: set[str], step: int) -> None:
        self._functions = functions
        self._left = step
        self._previous: dict[Any, str] = {}

    def trace(self, frame: Any, what: str, argument: object) -> Any:
        """Trace a frame, see `sys.settrace`."""
        if frame.f_code.co_name not in self._functions:
            return self.trace
        frame.f_trace_opcodes = True
        if what == "opcode":
            previous = self._previous.get(frame, "CALL")  # a function begins
            self._previous[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if previous.startswith(("CALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE")):
                self._left -= 1
                if self._left == 0:
                    raise KeyboardInterrupt
        return self.trace


def test_a_take_that_is_cut_off_anywhere_loses_and_repeats_nothing():
    """An exception of a signal handler at any call in a take or settle is repaired."""
    parts = {
        "take",
        "_start_take",
        "start_building",
        "return_unbuilt",
        "build_events",
        "_finish_take",
        "finish_building",
        "settle",
        "_recover_counts",
        "recount",
        "_add_sizes",
    }
    cuts = 0
    for step in range(1, 400):
        store = make(**BareEvents().settings())
        store.inbox.queue.extend(map(bare, range(4)))
        store.counts()  # accounts the first four
        store.inbox.queue.extend(map(bare, range(4, 8)))
        cut = CutAtCall(parts, step)
        delivered: list[int] = []
        before = sys.gettrace()
        sys.settrace(cut.trace)
        try:
            batch = store.take()
            store.settle(batch, Delivery(len(batch.events)))
            delivered += read_numbers(batch)
        except KeyboardInterrupt:
            cuts += 1
        finally:
            sys.settrace(before)
        last, settled = store.get_last_sequence(), store.get_settled_sequence()
        assert last - settled == store.counts().pending, step
        assert balanced(store), step
        # What was settled when the exception came is not in the list above.
        settled_early = store.counts().delivered - len(delivered)
        assert settled_early in (0, 8), step
        for _ in range(2):
            batch = store.take()
            store.settle(batch, Delivery(len(batch.events)))
            delivered += read_numbers(batch)
        assert delivered == ([*range(8)] if not settled_early else []), step
        assert balanced(store), step
        assert store.counts().delivered == store.counts().accepted == 8, step
        assert store.counts().queue_bytes == 0, step
    assert 100 < cuts < 399  # every place, and some runs without a cut


def test_a_discard_in_the_middle_of_a_take_counts_all():
    """What a take is building from the inbox is dropped, and its result discarded."""
    bare_events = BareEvents()
    settings = bare_events.settings()

    def encode(fresh: Any, event_ids: Any) -> list[OdpEvent | None]:
        assert store.discard("exit") == 5
        return [event(logged[0]) for logged in map(bare, range(3))]

    store = make(**{**settings, "encode_batch": encode}, batch_size=3)
    store.inbox.queue.extend(map(bare, range(5)))

    assert store.take().events == ()
    assert store.counts().dropped == {"exit": 5}
    assert balanced(store)


def test_log_calls_to_a_full_buffer_drop_several_events_at_once():
    """Dropping one at a time took three times as long; what is read is exact."""
    store = make(**BareEvents().settings(), max_size=1000)
    checks = 0
    for number in range(5_000):
        store.inbox.queue.append(bare(number))
        if len(store.inbox.queue) >= store.inbox.check_after:
            checks += 1
            store.check_due()
        assert store._pending.count() + len(store.inbox.queue) <= 1010
    assert checks < 600
    counts = store.counts()
    assert (counts.pending, counts.dropped) == (1000, {"overflow": 4000})
    assert read_numbers(store.take())[0] == 4000


def test_a_flush_waits_for_no_event_that_the_bounds_drop():
    """With "drop_newest", what exceeds the bound has no sequence to wait for."""
    store = make(**BareEvents().settings(), max_size=1000, overflow="drop_newest")
    store.inbox.queue.extend(map(bare, range(1000)))
    store.counts()
    store.inbox.queue.extend(map(bare, range(1000, 1009)))
    last = store.get_last_sequence()

    assert last == 1000
    assert store.counts().dropped == {"overflow": 9}
    while store.counts().pending:
        batch = store.take()
        store.settle(batch, Delivery(len(batch.events)))
    assert store.get_settled_sequence() == last


def test_a_fork_while_a_log_call_accounts_ends():
    """In the child, the interrupted accounting goes on with the parent's parts."""
    store = make(**BareEvents().settings(), max_size=0)
    store.inbox.queue.extend(map(bare, range(600)))
    store.inbox.check_after = 1
    account = store._pending.account

    def fork(*arguments: Any) -> int:
        store.after_fork()  # as a signal handler that forks has it called in the child
        return account(*arguments)

    store._pending.account = fork  # type: ignore[method-assign]
    store._counts_dirty = True
    store.check_due()
    assert len(store.inbox.queue) == 0
    assert store.counts().accepted == 0


def test_large_events_in_the_inbox_count_for_the_high_water_mark():
    """Their bytes are estimated by the newest one before they are accounted."""
    store = make(
        complete_capture=lambda logged: event(0, text="x" * 1000),
        max_size=0,
        max_bytes=100_000,
        batch_size=500,
    )
    for _ in range(70):
        store.inbox.queue.append(bare(0))
        if len(store.inbox.queue) >= store.inbox.check_after:
            store.check_due()
        if store.inbox.nearly_full:
            break
    assert store.inbox.nearly_full
    assert store.counts().dropped == {}
