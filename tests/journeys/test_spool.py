"""Undelivered events outlive their process, and the next process sends them."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from ..waiting import until
from .ledger_follower import LedgerFollower
from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow


def wait_until_answered() -> None:
    """
    Wait until the emulator has answered the requests of processes that have ended.

    It would accept a request that it reads after `clear_faults`, and the next process
    sends the same events again.
    """

    def is_idle() -> bool:
        names = [thread.name for thread in threading.enumerate()]
        return "odp-emulator-connection" not in names

    until(is_idle, "closed connections")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may traverse."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def list_spool(home: Path) -> list[str]:
    """Return the names of the files in the spool."""
    return sorted(os.listdir(home)) if home.exists() else []


def get_delivered(odp: Emulator) -> list[int]:
    """Return the distinct numbers of all accepted events, sorted."""
    accepted = [entry for entry in odp.events() if entry["status"] == "accepted"]
    return sorted({entry["event"]["data"]["n"] for entry in accepted})


@pytest.mark.parametrize("durability", ["exit", "crash"])
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 403}, {"drop": "before"}]
)
def test_down_at_exit(
    python: Python, odp: Emulator, home: Path, durability: str, fault: dict[str, Any]
) -> None:
    """With ODP down at the end of a process, the next process sends its events."""
    odp.fault(**fault)
    settings = {"spool": home, "durability": durability}
    first = python.run("log_to_spool.py", odp.url, "0", "25", "return", **settings)
    wait_until_answered()
    odp.clear_faults()
    second = python.run("send_leftovers.py", odp.url, **settings)

    assert first.status == 0
    assert "exiting with 25 undelivered events" in first.err
    assert "they are kept in the spool" in first.err
    assert (second.out, second.err) == ("25 0\n", "")
    assert get_numbers(odp) == list(range(25))
    assert list_spool(home) == []


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_long_outage(
    python: Python, odp: Emulator, home: Path, durability: str
) -> None:
    """An outage that overflows the buffer many times loses no event and keeps order."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": durability, "max_queue_size": 200}
    with python.start("log_through_outage.py", odp.url, "3000", **settings) as running:
        assert running.read_line() == "logged"
        odp.clear_faults()
        ended = running.end()

    assert (ended.status, ended.out) == (0, "3000 3000 0 0\n")
    assert get_numbers(odp) == list(range(3000))
    assert [each["event"]["data"]["n"] for each in odp.events()] == list(range(3000))
    assert list_spool(home) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("processes", "threads"), [("80", "1"), ("80", "4")])
def test_kill_storm(
    python: Python, odp: Emulator, home: Path, processes: str, threads: str
) -> None:
    """With durability="crash", kill -9 loses no event after its log call has returned.

    This includes events that another thread has committed.
    """
    settings = {"spool": home, "durability": "crash"}
    storm = python.run("kill_storm.py", odp.url, processes, "1", threads, **settings)
    # The files of all processes, one after the other: 3 s, or 50 on a busy disk.
    after = python.run("send_leftovers.py", odp.url, limit=170, **settings)

    assert (storm.status, after.status) == (0, 0)
    assert len(storm.numbers) > 200
    assert after.out.endswith(" 0\n")
    assert set(storm.numbers) - set(get_delivered(odp)) == set()
    assert odp.stats()["rejected"] == 0
    # A process killed while it removes an empty file leaves the lock, removed later.
    assert [name for name in list_spool(home) if not name.endswith(".lock")] == []


def test_time_limits(python: Python, odp: Emulator, home: Path) -> None:
    """A signal handler that raises within a commit loses no event of other threads."""
    settings = {"api_key": "key", "api_host": odp.url, "flush_interval": 0.05}
    with LedgerFollower(odp) as follower:
        ended = python.run(
            "interrupted_commits.py", "4", **settings, spool=home, durability="crash"
        )

    assert (ended.status, ended.err) == (0, "")
    assert len(ended.out.split()) > 1000
    assert set(ended.out.split()) - follower.accepted == set()
    assert follower.repeated == []
    assert list_spool(home) == []


def test_a_killed_parent_and_its_killed_child(
    python: Python, odp: Emulator, home: Path
) -> None:
    """A new process delivers the events of a killed parent and its killed child."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    both = python.run("shared_spool.py", odp.url, **settings)
    wait_until_answered()
    odp.clear_faults()
    python.run("send_leftovers.py", odp.url, **settings)

    assert both.status == -signal.SIGKILL
    assert get_numbers(odp) == [*range(20), *range(100, 120)]
    assert list_spool(home) == []


def test_a_daemon_keeps_spools_intact(
    python: Python, odp: Emulator, home: Path
) -> None:
    """A daemon that closes its parent's files damages neither those nor its own."""
    settings = {"spool": home, "durability": "crash"}
    ended = python.run("daemon_with_files.py", odp.url, **settings)

    assert (ended.status, ended.err) == (0, "")
    assert get_numbers(odp) == [*range(60), *range(100, 110)]
    assert list_spool(home) == []


def test_two_programs(python: Python, odp: Emulator, home: Path) -> None:
    """Two programs send the events of two killed programs, each event once."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    for number in ("0", "50"):
        python.run("log_to_spool.py", odp.url, number, "50", "_exit", **settings)
    wait_until_answered()
    odp.clear_faults()
    with python.start("send_leftovers.py", odp.url, **settings) as first:
        second = python.run("send_leftovers.py", odp.url, **settings)
        sent = int(first.end().out.split()[0]) + int(second.out.split()[0])

    assert sent == 100
    assert get_numbers(odp) == list(range(100))
    assert list_spool(home) == []


def test_killed_adopters_lose_no_event(
    python: Python, odp: Emulator, home: Path
) -> None:
    """Orphaned events are not lost if the processes that send them are killed, too."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    storm = python.run("kill_storm.py", odp.url, "8", "2", **settings)
    odp.clear_faults()
    odp.fault(latency=0.02)
    for index in range(3):
        with python.start("send_leftovers.py", odp.url, **settings) as adopter:
            odp.wait_for(unique=index * 50 + 1, timeout=10)
            adopter.process.kill()
    odp.clear_faults()
    last = python.run("send_leftovers.py", odp.url, **settings)

    assert last.status == 0
    assert len(storm.numbers) > 100
    assert set(storm.numbers) - set(get_delivered(odp)) == set()
    assert list_spool(home) == []


@pytest.mark.parametrize("durability", ["exit", "crash"])
@pytest.mark.parametrize("problem", ["full", "read-only"])
def test_a_spool_that_is_not_writable(
    python: Python, odp: Emulator, public: Path, problem: str, durability: str
) -> None:
    """If the spool is not writable, delivery goes on from memory, reported once."""
    home = public / "spool"
    home.mkdir(0o500 if problem == "read-only" else 0o700)
    ended = python.run("unwritable_spool.py", odp.url, str(home), durability, problem)

    assert ended.status == 0
    assert ended.out == "599 599 0 0\n"
    # A full disk is noticed with the first write, a directory when a client is built.
    is_noticed = durability == "crash" or problem == "read-only"
    assert ended.err.count(f"{home} cannot be used") == is_noticed
    assert get_numbers(odp) == list(range(600))


def test_no_spool_file_holds_the_key(python: Python, odp: Emulator, home: Path) -> None:
    """No file of the spool holds the key."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    python.run("log_to_spool.py", odp.url, "0", "25", "return", **settings)

    for name in list_spool(home):
        assert b"key" not in (home / name).read_bytes()
        assert "key" not in name
