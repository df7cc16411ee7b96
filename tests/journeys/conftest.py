"""Programs run on each CPython of this machine, against an emulator in this process."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from .pythons import FOUND, ROOT, Python, installed

if os.environ.get("CI") == "true" and len(FOUND) < 2:
    raise RuntimeError(
        "only the Python that runs these tests was found; CI needs another one, as"
        " python3.X on PATH or in ~/.pyenv/versions"
    )


@pytest.fixture(scope="session", params=list(FOUND))
def python(request: pytest.FixtureRequest) -> Python:
    """Each CPython of this machine, with what the package needs installed."""
    version, path = request.param, FOUND[request.param]
    if path == sys.executable:
        return Python(version, path)
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    cache = request.config.cache
    home = Path(str(cache.mkdir(f"journeys-{version}-{key}")))
    return Python(version, installed(path, home))


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
