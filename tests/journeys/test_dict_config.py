"""dictConfig, applied again with pending events, returns at once and loses none."""

from __future__ import annotations

from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import Python, get_numbers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("interval", ["60", "0.01"])
def test_answering(python: Python, odp: Emulator, interval: str) -> None:
    """With ODP up, the second dictConfig returns at once; all events are delivered."""
    ended = python.run("configure.py", odp.url, interval)

    assert (ended.status, ended.err) == (0, "")
    assert float(ended.out) < 0.1
    assert list(range(6)) == get_numbers(odp)


def test_hanging(python: Python, odp: Emulator) -> None:
    """With ODP hanging, the second dictConfig returns at once and no event is lost."""
    odp.fault(latency=1.0, keep=True, count=1)

    ended = python.run("configure.py", odp.url, "0")

    assert (ended.status, ended.err) == (0, "")
    assert float(ended.out) < 0.1
    assert list(range(6)) == get_numbers(odp)


def test_leftovers(python: Python, odp: Emulator, tmp_path: Path) -> None:
    """With events of an earlier process, no other thread imports during dictConfig.

    Imported modules create loggers, which needs the lock that dictConfig holds.
    """
    settings = {"spool": tmp_path / "spool", "api_host": odp.url}
    odp.fault(status=503)
    python.run("log_to_spool.py", odp.url, "0", "5", "return", **settings)
    odp.clear_faults()
    ended = python.run("configure_leftovers.py", **settings)

    assert (ended.status, ended.err) == (0, "")
    assert ended.out == "[]\n"
    assert odp.wait_for(5)
