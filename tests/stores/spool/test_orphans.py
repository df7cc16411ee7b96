"""Files of ended processes are found, owned by one process, and sent."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

from odp_logging import OdpEvent
from odp_logging._events.delivery import Delivery
from odp_logging._stores.spool import directory as _directory

from ..contract import balanced, event, numbers
from .spools import (
    Warnings,
    drain,
    leave_orphaned_events,
    list_files,
    make_spool,
)


def test_an_orphaned_file_is_sent_and_removed(directory):
    """A later process sends the events of an ended one, and removes its file."""
    events = leave_orphaned_events(directory, 25)
    store = make_spool(directory)

    found: list[OdpEvent] = []
    while store.has_more():
        batch = store.take()
        found += batch.events
        store.settle(batch, Delivery(len(batch.events)))

    assert found == events
    assert [taken.idempotence_id for taken in found] == [
        left.idempotence_id for left in events
    ]
    assert store.counts().replayed == 25
    assert store.counts().accepted == 0
    assert list(directory.iterdir()) == []


def test_an_orphaned_file_has_one_new_owner(directory):
    """Of two running processes, one gets the file."""
    leave_orphaned_events(directory, 5)
    one, two = make_spool(directory), make_spool(directory)

    assert (one.has_more(), two.has_more()) == (True, False)


def test_a_living_process_keeps_its_file(directory):
    """A file that another process writes to is not touched."""
    living, other = make_spool(directory), make_spool(directory)
    living.put(event(1))

    assert not other.has_more()
    assert drain(living) == [1]


def test_a_new_owner_may_die_as_well(directory):
    """Events that the new owner has not settled are sent by the next one."""
    leave_orphaned_events(directory, 15)
    program = (
        "import os, sys; from pathlib import Path;"
        " from odp_logging._events.delivery import Delivery;"
        " from tests.stores.spool.spools import make_spool;"
        " store = make_spool(Path(sys.argv[1])); assert store.has_more();"
        " store.settle(store.take(), Delivery(10)); store.take(); os._exit(0)"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(directory)], check=True, timeout=30
    )

    assert drain(make_spool(directory)) == list(range(10, 15))


def test_own_and_orphaned_events_take_turns(directory):
    """Batches alternate between the own file and an orphaned one."""
    leave_orphaned_events(directory, 20)
    store = make_spool(directory)
    assert store.has_more()
    for number in range(100, 120):
        store.put(event(number))

    firsts = []
    for _ in range(4):
        batch = store.take()
        firsts.append(numbers(batch.events)[0])
        store.settle(batch, Delivery(len(batch.events)))

    assert sorted(firsts) == [0, 10, 100, 110]
    assert firsts[0] // 100 != firsts[1] // 100
    assert store.counts().delivered == 20
    assert store.counts().replayed == 20
    assert balanced(store)


def test_orphaned_files_of_another_account_stay(directory):
    """Events never go to another account; one warning says that some wait."""
    leave_orphaned_events(directory, 3, account="theirs")
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)

    assert not store.has_more()
    assert warnings.kinds == ["spool_account"]
    assert drain(make_spool(directory, account="theirs")) == [0, 1, 2]


def test_orphaned_files_of_no_account_are_for_the_first(directory):
    """Events logged before any key was known go to the first process with a key."""
    leave_orphaned_events(directory, 3, account=_directory.UNKNOWN)

    assert drain(make_spool(directory)) == [0, 1, 2]


def test_a_linked_file_is_not_opened(directory, tmp_path):
    """A link among the files and its target are left alone."""
    leave_orphaned_events(directory, 3)
    real = list_files(directory)[0]
    moved = tmp_path / "elsewhere.db"
    real.rename(moved)
    real.symlink_to(moved)

    assert not make_spool(directory).has_more()
    assert moved.exists()


def test_a_locked_orphaned_file_is_tried_again(directory):
    """The next scan opens a file that could not be opened before."""
    leave_orphaned_events(directory, 5)
    now = [0.0]
    store = make_spool(directory, clock=lambda: now[0])
    with closing(
        sqlite3.connect(list_files(directory)[0], isolation_level=None)
    ) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("SELECT count(*) FROM events").fetchall()
        assert not store.has_more()
        other.execute("COMMIT")
    now[0] = 100.0

    assert drain(store) == list(range(5))
