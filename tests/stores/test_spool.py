"""Spool: on disk before put returns, adopted once, bounded, and unharmed by damage."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging.stores import _directory
from odp_logging.stores._spool import RETRY, Spool
from odp_logging.stores._visit import Visit

from .contract import LocalContract, balanced, event, numbers


class Said(list[tuple[str, str]]):
    """What a spool warned of."""

    def __call__(self, kind: str, message: str) -> None:
        self.append((kind, message))

    @property
    def kinds(self) -> list[str]:
        """The kinds of all warnings."""
        return [kind for kind, _ in self]


def make(directory: Path, **changes: Any) -> Spool:
    """Return a spool of ten to the batch, with what a test changes."""
    settings: dict[str, Any] = {
        "account": "account",
        "build": lambda logged: logged,
        "batch_size": 10,
        "batch_bytes": 1_000_000,
        "max_bytes": 1_000_000,
    }
    return Spool(directory, **{**settings, **changes})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory that is not there yet."""
    return tmp_path / "spool"


def left_behind(home: Path, count: int, **changes: Any) -> list[OdpEvent]:
    """Leave *count* events, as a process that is gone does; return them."""
    events = [event(number) for number in range(count)]
    gone = make(home, **changes)
    for each in events:
        gone.put(each)
    gone.give_up("exit")
    return events


def files(home: Path) -> list[Path]:
    """Return the spool files."""
    return sorted(home.glob("*.spool"))


def drained(store: Spool) -> list[int]:
    """Take and accept all that *store* has; return the numbers, in their order."""
    found: list[int] = []
    for _ in range(1000):
        if not (store.has_more() or store.entered() > store.passed()):
            return found
        batch = store.take()
        found += numbers(batch.events)
        store.settle(batch, Delivery(len(batch.events)))
    raise AssertionError("it never ends")


class TestContract(LocalContract):
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path) -> None:
        self.home = tmp_path / "spool"

    def make(self) -> Spool:
        """Return a spool on disk."""
        return make(self.home)


def test_an_event_is_on_disk_when_put_returns(home):
    """Another connection sees it, byte for byte."""
    store, sold = make(home), event(1)
    store.put(sold)

    with sqlite3.connect(files(home)[0]) as other:
        assert other.execute("SELECT body FROM events").fetchall() == [(sold.json,)]


def test_nobody_else_can_read_it(home):
    """Whatever the umask is, directory and files are their owner's alone."""
    before = os.umask(0)
    try:
        make(home).put(event(1))
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert modes == {0o600}


def test_a_version_is_written(home):
    """The file says which version of the tables it holds."""
    make(home).put(event(1))

    with sqlite3.connect(files(home)[0]) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_is_left_behind_is_adopted(home):
    """A later process sends what an earlier one left, and removes the file."""
    events = left_behind(home, 25)
    store = make(home)

    found: list[OdpEvent] = []
    while store.has_more():
        batch = store.take()
        found += batch.events
        store.settle(batch, Delivery(len(batch.events)))

    assert found == events
    assert [each.idempotence_id for each in found] == [
        each.idempotence_id for each in events
    ]
    assert store.counts().replayed == 25
    assert store.counts().accepted == 0
    assert list(home.iterdir()) == []


def test_what_is_left_behind_is_adopted_by_one(home):
    """Of two at work at the same time, one gets it."""
    left_behind(home, 5)
    one, two = make(home), make(home)

    assert (one.has_more(), two.has_more()) == (True, False)


def test_a_living_process_keeps_its_file(home):
    """What another one still writes to is not touched."""
    living, other = make(home), make(home)
    living.put(event(1))

    assert not other.has_more()
    assert drained(living) == [1]


