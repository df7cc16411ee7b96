"""Damaged, foreign and hostile files are recovered, left alone or set aside."""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from odp_logging._cli.main import main
from odp_logging._stores.spool.reader import SpoolReader

from ..contract import DEEP, balanced, event
from .spools import (
    Warnings,
    drain,
    leave_orphaned_events,
    list_files,
    make_spool,
)


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "schema"])
def test_a_damaged_orphaned_file_is_renamed(directory, damage):
    """It causes one warning and is not deleted; its readable events are sent."""
    count = 200 if damage == "cut" else 3
    leave_orphaned_events(directory, count)
    path = list_files(directory)[0]
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(os.urandom(5000))
    elif damage == "empty":
        path.write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    elif damage == "cut":
        path.write_bytes(content[:-4096])
    else:
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("DROP TABLE events")
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    store.put(event(1000))

    found = drain(store)
    assert 1000 in found
    assert warnings.kinds == ["spool_damaged"]
    assert list(directory.glob("*.damaged"))
    if damage == "cut":
        assert len(found) > 100
        assert set(found) < {*range(count), 1000}


def test_a_foreign_database_is_left_alone(directory):
    """Another program's file is not touched, and neither is a newer version's."""
    leave_orphaned_events(directory, 1)
    with closing(sqlite3.connect(list_files(directory)[0])) as newer, newer:
        newer.execute("PRAGMA user_version = 2")
    with (
        closing(sqlite3.connect(directory / "account-1-foreign.spool")) as foreign,
        foreign,
    ):
        foreign.execute("CREATE TABLE theirs (x)")
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)

    assert not store.has_more()
    assert [kind.partition(":")[0] for kind in warnings.kinds] == ["spool_foreign"] * 2
    assert len(list_files(directory)) == 2


VIEW = """
    ALTER TABLE events RENAME TO others;
    CREATE VIEW events AS WITH RECURSIVE c(number) AS (
        SELECT 1 UNION ALL SELECT number + 1 FROM c
    ) SELECT number, zeroblob(9) AS body, 0 AS checksum FROM c;
"""


TRIGGER = """
    CREATE TRIGGER t AFTER DELETE ON events BEGIN
        INSERT INTO events VALUES (old.number + 1000, old.body, old.checksum);
    END;
"""


GENERATED = """
    DROP TABLE dead;
    CREATE TABLE dead (
        number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL,
        reason TEXT NOT NULL, buried REAL AS (hex(zeroblob(1000000000)))
    );
"""


def run_sql(script: str) -> Any:
    """Return a function that runs *script* on a spool file."""

    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as other:
            other.executescript(script)

    return run


def make_endless(path: Path) -> None:
    """Make the pages of the events lead to the same page, 300 ** 4 times."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = path.read_bytes()
    leaf = pages[4096:8192]
    inner = []
    for child in (4, 5, 6, 7):
        cells = b"".join(child.to_bytes(4, "big") + b"\1" for _ in range(300))
        first = 4096 - len(cells)
        pointers = b"".join((first + 5 * n).to_bytes(2, "big") for n in range(300))
        head = b"\5\0\0" + (300).to_bytes(2, "big") + first.to_bytes(2, "big") + b"\0"
        head += child.to_bytes(4, "big") + pointers
        inner.append(head.ljust(first, b"\0") + cells)
    first_page = bytearray(pages[:4096])
    first_page[28:32] = (7).to_bytes(4, "big")
    content = [bytes(first_page), inner[0], pages[8192:12288], *inner[1:], leaf]
    path.write_bytes(b"".join(content))


def put_pipe(path: Path) -> None:
    """Put a named pipe in the place of the write-ahead log."""
    os.mkfifo(path.with_name(f"{path.name}-wal"))


@pytest.mark.parametrize(
    "change",
    [run_sql(VIEW), run_sql(TRIGGER), run_sql(GENERATED), make_endless, put_pipe],
    ids=["view", "trigger", "generated", "endless pages", "pipe"],
)
def test_a_hostile_file_is_renamed(directory, change, capsys):
    """It blocks neither delivery nor a command, and runs no code."""
    leave_orphaned_events(directory, 3)
    (path,) = list_files(directory)
    change(path)
    before = path.read_bytes()
    assert main(["spool", "status", "--spool", str(directory)]) == 0
    status = capsys.readouterr().out.splitlines()[0]
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    store.put(event(1000))

    assert drain(store) == [1000]
    assert warnings.kinds == ["spool_quarantined"]
    (aside,) = directory.glob("*.quarantined")
    assert aside.read_bytes() == before
    assert "unreadable: " in status


def test_a_database_of_another_program_is_not_changed(directory):
    """It is not switched to a write-ahead log; nothing is written to it."""
    directory.mkdir(0o700)
    path = directory / "account-1-foreign.spool"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.executescript("PRAGMA application_id = 7; CREATE TABLE theirs (x);")
    before = path.read_bytes()
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)

    assert not store.has_more()
    assert warnings.kinds == [f"spool_foreign:{path.name}"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("body", "checksum"),
    [
        (DEEP, zlib.crc32(DEEP)),
        ("text", 0),
        (5, "no number"),
        (b"\xff", 2.5),
        (b'{"type":"t","action":"a","identifiers":{"f":1},"data":{}}', 4035270862),
    ],
)
def test_a_row_of_another_kind_becomes_a_dead_letter(directory, body, checksum):
    """The events beside it are sent."""
    leave_orphaned_events(directory, 3)
    (path,) = list_files(directory)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO events VALUES (0, ?, ?)", (body, checksum))
        if isinstance(body, str):
            other.execute("UPDATE events SET body = CAST(x'ff' AS TEXT) WHERE number=0")
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)

    assert drain(store) == [0, 1, 2]
    assert warnings.kinds == ["spool_damaged"]
    with SpoolReader(path) as reader:
        (letter,) = reader.read_dead_letters()
    assert letter.reason in ("no event", "damaged on disk")


def test_a_flipped_bit_is_detected(directory):
    """An event whose checksum does not fit is never sent, and becomes a dead letter."""
    leave_orphaned_events(directory, 3)
    path = list_files(directory)[0]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":9'))
    warnings = Warnings()

    assert drain(make_spool(directory, warn=warnings)) == [0, 2]
    assert warnings.kinds == ["spool_damaged"]
    assert len(list_files(directory)) == 1


def test_events_after_a_batch_of_damaged_ones_are_sent(directory):
    """An orphaned file whose first batch is damaged is not taken for an empty one."""
    leave_orphaned_events(directory, 15)
    (path,) = list_files(directory)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE events SET checksum = checksum + 1 WHERE number <= 12")

    assert drain(make_spool(directory)) == [12, 13, 14]


def test_a_damaged_orphaned_file_does_not_change_the_own_file(directory):
    """A file that cannot be shrunk is renamed; the own file stays unchanged."""
    leave_orphaned_events(directory, 200, max_bytes=100_000)
    warnings = Warnings()
    store = make_spool(directory, max_bytes=90_000, warn=warnings)
    assert store.has_more()
    (path,) = list_files(directory)
    with open(path, "r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * (path.stat().st_size - 4096))
    for number in range(1000, 1300):
        store.put(event(number))

    counts = store.counts()
    assert counts.accepted == 300
    assert balanced(store)
    assert len(list(directory.glob("*.damaged"))) <= 1
    own = [number for number in drain(store) if number >= 1000]
    assert len(own) + counts.dropped.get("spool_full", 0) == 300
