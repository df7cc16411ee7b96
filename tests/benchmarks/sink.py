"""The benchmark's server: a process of its own that reads, counts and says 202.

Nothing of HTTP but what the clients here send: a POST with Content-Length, one after
the other over a kept connection. It reads a body of 150 KB in some 50 microseconds, so
that it is never what is measured; `limits.py` measures that.

    python -m tests.benchmarks.sink [--mode ok|hang|refuse]
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ANSWER = (
    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)
_TAKEN = _ANSWER % (
    b"202 Accepted",
    43,
    b'{"title":"Accepted","status":202,"a":"b" }\n',
)
_BUSY = _ANSWER % (b"503 Service Unavailable", 2, b"{}")


class Sink:
    """A running sink; made by `running`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"http://127.0.0.1:{port}"

    def counts(self) -> dict[str, Any]:
        """Return what came: events, requests, bytes, and CPU seconds of the sink."""
        with urlopen(f"{self.host}/counts", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def running(mode: str = "ok") -> Iterator[Sink]:
    """Run a sink for the length of a ``with`` block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sink", "--mode", mode],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Sink(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait(30)


class _Counter:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.events = self.requests = self.bytes = 0
        self.slowest = 0.0
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                while self._answer(connection):
                    pass
            except OSError:  # the client went away
                pass

    def _answer(self, connection: socket.socket) -> bool:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            more = connection.recv(65536)
            if not more:
                return False
            head += more
        began = time.perf_counter()
        start = head.index(b"\r\n\r\n") + 4
        if head.startswith(b"GET"):
            self._tell(connection)
            return False
        if self.mode == "hang":
            threading.Event().wait(600)
            return False
        found = _LENGTH.search(head, 0, start)
        length = int(found[1]) if found else 0
        body = bytearray(length)
        came = len(head) - start
        body[:came] = head[start:]
        view = memoryview(body)
        while came < length:
            size = connection.recv_into(view[came:])
            if not size:
                return False
            came += size
        with self._lock:
            self.requests += 1
            self.bytes += length
            self.slowest = max(self.slowest, time.perf_counter() - began)
            if self.mode == "ok":
                self.events += body.count(b'"identifiers":')
        connection.sendall(_TAKEN if self.mode == "ok" else _BUSY)
        return True

    def _tell(self, connection: socket.socket) -> None:
        found = {
            "events": self.events,
            "requests": self.requests,
            "bytes": self.bytes,
            "slowest_body": self.slowest,
            "cpu": time.process_time(),
        }
        told = json.dumps(found).encode()
        connection.sendall(_ANSWER % (b"200 OK", len(told), told))


def main() -> None:
    """Serve until killed; the port is the first line on stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="ok", choices=["ok", "hang", "refuse"])
    counter = _Counter(parser.parse_args().mode)
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=counter.serve, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main()
