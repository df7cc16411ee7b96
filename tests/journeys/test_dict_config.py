"""dictConfig, applied again with events pending, returns at once and loses nothing."""

from __future__ import annotations

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
