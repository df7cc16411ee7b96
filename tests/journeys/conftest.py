"""Fixtures: each CPython of this machine, and an emulator in this process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from .pythons import FOUND, Python, prepare_python

if os.environ.get("CI") == "true" and len(FOUND) < 2:
    raise RuntimeError(
        "only the Python that runs these tests was found; CI needs another one, as"
        " python3.X on PATH or in ~/.pyenv/versions"
    )


@pytest.fixture(scope="session", params=list(FOUND))
def python(request: pytest.FixtureRequest) -> Python:
    """Each CPython of this machine, with what the package needs installed."""
    return prepare_python(
        request.param, Path(str(request.config.cache.mkdir("pythons")))
    )


@pytest.fixture
def refusing() -> str:
    """The URL of a port on which no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
