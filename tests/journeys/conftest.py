"""Programs run on each CPython of this machine, against an emulator in this process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import FOUND, Python, ready

if os.environ.get("CI") == "true" and len(FOUND) < 2:
    raise RuntimeError(
        "only the Python that runs these tests was found; CI needs another one, as"
        " python3.X on PATH or in ~/.pyenv/versions"
    )


@pytest.fixture(scope="session", params=list(FOUND))
def python(request: pytest.FixtureRequest) -> Python:
    """Each CPython of this machine, with what the package needs installed."""
    return ready(request.param, Path(str(request.config.cache.mkdir("pythons"))))


@pytest.fixture
def odp() -> Iterator[Emulator]:
    """An emulator that outlives the programs."""
    with Emulator() as running:
        yield running


@pytest.fixture
def refusing() -> str:
    """The address of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
