"""What cannot be delivered outlives the process, and the next one sends it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .ledgers import Books
from .pythons import Python, numbers

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory for a spool."""
    return tmp_path / "spool"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may pass through."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


def left(home: Path) -> list[str]:
    """Return what lies in the spool."""
    return sorted(os.listdir(home)) if home.exists() else []


def delivered(odp: Emulator) -> list[int]:
    """Return the numbers of all accepted events, each once, sorted."""
    accepted = [each for each in odp.events() if each["status"] == "accepted"]
    return sorted({each["event"]["data"]["n"] for each in accepted})


@pytest.mark.parametrize("durability", ["exit", "crash"])
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 403}, {"drop": "before"}]
)
def test_down_at_exit(
    python: Python, odp: Emulator, home: Path, durability: str, fault: dict[str, Any]
) -> None:
    """With ODP down at the end of a process, the next one sends its events."""
    odp.fault(**fault)
    settings = {"spool": home, "durability": durability}
    first = python.run("spooled.py", odp.url, "0", "25", "return", **settings)
    odp.clear_faults()
    second = python.run("next.py", odp.url, **settings)

    assert first.status == 0
    assert "exiting with 25 undelivered events" in first.err
    assert "they are kept in the spool" in first.err
    assert (second.out, second.err) == ("25 0\n", "")
    assert numbers(odp) == list(range(25))
    assert left(home) == []


@pytest.mark.parametrize("durability", ["exit", "crash"])
def test_long_outage(
    python: Python, odp: Emulator, home: Path, durability: str
) -> None:
    """An outage far longer than the buffer loses nothing, and keeps the order."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": durability, "max_queue_size": 200}
    with python.start("outage.py", odp.url, "3000", **settings) as running:
        assert running.line() == "logged"
        odp.clear_faults()
        ended = running.end()

    assert (ended.status, ended.out) == (0, "3000 3000 0 0\n")
    assert numbers(odp) == list(range(3000))
    assert [each["event"]["data"]["n"] for each in odp.events()] == list(range(3000))
    assert left(home) == []


@pytest.mark.parametrize(("processes", "threads"), [("200", "1"), ("80", "4")])
def test_kill_storm(
    python: Python, odp: Emulator, home: Path, processes: str, threads: str
) -> None:
    """kill -9 loses no event whose log call had returned, with durability="crash".

    Nor where a call returned because another thread had committed its event.
    """
    settings = {"spool": home, "durability": "crash"}
    storm = python.run("kill_storm.py", odp.url, processes, "1", threads, **settings)
    after = python.run("next.py", odp.url, **settings)

    assert (storm.status, after.status) == (0, 0)
    assert len(storm.numbers) > 200
    assert set(storm.numbers) - set(delivered(odp)) == set()
    assert odp.stats()["rejected"] == 0
    # Who is killed as he removes a file that is empty leaves its lock, swept later.
    assert [name for name in left(home) if not name.endswith(".lock")] == []


def test_time_limits(python: Python, odp: Emulator, home: Path) -> None:
    """A signal handler that raises within commits harms no event of another thread."""
    settings = {"api_key": "key", "api_host": odp.url, "flush_interval": 0.05}
    with Books(odp) as books:
        ended = python.run(
            "commits.py", "4", **settings, spool=home, durability="crash"
        )

    assert (ended.status, ended.err) == (0, "")
    assert len(ended.out.split()) > 1000
    assert set(ended.out.split()) - books.accepted == set()
    assert books.twice == []
    assert left(home) == []


def test_shared(python: Python, odp: Emulator, home: Path) -> None:
    """What a parent and its child left, both killed, a new process delivers."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    both = python.run("shared.py", odp.url, **settings)
    odp.clear_faults()
    python.run("next.py", odp.url, **settings)

    assert both.status == -signal.SIGKILL
    assert numbers(odp) == [*range(20), *range(100, 120)]
    assert left(home) == []


def test_daemon(python: Python, odp: Emulator, home: Path) -> None:
    """A daemon that closes its parent's files harms neither them nor its own."""
    settings = {"spool": home, "durability": "crash"}
    ended = python.run("daemon.py", odp.url, **settings)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [*range(60), *range(100, 110)]
    assert left(home) == []


def test_two_programs(python: Python, odp: Emulator, home: Path) -> None:
    """Of what two killed programs left, two others send each event once."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    for first in ("0", "50"):
        python.run("spooled.py", odp.url, first, "50", "_exit", **settings)
    odp.clear_faults()
    with python.start("next.py", odp.url, **settings) as one:
        two = python.run("next.py", odp.url, **settings)
        sent = int(one.end().out.split()[0]) + int(two.out.split()[0])

    assert sent == 100
    assert numbers(odp) == list(range(100))
    assert left(home) == []


def test_adopters_die_too(python: Python, odp: Emulator, home: Path) -> None:
    """Whoever dies while it sends what others left, nothing of it is lost."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    storm = python.run("kill_storm.py", odp.url, "8", "2", **settings)
    odp.clear_faults()
    odp.fault(latency=0.02)
    for k in range(3):
        with python.start("next.py", odp.url, **settings) as adopter:
            odp.wait_for(unique=k * 50 + 1, timeout=10)
            adopter.process.kill()
    odp.clear_faults()
    last = python.run("next.py", odp.url, **settings)

    assert last.status == 0
    assert len(storm.numbers) > 100
    assert set(storm.numbers) - set(delivered(odp)) == set()
    assert left(home) == []


@pytest.mark.parametrize("durability", ["exit", "crash"])
@pytest.mark.parametrize("wrong", ["full", "read-only"])
def test_no_room(
    python: Python, odp: Emulator, public: Path, wrong: str, durability: str
) -> None:
    """Where nothing can be written, delivery goes on from memory, said once."""
    home = public / "spool"
    home.mkdir(0o500 if wrong == "read-only" else 0o700)
    ended = python.run("no_room.py", odp.url, str(home), durability, wrong)

    assert ended.status == 0
    assert ended.out == "599 599 0 0\n"
    assert ended.err.count(f"{home} cannot be used") == (durability == "crash")
    assert numbers(odp) == list(range(600))


def test_key(python: Python, odp: Emulator, home: Path) -> None:
    """No file of the spool holds the key."""
    odp.fault(status=503)
    settings = {"spool": home, "durability": "crash"}
    python.run("spooled.py", odp.url, "0", "25", "return", **settings)

    for name in left(home):
        assert b"key" not in (home / name).read_bytes()
        assert "key" not in name
