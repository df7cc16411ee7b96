"""dictConfig, applied again with events pending, returns at once and loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, numbers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("interval", ["60", "0.01"])
def test_answering(python: Python, odp: Emulator, interval: str) -> None:
    """With ODP up, the second dictConfig takes no time and all is delivered."""
    ended = python.run("configure.py", odp.url, interval)

    assert (ended.status, ended.err) == (0, "")
    assert float(ended.out) < 0.1
    assert list(range(6)) == numbers(odp)


def test_hanging(python: Python, odp: Emulator) -> None:
    """With ODP hanging, the second dictConfig takes no time and nothing is lost."""
    odp.fault(latency=1.0, keep=True, count=1)

    ended = python.run("configure.py", odp.url, "0")

    assert (ended.status, ended.err) == (0, "")
    assert float(ended.out) < 0.1
    assert list(range(6)) == numbers(odp)


def test_leftovers(python: Python, odp: Emulator, tmp_path: Path) -> None:
    """Where an earlier process left events, no other thread imports meanwhile.

    Loggers are made by what it imports, and dictConfig holds the lock that this takes.
    """
    settings = {"spool": tmp_path / "spool", "api_host": odp.url}
    odp.fault(status=503)
    python.run("spooled.py", odp.url, "0", "5", "return", **settings)
    odp.clear_faults()
    ended = python.run("configure_leftovers.py", **settings)

    assert (ended.status, ended.err) == (0, "")
    assert ended.out == "[]\n"
    assert odp.wait_for(5)
