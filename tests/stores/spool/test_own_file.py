"""The own file may be deleted, replaced, overwritten or damaged while it is open."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.spool import file_lock as _file_lock
from odp_logging._stores.spool.own_file import RETRY_SECONDS
from odp_logging._stores.spool.reader import SpoolReader

from ..contract import balanced, event, numbers
from .spools import (
    Warnings,
    copy_as_killed,
    drain,
    list_files,
    make_spool,
)


def test_own_file_damaged_while_it_is_in_use(directory):
    """Its readable events are sent; the others are counted."""
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    for number in range(500):
        store.put(event(number))
    path = list_files(directory)[0]
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    middle = len(content) // 2 // 4096 * 4096
    with open(path, "r+b") as opened:
        opened.seek(middle)
        opened.write(b"\xff" * 4096)
    store.put(event(500))

    found = drain(store)
    lost = store.counts().dropped.get("damaged", 0)
    assert 0 < lost < 250
    assert len(found) + lost == 501
    assert balanced(store)
    assert "spool_damaged" in warnings.kinds


def test_a_file_deleted_while_in_use_is_written_again(directory):
    """Deleting the directory does not lose the events."""
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    for number in range(5):
        store.put(event(number))
    shutil.rmtree(directory)
    store.put(event(5))
    assert len(list_files(directory)) == 1
    shutil.rmtree(directory)
    store.discard("exit")

    assert warnings.kinds == ["spool_removed"] * 2
    assert drain(make_spool(directory)) == list(range(6))


def remove(path: Path, end: str) -> None:
    """Delete the file of *path* whose name ends with *end*."""
    path.with_name(path.name + end).unlink()


def replace(path: Path) -> None:
    """Put another file in the place of *path*."""
    other = path.with_name("other")
    other.write_bytes(b"another file")
    other.rename(path)


def move_directory(path: Path) -> None:
    """Move the directory of *path* away and make a new one."""
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.mkdir(0o700)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: shutil.rmtree(path.parent),
        move_directory,
        replace,
        lambda path: remove(path, ""),
        lambda path: remove(path, "-wal"),
        lambda path: remove(path, "-shm"),
        lambda path: remove(path, ".lock"),
    ],
    ids=["directory", "moved", "replaced", "file", "wal", "shm", "lock"],
)
@pytest.mark.parametrize("notices", ["put", "take"])
def test_a_file_with_a_deleted_part_is_written_again(
    directory, damage, notices, monkeypatch
):
    """Whichever part is gone, SIGKILL after the next call loses no event."""
    monkeypatch.setattr(_file_lock, "IDENTITY_CHECK_SECONDS", 0.0)
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    for number in range(35):
        store.put(event(number))
    store.settle(store.take(), Delivery(10, rejected={3: "no"}))
    in_flight = store.take()
    (path,) = list_files(directory)
    damage(path)
    if notices == "put":
        store.put(event(35))
    store.settle(in_flight, Delivery(10))
    store.take()
    left = list(range(20, 36 if notices == "put" else 35))

    copy = copy_as_killed(directory)
    reasons = []
    for copied in list_files(copy):
        if copied.read_bytes() != b"another file":
            with SpoolReader(copied) as reader:
                reasons += [letter.reason for letter in reader.read_dead_letters()]
    assert reasons == ["no"]
    assert drain(make_spool(copy)) == left
    assert warnings.kinds == ["spool_removed"]
    assert balanced(store)
    assert drain(store) == left
    assert store.counts().delivered == len(left) + 19
    if damage is replace:
        (other,) = directory.glob(f"{path.name}.damaged")
        assert other.read_bytes() == b"another file"


def test_a_file_whose_lock_was_deleted_is_sent_once(directory, monkeypatch):
    """Another process may own it by then; one of the two sends each event."""
    monkeypatch.setattr(_file_lock, "IDENTITY_CHECK_SECONDS", 0.0)
    store = make_spool(directory)
    for number in range(25):
        store.put(event(number))
    (path,) = list_files(directory)
    remove(path, ".lock")
    other = make_spool(directory)
    assert other.has_more()
    store.put(event(25))

    found = [*drain(store), *drain(other)]
    assert sorted(found) == list(range(26))
    assert balanced(store)


def block_directory(directory: Path) -> None:
    """Delete *directory*, and prevent writing in its place."""
    shutil.rmtree(directory)
    directory.write_text("a file")


def test_events_of_a_deleted_file_are_sent_from_the_open_one(directory):
    """If no new file can be written, they wait, and flush() waits for them."""
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    for number in range(25):
        store.put(event(number))
    block_directory(directory)

    assert store.try_put(event(25)) is None
    assert store.counts().spooled == 25
    assert store.get_settled_sequence() == 0
    assert drain(store) == list(range(25))
    assert balanced(store)
    assert warnings.kinds == ["spool_failed"]


def test_events_of_a_deleted_file_are_counted_at_the_end(directory):
    """Events that could not be written are dropped and reported at exit."""
    store = make_spool(directory, keep_dropped=True)
    for number in range(25):
        store.put(event(number))
    block_directory(directory)
    assert store.discard("exit") == 25

    assert store.counts().dropped == {"exit": 25}
    assert [numbers(group.events) for group in store.pop_dropped()] == [list(range(25))]
    assert balanced(store)
    assert directory.read_text() == "a file"


def test_events_of_a_deleted_file_are_written_when_that_is_possible_again(directory):
    """Writing is tried every RETRY_SECONDS."""
    now = [0.0]
    store = make_spool(directory, clock=lambda: now[0])
    for number in range(25):
        store.put(event(number))
    block_directory(directory)
    assert store.try_put(event(25)) is None
    directory.unlink()
    now[0] = RETRY_SECONDS + 1
    store.take()

    assert drain(make_spool(copy_as_killed(directory))) == list(range(25))


@pytest.mark.parametrize("moved", [False, True], ids=["in the log", "moved"])
@pytest.mark.parametrize("damage", ["cut", "cut log", "older copy", "zeros"])
def test_a_file_that_is_overwritten_in_place_is_counted(directory, damage, moved):
    """Its events are sent or counted; flush() does not wait for lost ones."""
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    for number in range(30):
        store.put(event(number))
    (path,) = list_files(directory)
    log = path.with_name(f"{path.name}-wal")
    older = path.read_bytes(), log.read_bytes()
    for number in range(30, 200):
        store.put(event(number))
    if moved:
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if damage == "cut":
        os.truncate(path, 0)
    elif damage == "cut log":
        os.truncate(log, 0)
    elif damage == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        path.write_bytes(older[0])
        log.write_bytes(older[1])
    store.put(event(200))

    found = drain(store)
    assert balanced(store)
    counts = store.counts()
    lost = sum(counts.dropped.values()) + counts.waiting
    assert counts.delivered == len(found) == 201 - lost
    assert counts.waiting == 0
    assert store.get_settled_sequence() == store.get_last_sequence()
    assert len(found) == 201 or warnings
