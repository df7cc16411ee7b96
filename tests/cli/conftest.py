"""The command ``odp-logging`` as a process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "odp_logging"]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts the command, which is ended after the test."""
    processes: list[subprocess.Popen[str]] = []

    def start_command(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_command
    for process in processes:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def used_port() -> Iterator[int]:
    """Return a port that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def fetch_stats(page: str) -> Any:
    """Return the counts of the emulator with the page at *page*."""
    address = page.replace("/?", "/_emulator/stats?")
    with urllib.request.urlopen(address, timeout=10) as response:
        return json.load(response)
