"""Threads that log at the same time share a commit, and none depends on another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._stores.spool.errors import UnwritableError
from odp_logging._stores.spool.file import SpoolFile
from odp_logging._stores.spool.own_file import RETRY_SECONDS
from odp_logging._stores.spool.store import Spool

from ...waiting import held
from ..contract import balanced, event
from .spools import drain, make_spool

THREADS = 6


class TimeLimit(Exception):
    """Raised by a signal handler."""


@pytest.fixture
def store(tmp_path: Path) -> Spool:
    """Return a spool with one event, whose file is open."""
    spool = make_spool(tmp_path / "spool", batch_size=500)
    spool.put(event(0))
    return spool


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    pause, deadline = threading.Event(), time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        pause.wait(0.001)


def start_writers(store: Any, first: int, results: list[Any]) -> list[threading.Thread]:
    """Start threads that put one event each; the caller holds the spool's lock."""
    threads = []
    for number in range(first, first + THREADS):
        before = store._group_commit.count_pending()
        thread = threading.Thread(
            target=lambda number=number: results.append(store.try_put(event(number)))
        )
        thread.start()
        wait_until(lambda before=before: store._group_commit.count_pending() > before)
        threads.append(thread)
    return threads


def test_one_commit_writes_all_queued_events(store):
    """The first thread to get the lock writes all queued events in one statement."""
    statements: list[str] = []
    store._own.file._connection.set_trace_callback(statements.append)
    results: list[Any] = []
    with held(store._lock):
        threads = start_writers(store, 1, results)
    for thread in threads:
        thread.join(10)

    assert [text.split()[0] for text in statements] == ["INSERT"]
    assert results == [False] * THREADS
    assert store.counts().accepted == store.counts().spooled == THREADS + 1
    assert drain(store) == list(range(THREADS + 1))
    assert balanced(store)


def test_a_queue_longer_than_one_commit(store):
    """The next put writes all events that signal handlers enqueued."""
    with held(store._lock):
        for number in range(1, 201):
            assert store.put(event(number)) is False
    assert (store.counts().pending, store.counts().spooled) == (200, 1)
    store.put(event(201))

    assert store.counts().pending == 0
    assert drain(store) == list(range(202))
    assert balanced(store)


@pytest.mark.parametrize("written", [False, True])
def test_an_interrupted_writer_loses_no_event(store, written):
    """Interrupted before or after the commit, each event is written once."""
    add = store._own.file.add

    def add_and_raise(bodies: Sequence[bytes], first: int) -> None:
        store._own.file.add = add
        if written:
            add(bodies, first)
        raise TimeLimit

    results: list[Any] = []
    with held(store._lock):
        threads = start_writers(store, 1, results)
        store._own.file.add = add_and_raise
        with pytest.raises(TimeLimit):
            store._writer.write_pending()
    for thread in threads:
        thread.join(10)

    assert results == [False] * THREADS
    assert store.counts().accepted == store.counts().spooled == THREADS + 1
    assert drain(store) == list(range(THREADS + 1))
    assert balanced(store)


def test_an_event_marked_before_an_interruption_is_not_written_again(store):
    """It may still be in the queue if the counts could not be recovered since."""
    store._group_commit.enqueue(event(1)).clear()
    store.put(event(2))

    assert store.counts().pending == 0
    assert drain(store) == [0, 2]


def test_an_interrupted_put_leaves_its_event_to_the_flusher(store):
    """The flusher writes and sends the event of a put that did not return."""
    add = store._own.file.add

    def add_and_raise(bodies: Sequence[bytes], first: int) -> None:
        store._own.file.add = add
        raise TimeLimit

    store._own.file.add = add_and_raise
    with pytest.raises(TimeLimit):
        store.put(event(1))

    assert not store.is_held_by_current_thread()
    assert store.get_last_sequence() > store.get_settled_sequence()
    assert drain(store) == [0, 1]
    assert balanced(store)


