"""Each event is delivered exactly once, by the process that logged it."""

from __future__ import annotations

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow


def test_silent_fork(python: Python, odp: Emulator) -> None:
    """After a fork that ran no hooks, what is logged is delivered."""
    ended = python.run("silent_fork.py", odp.url)

    assert (ended.status, ended.err) == (0, "")
    assert numbers(odp) == [0, 1, 2]
