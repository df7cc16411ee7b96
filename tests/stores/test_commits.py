"""Threads that log at the same time share a commit, and none depends on another."""

from __future__ import annotations

import copy
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from odp_logging import OdpEvent
from odp_logging._delivery import Delivery
from odp_logging.stores._spool import RETRY, Spool
from odp_logging.stores._spoolfile import SpoolFile, Unwritable
from odp_logging.stores._stored import stored

from .contract import balanced, event, numbers
from .test_spool import drained, files, make

THREADS = 6


class TimeLimit(Exception):
    """What a signal handler raises."""


@pytest.fixture
def store(tmp_path: Path) -> Spool:
    """A spool with one event, its file open."""
    made = make(tmp_path / "spool", batch_size=500)
    made.put(event(0))
    return made


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    pause, deadline = threading.Event(), time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        pause.wait(0.001)


def lined_up(store: Any, first: int, answers: list[Any]) -> list[threading.Thread]:
    """Have threads put, one number each; the caller holds the lock they wait for."""
    threads = []
    for number in range(first, first + THREADS):
        before = store._commits.waiting()
        thread = threading.Thread(
            target=lambda number=number: answers.append(store.try_put(event(number)))
        )
        thread.start()
        until(lambda before=before: store._commits.waiting() > before)
        threads.append(thread)
    return threads


def test_one_commit_takes_all_that_wait(store):
    """Whoever gets the lock writes what all have lined up, in order, at once."""
    statements: list[str] = []
    store._own._connection.set_trace_callback(statements.append)
    answers: list[Any] = []
    with store._lock.section():
        threads = lined_up(store, 1, answers)
    for thread in threads:
        thread.join(10)

    assert [text.split()[0] for text in statements] == ["INSERT"]
    assert answers == [False] * THREADS
    assert store.counts().accepted == store.counts().spooled == THREADS + 1
    assert drained(store) == list(range(THREADS + 1))
    assert balanced(store)


def test_a_line_longer_than_one_commit(store):
    """What signal handlers lined up, however much it is, the next put takes along."""
    with store._lock.section():
        for number in range(1, 201):
            assert store.put(event(number)) is False
    assert (store.counts().pending, store.counts().spooled) == (200, 1)
    store.put(event(201))

    assert store.counts().pending == 0
    assert drained(store) == list(range(202))
    assert balanced(store)


@pytest.mark.parametrize("written", [False, True])
def test_a_leader_that_is_cut_off(store, written):
    """Cut off before its commit or after it, each event is written, and once."""
    add = store._own.add

    def cut(bodies: Sequence[bytes], first: int) -> None:
        store._own.add = add
        if written:
            add(bodies, first)
        raise TimeLimit

    answers: list[Any] = []
    with store._lock.section():
        threads = lined_up(store, 1, answers)
        store._own.add = cut
        with pytest.raises(TimeLimit):
            store._write()
    for thread in threads:
        thread.join(10)

    assert answers == [False] * THREADS
    assert store.counts().accepted == store.counts().spooled == THREADS + 1
    assert drained(store) == list(range(THREADS + 1))
    assert balanced(store)


def test_a_put_that_is_cut_off(store):
    """A put that did not return leaves an event that the flusher writes, and sends."""
    add = store._own.add

    def cut(bodies: Sequence[bytes], first: int) -> None:
        store._own.add = add
        raise TimeLimit

    store._own.add = cut
    with pytest.raises(TimeLimit):
        store.put(event(1))

    assert not store.is_mine()
    assert store.entered() > store.passed()
    assert drained(store) == [0, 1]
    assert balanced(store)


