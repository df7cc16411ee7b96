"""Signals at bad moments: nothing hangs, and every loss is declared."""

from __future__ import annotations

import contextlib
import signal
import subprocess

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow


def test_sigterm_left_alone(python: Python, odp: Emulator) -> None:
    """With `handle_sigterm` off, SIGTERM kills at once."""
    with python.start("wait.py", odp.url, "off") as running:
        assert running.line() == "ready"
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert numbers(odp) == []


def test_sigterm_at_once(python: Python, odp: Emulator) -> None:
    """SIGTERM right after the first log call delivers."""
    ended = python.run("wait.py", odp.url, "at once")

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert numbers(odp) == [0, 1, 2]


def test_time_limits(python: Python, odp: Emulator) -> None:
    """A signal handler that raises within log calls leaves no lock behind."""
    ended = python.run("time_limit.py", odp.url)

    assert (ended.status, ended.numbers) == (0, [10])
    events = [each["event"]["data"] for each in odp.events()]
    assert [each["n"] for each in events if each["n"] < 99] == list(range(10))
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