@pytest.mark.parametrize("written", [False, True])
def test_an_interrupted_move_can_be_queried(store, written):
    """After an interrupted move the caller can ask whether the events are on disk."""
    add = store._own.file.add

    def add_and_raise(bodies: Sequence[bytes], first: int) -> None:
        store._own.file.add = add
        if written:
            add(bodies, first)
        raise TimeLimit

    events = [event(number) for number in range(1, 100)]
    store._own.file.add = add_and_raise
    with pytest.raises(TimeLimit):
        store.take_over(events)

    assert store.has_taken_over(events) is written
    assert drain(store) == list(range(100 if written else 1))
    assert balanced(store)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the next commit fail with a full disk."""
    left, add = [0], SpoolFile.add

    def add_or_fail(file: SpoolFile, bodies: Sequence[bytes], first: int) -> None:
        if left[0]:
            left[0] -= 1
            raise UnwritableError("database or disk is full")
        add(file, bodies, first)

    monkeypatch.setattr(SpoolFile, "add", add_or_fail)
    return lambda: left.__setitem__(0, 1)


def test_a_failed_move_is_not_reported_as_done(tmp_path, failing):
    """Not even when other events have got its numbers by then."""
    now = [0.0]
    store = make_spool(tmp_path / "spool", clock=lambda: now[0])
    store.put(event(0))
    moved = [event(1), event(2)]
    failing()
    assert not store.take_over(moved)
    now[0] += RETRY_SECONDS + 1
    assert store.try_put(event(3)) is not None
    failing()
    assert store.try_put(event(4)) is None

    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (2, 2, 0)
    assert not store.has_taken_over(moved)


def test_dead_letters_are_not_mistaken_for_failed_events(store, failing):
    """The next dead letter has the number of the event that was not written."""
    moved = [event(1), event(2)]
    failing()
    assert not store.take_over(moved)
    store.add_dead_letters([event(3)], {0: "no"})

    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (1, 1, 0)
    assert not store.has_taken_over(moved)


def test_an_adjusted_event_is_counted_once(store, failing):
    """Also if the counts are recovered after a commit that failed."""
    store.put(OdpEvent("a", {"fs_user_id": "u"}, data={"text": "x" * 2000}))
    before = dict(store.counts().adjusted)
    failing()
    assert not store.take_over([event(1)])

    assert dict(store.counts().adjusted) == before


def test_an_adjusted_event_is_counted(store):
    """An event that was changed to fit is counted when it is written."""
    store.put(OdpEvent("sold", {"email": "a@b.c"}, data={"n": 1, "t": "x" * 2000}))

    assert store.counts().adjusted == {"cut": 1}


def test_events_that_cannot_be_written_are_returned(tmp_path):
    """Each waiting put returns None, and flush() does not wait for their numbers."""
    now = [0.0]
    store: Any = make_spool(tmp_path / "spool", clock=lambda: now[0])
    store.put(event(0))
    add = store._own.file.add

    def fail(bodies: Sequence[bytes], first: int) -> None:
        raise UnwritableError("database or disk is full")

    store._own.file.add = fail
    results: list[Any] = []
    with held(store._lock):
        threads = start_writers(store, 1, results)
        target = store.get_last_sequence()
    for thread in threads:
        thread.join(10)

    assert results == [None] * THREADS
    assert store.counts().accepted == 1
    assert drain(store) == [0]
    assert store.get_settled_sequence() >= target
    store._own.file.add = add
    now[0] = RETRY_SECONDS
    assert store.try_put(event(9)) is False
    assert drain(store) == [9]
    assert balanced(store)


def test_queued_events_are_counted_at_the_end(store):
    """A thread waiting while the process ends finds its event written or counted."""
    results: list[Any] = []
    with held(store._lock):
        threads = start_writers(store, 1, results)
        store._own._retry_at = time.monotonic() + 60
        assert store.discard("exit") == THREADS
    for thread in threads:
        thread.join(10)

    assert results == [False] * THREADS
    assert store.counts().dropped == {"exit": THREADS}
    assert store.get_last_sequence() == store.get_settled_sequence()
    assert balanced(store)


def test_an_event_enqueued_while_the_store_is_closed_is_written(store):
    """An event enqueued after the last commit is written, not discarded."""
    results: list[Any] = []
    threads: list[threading.Thread] = []
    write = store._writer.write_pending

    def write_and_enqueue() -> bool:
        is_written: bool = write()
        if not threads:
            threads.extend(start_writers(store, 1, results))
        return is_written

    store._writer.write_pending = write_and_enqueue
    store._group_commit.enqueue(event(0))
    assert store.discard("exit") == 0
    for thread in threads:
        thread.join(10)

    assert results == [False] * THREADS
    assert store.counts().dropped == {}
    assert store.counts().spooled == 2 + THREADS
    assert balanced(store)