@pytest.mark.parametrize("written", [False, True])
def test_a_move_that_is_cut_off(store, written):
    """Whoever moves events here learns afterwards whether they are on disk."""
    add = store._own.add

    def cut(bodies: Sequence[bytes], first: int) -> None:
        store._own.add = add
        if written:
            add(bodies, first)
        raise TimeLimit

    events = [event(number) for number in range(1, 100)]
    store._own.add = cut
    with pytest.raises(TimeLimit):
        store.keep(events)

    assert store.has_kept(events) is written
    assert drained(store) == list(range(100 if written else 1))
    assert balanced(store)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the next commit find the disk full."""
    left, add = [0], SpoolFile.add

    def adding(file: SpoolFile, bodies: Sequence[bytes], first: int) -> None:
        if left[0]:
            left[0] -= 1
            raise Unwritable("database or disk is full")
        add(file, bodies, first)

    monkeypatch.setattr(SpoolFile, "add", adding)
    return lambda: left.__setitem__(0, 1)


def test_a_move_that_failed_is_not_taken_for_done(tmp_path, failing):
    """Not by who mends later, when its numbers are those of other events."""
    now = [0.0]
    store = make(tmp_path / "spool", clock=lambda: now[0])
    store.put(event(0))
    moved = [event(1), event(2)]
    failing()
    assert not store.keep(moved)
    now[0] += RETRY + 1
    assert store.try_put(event(3)) is not None
    failing()
    assert store.try_put(event(4)) is None

    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (2, 2, 0)
    assert not store.has_kept(moved)


def test_dead_letters_do_not_pass_for_what_failed(store, failing):
    """A dead letter written next has the number of what could not be written."""
    moved = [event(1), event(2)]
    failing()
    assert not store.keep(moved)
    store.bury([event(3)], {0: "no"})

    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (1, 1, 0)
    assert not store.has_kept(moved)


def test_what_was_adjusted_is_counted_once(store, failing):
    """Also by who mends after another commit, which failed."""
    store.put(OdpEvent("a", {"fs_user_id": "u"}, data={"text": "x" * 2000}))
    before = dict(store.counts().adjusted)
    failing()
    assert not store.keep([event(1)])

    assert dict(store.counts().adjusted) == before


def test_what_was_adjusted_is_counted(store):
    """An event that had to be changed to fit is counted when it is written."""
    store.put(OdpEvent("sold", {"email": "a@b.c"}, data={"n": 1, "t": "x" * 2000}))

    assert store.counts().adjusted == {"cut": 1}


def test_what_cannot_be_written_goes_elsewhere(tmp_path):
    """Each of those that wait is told so, and nobody waits for a number of theirs."""
    now = [0.0]
    store: Any = make(tmp_path / "spool", clock=lambda: now[0])
    store.put(event(0))
    add = store._own.add

    def full(bodies: Sequence[bytes], first: int) -> None:
        raise Unwritable("database or disk is full")

    store._own.add = full
    answers: list[Any] = []
    with store._lock.section():
        threads = lined_up(store, 1, answers)
        target = store.entered()
    for thread in threads:
        thread.join(10)

    assert answers == [None] * THREADS
    assert store.counts().accepted == 1
    assert drained(store) == [0]
    assert store.passed() >= target
    store._own.add = add
    now[0] = RETRY
    assert store.try_put(event(9)) is False
    assert drained(store) == [9]
    assert balanced(store)


def test_what_waits_at_the_end_is_counted_by_whoever_gives_up(store):
    """A thread that waits while the process ends finds its event written, or lost."""
    answers: list[Any] = []
    with store._lock.section():
        threads = lined_up(store, 1, answers)
        store._able_from = time.monotonic() + 60
        assert store.give_up("exit") == THREADS
    for thread in threads:
        thread.join(10)

    assert answers == [False] * THREADS
    assert store.counts().dropped == {"exit": THREADS}
    assert store.entered() == store.passed()
    assert balanced(store)


def test_who_comes_while_the_line_is_given_up_writes_himself(store):
    """What is lined up after the last line was written is written, not cleared."""
    answers: list[Any] = []
    threads: list[threading.Thread] = []
    write = store._write

    def written() -> bool:
        done: bool = write()
        if not threads:
            threads.extend(lined_up(store, 1, answers))
        return done

    store._write = written
    store._commits.line_up(event(0))
    assert store.give_up("exit") == 0
    for thread in threads:
        thread.join(10)

    assert answers == [False] * THREADS
    assert store.counts().dropped == {}
    assert store.spooled() == 2 + THREADS
    assert balanced(store)


def large(tmp_path: Path) -> Spool:
    """Return a spool for many bytes."""
    many = {"batch_size": 500, "batch_bytes": 2**30, "max_bytes": 2**30}
    return make(tmp_path / "spool", **many)


def test_the_log_is_moved_by_whoever_settles(tmp_path):
    """Not by those who put: what they commit lands in the log, the rest is later."""
    store = large(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(550):
        store.put(event(number, **text))
    (file,) = files(store.directory)
    before = file.stat().st_size
    store.settle(store.take(), Delivery(500))
    after = file.stat().st_size

    assert before < 100_000
    assert after > 2_000_000
    store.put(event(550))
    assert len(drained(store)) == 51
    store.close()
    assert list(store.directory.iterdir()) == []


def test_a_checkpoint_makes_no_file_and_opens_none_of_others(tmp_path):
    """Of a file that was deleted, or let go, nothing is moved; no event is lost."""
    store: Any = large(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(1200):
        store.put(event(number, **text))
    shutil.rmtree(store.directory)
    store.settle(store.take(), Delivery(500))
    assert not store.directory.exists()
    store.put(event(1200))
    own = store._own
    store.give_up("exit")
    own._logged = 2**30
    own.checkpoint()

    assert own._mover is None
    assert drained(large(tmp_path)) == list(range(500, 1201))


def test_the_log_is_bounded_while_nobody_settles(tmp_path):
    """A put makes the checkpoint once the log holds 8 MB, if nobody else does."""
    store = large(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(8)}
    for number in range(1, 4000):
        store.put(event(number, **text))
    (file,) = files(store.directory)

    assert file.with_name(f"{file.name}-wal").stat().st_size < 10_000_000


def test_what_is_read_back_is_the_event():
    """Its parts are there for who asks; nothing else is."""
    sold = OdpEvent("sold", {"email": "a@b.c"}, data={"n": 1}, timestamp=1.0)
    back = stored(sold.json)

    assert back == sold
    assert hash(back) == hash(sold)
    assert (back.action, back.type, back.identifiers) == (
        "sold",
        "fullstack",
        sold.identifiers,
    )
    assert copy.copy(stored(sold.json)) == sold
    assert stored(sold.json).idempotence_id == sold.idempotence_id
    assert stored(sold.json).to_dict() == sold.to_dict()
    assert repr(stored(sold.json)) == repr(sold)
    assert stored(sold.json).adjusted == {}
    assert numbers([back]) == [1]
    assert not hasattr(back, "price")


def test_a_checkpoint_under_way_closes_its_connection(tmp_path, monkeypatch):
    """A file that is shut while its log is moved leaves no connection open."""
    store: Any = large(tmp_path)
    text = {f"t{k}": "x" * 1000 for k in range(4)}
    for number in range(550):
        store.put(event(number, **text))
    own = store._own

    def keep(connection: Any) -> None:
        own._shut = True

    monkeypatch.setattr("odp_logging.stores._spoolfile._keep_for_ever", keep)
    own._logged = 2**30
    own.checkpoint()

    assert own._mover is None
