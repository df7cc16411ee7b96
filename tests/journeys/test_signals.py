"""Signals at critical moments: no process hangs, and every loss is reported."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow


def test_sigterm_without_a_handler(python: Python, odp: Emulator) -> None:
    """With `handle_sigterm` off, SIGTERM ends the process at once."""
    ended = python.signal("wait_for_signal.py", odp.url, "off", signum=signal.SIGTERM)

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert get_numbers(odp) == []


def test_sigterm_at_once(python: Python, odp: Emulator) -> None:
    """SIGTERM right after the first log call delivers the events."""
    ended = python.run("wait_for_signal.py", odp.url, "at-once")

    assert (ended.status, ended.err) == (-signal.SIGTERM, "")
    assert get_numbers(odp) == [0, 1, 2]


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGQUIT])
def test_other_signals_that_end_a_process(
    python: Python, odp: Emulator, signum: signal.Signals
) -> None:
    """A closed terminal or a stopped container delivers the events, as SIGTERM does."""
    ended = python.signal("wait_for_signal.py", odp.url, signum=signum)

    assert (ended.status, ended.err) == (-signum, "")
    assert get_numbers(odp) == [0, 1, 2]


def test_other_signal_handlers_stay(python: Python, odp: Emulator) -> None:
    """A handler in C stays; a default action restored by asyncio is replaced."""
    ended = python.run("other_signal_handlers.py", odp.url)

    assert ended.status == -signal.SIGTERM
    assert "most recent call first" in ended.err  # from faulthandler
    assert get_numbers(odp) == [0, 1, 2]


def test_time_limits(python: Python, odp: Emulator) -> None:
    """A signal handler that raises within log calls leaves no lock held."""
    ended = python.run("time_limit.py", odp.url)

    assert (ended.status, ended.numbers) == (0, [10])
    numbers = [entry["event"]["data"]["n"] for entry in odp.events()]
    assert [number for number in numbers if number < 99] == list(range(10))
    assert odp.stats()["duplicates"] == 0


@pytest.mark.parametrize("how", ["signal", "async"])
@pytest.mark.parametrize("durability", ["", "crash"])
def test_interruptions_leave_no_lock_held(
    python: Python, odp: Emulator, tmp_path: Path, how: str, durability: str
) -> None:
    """Interrupting a log call, a flush or the stats leaves no lock held."""
    settings = {"spool": tmp_path / "spool", "durability": durability}
    given = {"api_key": "key", "api_host": odp.url, "flush_interval": 0.05}
    given |= settings if durability else {}
    ended = python.run("interrupted_locks.py", how, **given)

    assert (ended.status, ended.err) == (0, "")
    interrupted, left = ended.numbers
    assert interrupted > 100
    assert left == 0


def test_broken_stderr(python: Python, refusing: str) -> None:
    """SIGTERM ends the process even if the loss cannot be reported."""
    ended = python.signal("broken_stderr.py", refusing, signum=signal.SIGTERM)

    assert ended.status == -signal.SIGTERM
    assert "survived" not in ended.out


def test_ctrl_c_ends_the_wait_at_exit(python: Python, odp: Emulator) -> None:
    """Ctrl-C ends the wait at exit early, and the loss is reported."""
    odp.fault(latency=60)
    with python.start("end_with_pending.py", odp.url, "60") as running:
        assert running.read_line() == "ending"
        while running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(0.2)
        ended = running.end()

    assert ended.seconds < 20
    assert ended.err.count("exiting with 3 undelivered events") == 1


def test_ctrl_c_at_the_start_of_the_last_drain(python: Python, refusing: str) -> None:
    """After Ctrl-C at the start of the last drain, the loss is still reported."""
    ended = python.run("ctrl_c_at_exit.py", refusing)

    assert ended.status == 0
    assert "KeyboardInterrupt" in ended.err
    assert ended.err.count("exiting with 3 undelivered events") == 1


def test_sigterm_during_exit(python: Python, odp: Emulator) -> None:
    """SIGTERM during the exit ends the process after the loss was reported once."""
    odp.fault(latency=60)
    ended = python.signal(
        "end_with_pending.py", odp.url, "1.5", signum=signal.SIGTERM, at="ending"
    )

    assert ended.status == -signal.SIGTERM
    assert ended.err.count("exiting with 3 undelivered events") == 1
