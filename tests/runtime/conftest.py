"""Fixtures for the tests of exit, forks and signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from odp_logging._runtime import process


@pytest.fixture
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test its own process state, apart from that of the test process."""
    monkeypatch.setattr(process, "state", process.ProcessState())


@pytest.fixture
def sigterm(fresh_state: None) -> Iterator[None]:
    """Set SIGTERM's default action, which no client has replaced; restore the old."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)
