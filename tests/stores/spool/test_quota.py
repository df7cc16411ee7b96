"""The bytes on disk stay within spool_max_bytes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing

from odp_logging._events.delivery import Cause, Delivery
from odp_logging._stores.spool.schema import ROW_OVERHEAD_BYTES

from ..contract import balanced, event, numbers
from .spools import (
    Warnings,
    drain,
    leave_orphaned_events,
    list_files,
    make_spool,
)


def test_the_oldest_events_are_dropped_when_the_spool_is_full(directory):
    """Beyond max_bytes the oldest are dropped, counted, warned of and reported."""
    warnings = Warnings()
    store = make_spool(directory, max_bytes=10_000, warn=warnings, keep_dropped=True)
    for number in range(60):
        store.put(event(number))

    counts = store.counts()
    gone = counts.dropped["spool_full"]
    assert counts.spooled + gone == 60
    assert 5_000 < counts.queue_bytes <= 10_000
    assert [numbers(group.events) for group in store.pop_dropped()] == [
        list(range(gone))
    ]
    assert set(warnings.kinds) == {"spool_full"}
    assert balanced(store)
    assert drain(store) == list(range(gone, 60))


def test_events_in_flight_are_not_dropped(directory):
    """A batch in flight stays until it is settled, even if the spool is full."""
    store = make_spool(directory, max_bytes=8_000)
    for number in range(10):
        store.put(event(number))
    batch = store.take()
    for number in range(10, 60):
        store.put(event(number))
    store.settle(batch, Delivery.all_pending(10, Cause.TRANSIENT, ""))

    assert numbers(store.take().events) == list(range(10))
    assert balanced(store)


def test_dead_letters_are_dropped_before_events(directory):
    """Rejected events make room for events that can still be delivered."""
    store = make_spool(directory, max_bytes=8_000)
    for number in range(10):
        store.put(event(number))
    store.settle(store.take(), Delivery(10, rejected=dict.fromkeys(range(10), "no")))
    for number in range(10, 25):
        store.put(event(number))

    assert store.counts().dropped == {}
    assert drain(store) == list(range(10, 25))


def test_orphaned_files_are_bounded_too(directory):
    """The oldest orphaned events are dropped, counted, warned of and reported."""
    for process in range(6):
        left = [event(500 * process + number) for number in range(500)]
        gone = make_spool(directory, max_bytes=10**7)
        gone.take_over(left)
        gone.discard("exit")
    row_bytes = left[0].size + ROW_OVERHEAD_BYTES
    warnings = Warnings()
    store = make_spool(
        directory, max_bytes=1000 * row_bytes, warn=warnings, keep_dropped=True
    )
    dropped: list[int] = []
    for _ in range(10):
        store.has_more()
        for group in store.pop_dropped():
            assert group.reason == "spool_full"
            dropped += numbers(group.events)

    kept = drain(store)
    assert dropped == list(range(len(dropped)))
    assert kept == list(range(len(dropped), 3000))
    assert 950 <= len(kept) <= 1050
    assert store.counts().dropped == {"spool_full": len(dropped)}
    assert store.counts().accepted == len(dropped)
    assert balanced(store)
    assert set(warnings.kinds) == {"spool_full"}


def test_the_limit_counts_events_and_not_the_pages_of_a_log(directory, tmp_path):
    """A killed process leaves a page of 4 KiB for each event; none is dropped."""
    directory.mkdir(0o700)
    for process in range(6):
        store = make_spool(tmp_path / str(process))
        for number in range(300):
            store.put(event(1000 * process + number))
        for path in (tmp_path / str(process)).iterdir():
            if not path.name.endswith((".lock", "-shm")):
                shutil.copyfile(
                    path, directory / path.name.replace("-", f"-{process}", 1)
                )
        size = store.counts().queue_bytes
        store.after_fork()  # forgets its file
    on_disk = sum(path.stat().st_size for path in directory.iterdir())
    warnings = Warnings()
    store = make_spool(directory, max_bytes=6 * size, warn=warnings)

    assert on_disk > 3 * 6 * size
    assert store.has_more()
    assert sum(path.stat().st_size for path in directory.iterdir()) < on_disk / 2
    assert len(drain(store)) == 1800
    assert warnings == []


def test_a_limit_holds_mostly_events():
    """256 MiB are 200 MiB of events of 150 bytes, and more of longer ones."""
    assert 256 * 150 / (150 + ROW_OVERHEAD_BYTES) > 200


def test_free_pages_are_given_back(directory):
    """A process that delivered most of a long outage leaves a small file behind."""
    gone = make_spool(directory, batch_size=3000, batch_bytes=10**7, max_bytes=10**7)
    gone.take_over([event(number, fill="x" * 1000) for number in range(3000)])
    gone.settle(gone.take(), Delivery.all_pending(3000, Cause.TRANSIENT, ""))
    batch = gone.take()
    gone.settle(batch, Delivery(3000, pending=tuple(range(2990, 3000)), cause=None))
    gone.discard("exit")
    (path,) = list_files(directory)
    before = path.stat().st_size
    store = make_spool(directory, max_bytes=100_000)

    assert store.has_more()
    assert before > 3_000_000
    assert path.stat().st_size < 200_000
    assert drain(store) == list(range(2990, 3000))


def test_unreadable_files_are_not_deleted_for_space(directory):
    """Damaged and foreign files are not deleted, even if the spool is full."""
    for _ in range(3):
        leave_orphaned_events(directory, 40, max_bytes=100_000)
    oldest = list_files(directory)[0]
    oldest.write_bytes(os.urandom(60_000))
    with (
        closing(sqlite3.connect(directory / "account-1-foreign.spool")) as foreign,
        foreign,
    ):
        foreign.execute("CREATE TABLE theirs (x)")
    for path in (oldest, directory / "account-1-foreign.spool"):
        os.utime(path, (1.0, 1.0))
    make_spool(directory, max_bytes=40_000).has_more()

    assert (directory / "account-1-foreign.spool").exists()
    assert oldest.exists() or list(directory.glob(f"{oldest.name}.damaged"))
