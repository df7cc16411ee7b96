"""Events are on disk before put returns, and settled as in every store."""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._events.delivery import Delivery
from odp_logging._events.lazy_event import make_lazy_event
from odp_logging._stores.spool import directory as _directory
from odp_logging._stores.spool.errors import UnwritableError
from odp_logging._stores.spool.reader import SpoolReader
from odp_logging._stores.spool.store import Spool

from ..contract import LocalStoreContract, balanced, event, numbers
from .spools import (
    drain,
    list_files,
    make_spool,
)


class TestContract(LocalStoreContract):
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "spool"

    def make(self) -> Spool:
        """Return a spool on disk."""
        return make_spool(self.directory)


def test_an_event_is_on_disk_when_put_returns(directory):
    """Another connection sees it, byte for byte."""
    store, sold = make_spool(directory), event(1)
    store.put(sold)

    with closing(sqlite3.connect(list_files(directory)[0])) as other, other:
        assert other.execute("SELECT body FROM events").fetchall() == [(sold.json,)]


def test_delivered_events_are_in_no_file_of_an_ended_process(directory):
    """Neither in free pages nor in a write-ahead log."""
    store = make_spool(directory)
    for number in range(40):
        store.put(event(number, secret=f"s-{number}-", fill="x" * 500))
    for _ in range(3):
        store.settle(store.take(), Delivery(10))
    store.discard("exit")

    content = b"".join(path.read_bytes() for path in directory.iterdir())
    assert [n for n in range(40) if b"s-%d-" % n in content] == list(range(30, 40))


def test_a_version_is_written(directory):
    """The file says which version of the tables it holds."""
    make_spool(directory).put(event(1))

    with closing(sqlite3.connect(list_files(directory)[0])) as other, other:
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_rejected_events_become_dead_letters_with_their_reason(directory):
    """A rejected event stays in the spool, with ODP's reason."""
    store = make_spool(directory)
    for number in range(3):
        store.put(event(number))
    store.settle(store.take(), Delivery(3, rejected={1: "missing type"}))
    store.discard("exit")

    with SpoolReader(list_files(directory)[0]) as reader:
        (letter,) = reader.read_dead_letters()
    assert letter.reason == "missing type"
    assert b'"n":1' in letter.body
    assert drain(make_spool(directory)) == []
    assert len(list_files(directory)) == 1


def test_events_of_another_store_are_taken_over(directory):
    """keep takes over what a buffer has no room for; both together are balanced."""
    store = make_spool(directory)

    assert store.take_over([event(number) for number in range(12)])
    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (0, 12, -12)
    assert drain(store) == list(range(12))
    assert balanced(store)


def test_an_event_that_cannot_be_built_is_rejected(directory):
    """It is counted, and reported with a batch."""

    def build(logged: Any) -> OdpEvent:
        raise InvalidEventError("no identifiers", reason="no_identifiers")

    store = make_spool(directory, build=build)
    store.put(object())

    assert store.counts().rejected == {"no_identifiers": 1}
    assert store.get_last_sequence() > store.get_settled_sequence()
    assert [invalid.reason for invalid in store.take().invalid] == ["no_identifiers"]
    assert store.get_last_sequence() == store.get_settled_sequence()
    assert balanced(store)


def test_discarding_leaves_the_events_on_disk(directory):
    """The next process finds them."""
    store = make_spool(directory)
    for number in range(12):
        store.put(event(number))
    store.take()

    assert store.discard("exit") == 0
    assert store.counts().spooled == 12
    assert balanced(store)
    assert drain(make_spool(directory)) == list(range(12))


def test_events_of_no_account_get_the_first_account(directory):
    """Once the destination is known, no other account sends the events."""
    store = make_spool(directory, account=_directory.UNKNOWN)
    for number in range(3):
        store.put(event(number))
    store.change_account("mine")
    store.discard("exit")

    assert not make_spool(directory, account="another").has_more()
    assert drain(make_spool(directory, account="mine")) == [0, 1, 2]


def test_late_events_share_a_file(directory):
    """Discarding the store after each event of an exit callback leaves one file."""
    store = make_spool(directory)
    for number in range(20):
        store.put(event(number))
        store.discard("exit")
    store.close()

    assert len(list_files(directory)) <= 2
    assert store.counts().spooled == 20
    assert balanced(store)


def test_a_forked_child_has_files_of_its_own(directory):
    """Parent and child write and send apart; the child's end leaves the parent's."""
    store = make_spool(directory)
    store.put(event(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.after_fork()
            store.put(event(2))
            if drain(store) == [2]:
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    store.put(event(3))

    assert status == 0
    assert drain(store) == [1, 3]


def test_a_child_that_was_interrupted_cannot_write_into_the_parents_file(directory):
    """A child that a signal handler forked within a write stops before its next one."""
    store = make_spool(directory)
    store.put(event(1))
    child = os.fork()
    if child == 0:
        status = 1
        own = store._own.file
        try:
            store.before_fork(time.monotonic())  # as the fork hooks do
            store.after_fork()
            own.add([b"{}"], 2)
        except UnwritableError as error:
            status = 0 if "forked" in str(error) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert drain(store) == [1]


def test_threads_that_fork_at_once_release_their_own_locks(directory):
    """A fork that timed out does not release the locks of another thread's fork."""
    store = make_spool(directory)
    store.put(event(1))

    def in_vain() -> None:
        store.before_fork(time.monotonic())
        store.after_fork_in_parent()

    store.before_fork(time.monotonic() + 10)
    other = threading.Thread(target=in_vain)
    other.start()
    other.join(10)
    store.after_fork_in_parent()
    later = threading.Thread(target=store.put, args=(event(2),), daemon=True)
    later.start()
    later.join(10)

    assert not later.is_alive()
    assert drain(store) == [1, 2]


def test_an_event_read_from_disk_equals_the_one_written():
    """Its parts are parsed on access."""
    sold = OdpEvent("sold", {"email": "a@b.c"}, data={"n": 1}, timestamp=1.0)
    back = make_lazy_event(sold.json)

    assert back == sold
    assert hash(back) == hash(sold)
    assert (back.action, back.type, back.identifiers) == (
        "sold",
        "fullstack",
        sold.identifiers,
    )
    assert copy.copy(make_lazy_event(sold.json)) == sold
    assert make_lazy_event(sold.json).idempotence_id == sold.idempotence_id
    assert make_lazy_event(sold.json).to_dict() == sold.to_dict()
    assert repr(make_lazy_event(sold.json)) == repr(sold)
    assert make_lazy_event(sold.json).adjusted == {}
    assert numbers([back]) == [1]
    assert not hasattr(back, "price")
