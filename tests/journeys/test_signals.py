"""Signals: delivered before the process dies, the application's handlers kept."""

from __future__ import annotations

import contextlib
import signal
import subprocess

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("how", "status", "count"),
    [
        ("", -signal.SIGTERM, 3),
        ("off", -signal.SIGTERM, 0),
        ("handled before", 7, 4),
        ("handled after", 7, 4),
    ],
)
def test_sigterm(
    python: Python, odp: Emulator, how: str, status: int, count: int
) -> None:
    """SIGTERM delivers and still kills; a handler of the application's is kept."""
    with python.start("wait.py", odp.url, how) as running:
        assert running.line() == "ready"
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert (status, "") == (ended.status, ended.err)
    assert list(range(count)) == numbers(odp)


def test_sigterm_at_once(python: Python, odp: Emulator) -> None:
    """SIGTERM right after the first log call delivers."""
    ended = python.run("wait.py", odp.url, "at once")

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert numbers(odp) == [0, 1, 2]


def test_sigint(python: Python, odp: Emulator) -> None:
    """Ctrl-C delivers and still kills."""
    with python.start("wait.py", odp.url, "warm") as running:
        assert running.line() == "ready"
        running.process.send_signal(signal.SIGINT)
        ended = running.end()

    assert ended.status == -signal.SIGINT
    assert ended.err.endswith("KeyboardInterrupt\n")
    assert numbers(odp) == [0, 1, 2, 3]


def test_sigterm_in_a_loop(python: Python, odp: Emulator) -> None:
    """SIGTERM in the middle of log calls delivers all that they logged, in order."""
    with python.start("loop.py", odp.url) as running:
        assert running.line() == "ready"
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    stats = odp.stats()
    assert 0 == stats["duplicates"] == stats["rejected"]
    assert stats["unique"] >= 100
    last = odp.events()[-1]["event"]["data"]["n"]
    assert last == stats["unique"] - 1


def test_collector(python: Python, odp: Emulator) -> None:
    """What a garbage collection logs is delivered, or rejected on our own thread."""
    ended = python.run("collector.py", odp.url)

    accepted, delivered, rejected = ended.numbers
    assert ended.status == 0
    assert accepted == delivered + rejected
    assert odp.stats()["unique"] == delivered
    assert odp.stats()["duplicates"] == 0


def test_time_limits(python: Python, odp: Emulator) -> None:
    """A signal handler that raises within log calls leaves no lock behind."""
    ended = python.run("time_limit.py", odp.url)

    assert (ended.status, ended.numbers) == (0, [10])
    events = [each["event"]["data"] for each in odp.events()]
    assert [each["n"] for each in events if each["n"] < 100] == list(range(10))
    assert odp.stats()["duplicates"] == 0


def test_broken_stderr(python: Python, refusing: str) -> None:
    """Whether or not the loss can be said, SIGTERM ends the process."""
    with python.start("broken_stderr.py", refusing) as running:
        assert running.line() == "ready"
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert ended.status == -signal.SIGTERM
    assert "survived" not in ended.out


def test_impatience(python: Python, odp: Emulator) -> None:
    """Ctrl-C cuts the wait at the end of a process short, and the loss is declared."""
    odp.fault(latency=60)
    with python.start("ending.py", odp.url, "60") as running:
        assert running.line() == "ending"
        while running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(0.2)
        ended = running.end()

    assert ended.seconds < 20
    assert ended.err.count("exiting with 3 undelivered events") == 1


def test_interrupted(python: Python, refusing: str) -> None:
    """Ctrl-C as the last drain begins leaves no loss undeclared."""
    ended = python.run("interrupted.py", refusing)

    assert ended.status == 0
    assert "KeyboardInterrupt" in ended.err
    assert ended.err.count("exiting with 3 undelivered events") == 1


def test_sigterm_at_the_end(python: Python, odp: Emulator) -> None:
    """SIGTERM while a process ends kills it, after its loss was declared once."""
    odp.fault(latency=60)
    with python.start("ending.py", odp.url, "1.5") as running:
        assert running.line() == "ending"
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert ended.status == -signal.SIGTERM
    assert ended.err.count("exiting with 3 undelivered events") == 1
