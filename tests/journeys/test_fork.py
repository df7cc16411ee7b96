"""Each event is delivered exactly once, by the process that logged it."""

from __future__ import annotations

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["exit", "_exit"])
def test_fork(python: Python, odp: Emulator, how: str) -> None:
    """A child of os.fork delivers its events, and leaves its parent's to the parent."""
    ended = python.run("fork.py", odp.url, how)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
def test_multiprocessing(python: Python, odp: Emulator, kind: str, method: str) -> None:
    """Processes of `multiprocessing` deliver their events, however they are started."""
    ended = python.run("processes.py", odp.url, kind, method)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0, 1, 2, 3]


def test_silent_fork(python: Python, odp: Emulator) -> None:
    """After a fork that ran no hooks, what is logged is delivered."""
    ended = python.run("silent_fork.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0, 1, 2]
