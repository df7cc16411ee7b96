"""Servers of real frameworks, against an emulator in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

from .servers import Server

Serve = Callable[..., Server]


@pytest.fixture
def serve(odp: Emulator, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server and waits until it answers; all are ended with the test."""
    with ExitStack() as stack:

        def start(command: str, **settings: Any) -> Server:
            server = Server(command, tmp_path, odp, **settings)
            stack.callback(server.close)
            server.wait_ready()
            return server

        yield start
