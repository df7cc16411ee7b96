"""Damage to a file or its write-ahead log loses only the events it hits."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from odp_logging._events.delivery import Delivery
from odp_logging._stores.spool.errors import DamagedError
from odp_logging._stores.spool.reader import SpoolReader

from ..contract import event
from .spools import (
    Warnings,
    copy_as_killed,
    drain,
    list_files,
    make_spool,
)


@pytest.fixture(params=[False, True], ids=["first use", "later use"])
def log(directory: Path, request: pytest.FixtureRequest) -> Path:
    """The write-ahead log of a killed process: events 10 to 49 and a dead letter."""
    store = make_spool(directory)
    for number in range(45):
        store.put(event(number, fill="y" * (number * 37 % 400)))
        if number == 20 and request.param:
            with closing(sqlite3.connect(list_files(directory)[0])) as other:
                other.execute("PRAGMA wal_checkpoint(RESTART)")
    store.settle(store.take(), Delivery(10, rejected={3: "no"}))
    for number in range(45, 50):
        store.put(event(number))
    (path,) = copy_as_killed(directory).glob("*-wal")
    return path


def read_damaged(log: Path, content: bytes) -> tuple[list[int], list[str], list[str]]:
    """Return events, dead letters and warnings where the log has this *content*."""
    directory = log.parent.with_name("damaged")
    shutil.copytree(log.parent, directory)
    (directory / log.name).write_bytes(content)
    warnings = Warnings()
    store = make_spool(directory, warn=warnings)
    found = drain(store)
    store.close()
    dead: list[str] = []
    for path in list_files(directory):
        with SpoolReader(path) as reader:
            dead += [letter.reason for letter in reader.read_dead_letters()]
    shutil.rmtree(directory)
    return found, dead, warnings.kinds


def test_one_damaged_byte_of_a_log_costs_nothing(log):
    """Every event and dead letter is read, and no delivered one, at any offset."""
    intact = log.read_bytes()
    frames = (len(intact) - 32) // 4120
    chosen = random.Random(7)
    offsets = [*range(0, 32, 5), *(chosen.randrange(len(intact)) for _ in range(12))]
    for frame in (0, 9, 30, frames - 1):
        offsets += [32 + 4120 * frame + chosen.randrange(24) for _ in range(4)]
    for offset in offsets:
        content = bytearray(intact)
        content[offset] ^= chosen.randrange(1, 256)
        found, dead, _ = read_damaged(log, bytes(content))

        assert (found, dead) == (list(range(10, 50)), ["no"]), offset


def test_a_damaged_start_of_a_log_blocks_no_command(directory):
    """SQLite would retry for 10 seconds; the command reports it at once."""
    store = make_spool(directory)
    store.put(event(1))
    (path,) = list_files(directory)
    log = path.with_name(f"{path.name}-wal")
    content = bytearray(log.read_bytes())
    content[0] ^= 1
    log.write_bytes(content)
    before = time.monotonic()

    with pytest.raises(DamagedError, match="write-ahead log"):
        SpoolReader(path)
    assert time.monotonic() - before < 5


PUTTING = """
import itertools, sys
from pathlib import Path
from tests.stores.contract import event
from tests.stores.spool.spools import make_spool

store = make_spool(Path(sys.argv[1]))
for number in itertools.count():
    store.put(event(number))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_events_of_a_killed_process_survive_a_damaged_byte(directory, tmp_path):
    """Every event whose `put` returned is read, wherever the byte is."""
    chosen = random.Random(3)
    for kill in range(3):
        spool_directory = directory / str(kill)
        process = subprocess.Popen(
            [sys.executable, "-c", PUTTING, str(spool_directory)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(chosen.randrange(20, 300))]
        process.kill()
        count = 1 + int([*printed, *process.stdout][-1])
        process.stdout.close()
        process.wait(20)
        (log,) = spool_directory.glob("*-wal")
        intact = log.read_bytes()
        for attempt in range(7):
            copy = tmp_path / f"{kill}-{attempt}"
            shutil.copytree(spool_directory, copy)
            content = bytearray(intact)
            if attempt:
                content[chosen.randrange(len(intact))] ^= chosen.randrange(1, 256)
            (copy / log.name).write_bytes(content)
            warnings = Warnings()
            found = drain(make_spool(copy, warn=warnings))

            assert found in (list(range(count)), list(range(count + 1)))
            assert attempt or not warnings


def test_a_damaged_sector_of_a_log_loses_only_its_events(log):
    """The events on other pages are read; the file is renamed, with a warning."""
    intact = log.read_bytes()
    for offset in range(8192, len(intact) - 20_000, 20_480):
        content = intact[:offset] + bytes(512) + intact[offset + 512 :]
        found, _, warnings = read_damaged(log, content)

        lost = set(range(10, 50)) - set(found)
        assert len(lost) <= 5, offset
        assert set(found) <= set(range(50))
        assert warnings in ([], ["spool_damaged"])


def test_an_intact_log_causes_no_warning(log):
    """All events are read, and no file is renamed."""
    content = log.read_bytes()

    assert read_damaged(log, content) == (list(range(10, 50)), ["no"], [])
    cut = content[:-2000]  # the last commit was not finished
    assert read_damaged(log, cut) == (list(range(10, 49)), ["no"], [])


def test_the_log_of_a_killed_new_owner_is_intact(directory):
    """It overwrote the start of the log; older frames follow."""
    store = make_spool(directory)
    for number in range(60):
        store.put(event(number))
    copy = copy_as_killed(directory)
    for count in range(1, 4):
        new_owner = make_spool(copy)
        assert new_owner.has_more()
        new_owner.settle(new_owner.take(), Delivery(10))
        copy = copy_as_killed(copy)
        warnings = Warnings()
        second_copy = copy.with_name(f"copy-{count}")
        shutil.copytree(copy, second_copy)

        assert drain(make_spool(second_copy, warn=warnings)) == list(
            range(10 * count, 60)
        )
        assert warnings == []


@pytest.mark.parametrize("size", [1, 64, 4096])
def test_a_damaged_page_loses_only_its_events(log, size):
    """Both for pages with events and for pages that lead to them."""
    with closing(sqlite3.connect(log.with_name(log.name[:-4]))) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = log.with_name(log.name[:-4])
    intact = path.read_bytes()
    for page in range(len(intact) // 4096):
        path.write_bytes(
            intact[: 4096 * page] + b"\xff" * size + intact[4096 * page + size :]
        )
        found, _, warnings = read_damaged(log, b"")

        lost = set(range(10, 50)) - set(found)
        assert len(lost) <= (0 if page < 3 else 15), page
        assert set(found) <= set(range(10, 50))
        assert warnings == ["spool_damaged"] or not lost