def test_whoever_adopts_may_die_as_well(home):
    """What an adopter had not settled is adopted anew."""
    left_behind(home, 15)
    program = (
        "import os, sys; from pathlib import Path;"
        " from odp_logging._delivery import Delivery;"
        " from tests.stores.test_spool import make;"
        " store = make(Path(sys.argv[1])); assert store.has_more();"
        " store.settle(store.take(), Delivery(10)); store.take(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(home)], check=True, timeout=30)

    assert drained(make(home)) == list(range(10, 15))


def test_own_events_and_leftovers_take_turns(home):
    """Neither waits for all of the other."""
    left_behind(home, 20)
    store = make(home)
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


def test_leftovers_of_another_account_stay(home):
    """Events never go to another account; that some wait is said once."""
    left_behind(home, 3, account="theirs")
    said = Said()
    store = make(home, warn=said)

    assert not store.has_more()
    assert said.kinds == ["spool_account"]
    assert drained(make(home, account="theirs")) == [0, 1, 2]


def test_leftovers_of_no_account_are_for_the_first(home):
    """What was logged before any key was known goes to whoever has one."""
    left_behind(home, 3, account=_directory.UNKNOWN)

    assert drained(make(home)) == [0, 1, 2]


def test_rejected_events_are_buried_with_their_reason(home):
    """A refused event stays in the spool, with ODP's reason."""
    store = make(home)
    for number in range(3):
        store.put(event(number))
    store.settle(store.take(), Delivery(3, rejected={1: "missing type"}))
    store.give_up("exit")

    with Visit(files(home)[0]) as visit:
        (letter,) = visit.dead_letters()
    assert letter.reason == "missing type"
    assert b'"n":1' in letter.body
    assert drained(make(home)) == []
    assert len(files(home)) == 1


def test_events_of_another_store_are_kept(home):
    """keep takes over what a buffer has no room for; both together are balanced."""
    store = make(home)

    assert store.keep([event(number) for number in range(12)])
    counts = store.counts()
    assert (counts.accepted, counts.spooled, counts.moved) == (0, 12, -12)
    assert drained(store) == list(range(12))
    assert balanced(store)


def test_the_oldest_go_when_it_is_full(home):
    """Beyond max_bytes the oldest are dropped, counted, said, and shown."""
    said = Said()
    store = make(home, max_bytes=10_000, warn=said, keep_dropped=True)
    for number in range(60):
        store.put(event(number))

    counts = store.counts()
    gone = counts.dropped["spool_full"]
    assert counts.spooled + gone == 60
    assert 5_000 < counts.queue_bytes <= 10_000
    assert [numbers(each.events) for each in store.dropped()] == [list(range(gone))]
    assert set(said.kinds) == {"spool_full"}
    assert balanced(store)
    assert drained(store) == list(range(gone, 60))


def test_what_is_on_its_way_is_not_dropped(home):
    """A batch in flight stays until it is settled, however full it is."""
    store = make(home, max_bytes=8_000)
    for number in range(10):
        store.put(event(number))
    batch = store.take()
    for number in range(10, 60):
        store.put(event(number))
    store.settle(batch, Delivery.nothing_yet(10, Cause.PASSING, ""))

    assert numbers(store.take().events) == list(range(10))
    assert balanced(store)


def test_dead_letters_go_before_events(home):
    """What was rejected makes room for what can still be delivered."""
    store = make(home, max_bytes=8_000)
    for number in range(10):
        store.put(event(number))
    store.settle(store.take(), Delivery(10, rejected=dict.fromkeys(range(10), "no")))
    for number in range(10, 25):
        store.put(event(number))

    assert store.counts().dropped == {}
    assert drained(store) == list(range(10, 25))


def test_leftovers_are_bounded_too(home):
    """What many processes left is no more than max_bytes in all."""
    for _ in range(6):
        left_behind(home, 40, max_bytes=30_000)
    said = Said()
    store = make(home, max_bytes=60_000, warn=said)

    assert store.has_more()
    assert len(files(home)) < 6
    assert "spool_full" in said.kinds


def test_it_is_said_that_the_directory_cannot_be_used(tmp_path):
    """A file in its place is one message; nothing is written, nothing raised."""
    place = tmp_path / "spool"
    place.write_text("somebody's")
    said = Said()
    store = make(place, warn=said)

    assert store.try_put(event(1)) is None
    assert store.try_put(event(2)) is None
    assert said.kinds == ["spool_failed"]
    assert place.read_text() == "somebody's"
    assert balanced(store)


def test_a_link_is_not_followed(tmp_path):
    """A directory that somebody planted as a link is refused."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "spool").symlink_to(elsewhere)
    said = Said()

    assert make(tmp_path / "spool", warn=said).try_put(event(1)) is None
    assert "symbolic link" in said[0][1]
    assert list(elsewhere.iterdir()) == []


def test_a_linked_file_is_not_adopted(home, tmp_path):
    """A link among the files is left alone, and so is what it names."""
    left_behind(home, 3)
    real = files(home)[0]
    moved = tmp_path / "elsewhere.db"
    real.rename(moved)
    real.symlink_to(moved)

    assert not make(home).has_more()
    assert moved.exists()


def test_it_is_tried_again_after_a_while(tmp_path):
    """Once the directory can be used, events go there again."""
    now = [0.0]
    (tmp_path / "spool").write_text("in the way")
    store = make(tmp_path / "spool", clock=lambda: now[0])
    assert store.try_put(event(1)) is None

    (tmp_path / "spool").unlink()
    assert store.try_put(event(2)) is None
    now[0] = RETRY
    assert store.try_put(event(3)) is not None
    assert drained(store) == [3]


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "schema"])
def test_a_damaged_leftover_is_set_aside(home, damage):
    """It is said once and not deleted; what can be read is sent; others go on."""
    many = 200 if damage == "cut" else 3
    left_behind(home, many)
    path = files(home)[0]
    spoilt = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(os.urandom(5000))
    elif damage == "empty":
        path.write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    elif damage == "cut":
        path.write_bytes(spoilt[:-4096])
    else:
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE events")
    said = Said()
    store = make(home, warn=said)
    store.put(event(1000))

    found = drained(store)
    assert 1000 in found
    assert said.kinds == ["spool_damaged"]
    assert [each for each in home.iterdir() if each.name.endswith(".damaged")]
    if damage == "cut":
        assert len(found) > 100
        assert set(found) < {*range(many), 1000}


def test_a_foreign_database_is_left_alone(home):
    """Another program's file is not touched, and neither is a newer version's."""
    left_behind(home, 1)
    with sqlite3.connect(files(home)[0]) as newer:
        newer.execute("PRAGMA user_version = 2")
    with sqlite3.connect(home / "account-1-foreign.spool") as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    said = Said()
    store = make(home, warn=said)

    assert not store.has_more()
    assert [kind.partition(":")[0] for kind in said.kinds] == ["spool_foreign"] * 2
    assert len(files(home)) == 2


def test_a_flipped_bit_is_noticed(home):
    """An event that is not what was written is never sent, and is kept apart."""
    left_behind(home, 3)
    path = files(home)[0]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":9'))
    said = Said()

    assert drained(make(home, warn=said)) == [0, 2]
    assert said.kinds == ["spool_damaged"]
    assert len(files(home)) == 1


def test_own_file_damaged_while_it_is_in_use(home):
    """What the process itself wrote is read as far as possible; the rest is counted."""
    said = Said()
    store = make(home, warn=said)
    for number in range(500):
        store.put(event(number))
    path = files(home)[0]
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    with open(path, "r+b") as opened:
        opened.seek(middle)
        opened.write(b"\xff" * 4096)
    store.put(event(500))

    found = drained(store)
    lost = store.counts().dropped.get("damaged", 0)
    assert 0 < lost < 250
    assert len(found) + lost == 501
    assert balanced(store)
    assert "spool_damaged" in said.kinds


def test_what_cannot_be_made_is_rejected(home):
    """An event that ODP could not store is counted, and reported with a batch."""

    def build(logged: Any) -> OdpEvent:
        raise InvalidEventError("no identifiers", reason="no_identifiers")

    store = make(home, build=build)
    store.put(object())

    assert store.counts().rejected == {"no_identifiers": 1}
    assert store.entered() > store.passed()
    assert [each.reason for each in store.take().invalid] == ["no_identifiers"]
    assert store.entered() == store.passed()
    assert balanced(store)


def test_giving_up_leaves_the_events_on_disk(home):
    """Nothing is lost by it: the next process finds them."""
    store = make(home)
    for number in range(12):
        store.put(event(number))
    store.take()

    assert store.give_up("exit") == 0
    assert store.counts().spooled == 12
    assert balanced(store)
    assert drained(make(home)) == list(range(12))


def test_a_forked_child_has_files_of_its_own(home):
    """Parent and child write and send apart; the child's end leaves the parent's."""
    store = make(home)
    store.put(event(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.after_fork()
            store.put(event(2))
            if drained(store) == [2]:
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    store.put(event(3))

    assert status == 0
    assert drained(store) == [1, 3]


def test_threads_that_fork_at_once_give_back_their_own_locks(home):
    """A fork that waited in vain leaves alone what another thread's fork holds."""
    store = make(home)
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
    assert drained(store) == [1, 2]


def test_locks_that_guard_nothing_are_removed(home):
    """What is left of files that are gone is cleared away, but not what is new."""
    store = make(home)
    store.put(event(1))
    old, new = home / "account-1-old.spool.lock", home / "account-2-new.spool.lock"
    for lock in (old, new):
        lock.touch()
    os.utime(old, (1.0, 1.0))
    make(home).has_more()

    assert not old.exists()
    assert new.exists()
    assert drained(store) == [1]


def test_files_that_cannot_be_read_are_not_dropped_for_room(home):
    """Damaged files and those of others are not deleted, however full it is."""
    for _ in range(3):
        left_behind(home, 40, max_bytes=100_000)
    oldest = files(home)[0]
    oldest.write_bytes(os.urandom(60_000))
    with sqlite3.connect(home / "account-1-foreign.spool") as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    for path in (oldest, home / "account-1-foreign.spool"):
        os.utime(path, (1.0, 1.0))
    make(home, max_bytes=40_000).has_more()

    assert (home / "account-1-foreign.spool").exists()
    assert oldest.exists() or list(home.glob(f"{oldest.name}.damaged"))


def test_a_damaged_leftover_does_not_harm_what_is_written(home):
    """A file that cannot make room is set aside; our own stays as it is."""
    left_behind(home, 200, max_bytes=100_000)
    said = Said()
    store = make(home, max_bytes=90_000, warn=said)
    assert store.has_more()
    (path,) = files(home)
    with open(path, "r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * (path.stat().st_size - 4096))
    for number in range(1000, 1300):
        store.put(event(number))

    counts = store.counts()
    assert counts.accepted == 300
    assert balanced(store)
    assert len(list(home.glob("*.damaged"))) <= 1
    own = [number for number in drained(store) if number >= 1000]
    assert len(own) + counts.dropped.get("spool_full", 0) == 300


def test_a_log_that_was_damaged_is_noticed(home, tmp_path):
    """What SQLite cannot read at the end of a killed process's log is not silent."""
    store = make(home)
    for number in range(60):
        store.put(event(number))
    killed = tmp_path / "killed"
    killed.mkdir(0o700)
    for path in home.iterdir():
        if not path.name.endswith((".lock", "-shm")):
            (killed / path.name).write_bytes(path.read_bytes())
    (log,) = killed.glob("*-wal")
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(whole)
    said = Said()
    other = make(killed, warn=said)

    found = drained(other)
    assert 5 < len(found) < 55
    assert found == list(range(len(found)))
    assert said.kinds == ["spool_damaged"]
    assert [path.name for path in killed.glob("*.damaged-wal")]


def test_a_file_deleted_while_in_use_is_written_again(home):
    """Whoever clears the directory away does not take the events with it."""
    said = Said()
    store = make(home, warn=said)
    for number in range(5):
        store.put(event(number))
    shutil.rmtree(home)
    store.put(event(5))
    assert len(files(home)) == 1
    shutil.rmtree(home)
    store.give_up("exit")

    assert said.kinds == ["spool_removed"] * 2
    assert drained(make(home)) == list(range(6))


def test_a_leftover_that_is_locked_is_looked_at_again(home):
    """What cannot be opened now is not given up for good."""
    left_behind(home, 5)
    now = [0.0]
    store = make(home, clock=lambda: now[0])
    with closing(sqlite3.connect(files(home)[0], isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("SELECT count(*) FROM events").fetchall()
        assert not store.has_more()
        other.execute("COMMIT")
    now[0] = 100.0

    assert drained(store) == list(range(5))


def test_a_directory_of_others_is_not_closed_to_them(tmp_path):
    """spool="/tmp" is refused, rather than taken away from everybody else."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "theirs").touch()
    said = Said()

    assert make(shared, warn=said).try_put(event(1)) is None
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert "holds other files" in said[0][1]


def test_events_of_no_account_are_bound_when_there_is_one(home):
    """Once the destination is known, nobody else takes what waits for it."""
    store = make(home, account=_directory.UNKNOWN)
    for number in range(3):
        store.put(event(number))
    store.belong_to("mine")
    store.give_up("exit")

    assert not make(home, account="another").has_more()
    assert drained(make(home, account="mine")) == [0, 1, 2]


def test_late_events_share_a_file(home):
    """Given up for each event of an exit callback, it leaves no file for each."""
    store = make(home)
    for number in range(20):
        store.put(event(number))
        store.give_up("exit")
    store.close()

    assert len(files(home)) <= 2
    assert store.counts().spooled == 20
    assert balanced(store)


def test_a_network_file_system_is_noticed(tmp_path):
    """The mount that a directory lies on is found among those of the system."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/data {tmp_path} nfs4 rw 0 0\n")

    assert _directory.is_network(tmp_path / "spool", mounts)
    assert not _directory.is_network(Path("/var"), mounts)
    said = Said()
    store = make(tmp_path / "spool", mounts=mounts, warn=said)
    for number in range(3):
        store.put(event(number))
    assert said.kinds == ["spool_network"]
    assert "name a local directory" in said[0][1]
    assert drained(store) == [0, 1, 2]
    assert not _directory.is_network(tmp_path, tmp_path / "none")
