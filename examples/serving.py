"""What the web examples share: start a server, buy from it, stop it, count events."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from odp_logging.emulator import Emulator

SECONDS = 30


def tried(command: str, *, stop: signal.Signals = signal.SIGTERM, more: int = 0) -> int:
    """
    Serve with *command*, make three requests, stop; return 0 if all events arrived.

    Args:
        command: What comes after ``python``, with ``{port}`` for the port.
        stop: The signal that ends it.
        more: How many events it logs besides one for each request.
    """
    with Emulator() as odp:
        print(f"ODP emulator {odp.page}")
        with _serving(command, odp.url) as (server, port):
            for number in range(3):
                _request(port, "POST", f"/buy/shirt?user=user{number}")
            server.send_signal(stop)
            server.wait(SECONDS)
        print(f"python {command.format(port=port)}: stopped by {stop.name}")
        stats = odp.stats()
        print(f"delivered {stats['unique']} of {3 + more}")
        return 0 if (stats["unique"], stats["duplicates"]) == (3 + more, 0) else 1


@contextlib.contextmanager
def _serving(command: str, odp: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the server on a free port, in this folder, until the block is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, *command.format(port=port).split()],
        cwd=Path(__file__).parent,
        env={**os.environ, "ODP_API_KEY": "test", "ODP_API_HOST": odp},
        stdout=subprocess.DEVNULL,  # its banners; its errors are shown below
        stderr=subprocess.PIPE,
    )
    try:
        _wait_until_ready(server, port)
        yield server, port
    finally:
        server.kill()  # nothing if it has ended
        said = server.communicate()[1].decode(errors="replace")
        if "Traceback" in said or "Error" in said:
            print(said, file=sys.stderr)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(SECONDS * 10):
        with contextlib.suppress(ConnectionRefusedError):
            return _request(port, "GET", "/")
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"the server ended with {server.wait(0.1)}")
    raise RuntimeError(f"the server did not answer for {SECONDS} s")


def _request(port: int, method: str, path: str) -> None:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, SECONDS)) as http:
        http.request(method, path)
        status = http.getresponse().status
    if status != 200:
        raise RuntimeError(f"{method} {path} was answered {status}")
