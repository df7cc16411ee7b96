"""The benchmark's server: a process of its own that reads, counts and says 202.

Nothing of HTTP but what the clients here send: a POST with Content-Length, one after
the other over a kept connection. It reads a body of 150 KB in some 50 microseconds, so
that it is never what is measured; `limits.py` measures that.

    python -m tests.benchmarks.sink [--mode ok|hang|refuse] [--marker TEXT]
        [--status N] [--delay SECONDS]
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
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ANSWER = (
    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)
_PACKED = re.compile(rb"(?i)\r\ncontent-encoding: *gzip")
_BODY = b'{"title":"Accepted","status":202,"code":200}\n'
"""What ODP says, and the ``code`` that Amplitude's client reads."""

_TIMED = 100_000
_BUSY = _ANSWER % (b"503 Service Unavailable", 2, b"{}")


class Sink:
    """A running sink; made by `running`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"http://127.0.0.1:{port}"

    def counts(self) -> dict[str, Any]:
        """
        Return what came: events, requests, bytes, and CPU seconds of the sink.

        ``bodies`` are the seconds from a request's first bytes to its last, sorted.
        """
        # No proxy of the environment's: it could not reach this machine.
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.host}/counts", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def running(
    mode: str = "ok",
    *,
    marker: str = '"identifiers":',
    status: int = 202,
    delay: float = 0.0,
) -> Iterator[Sink]:
    """
    Run a sink for the length of a ``with`` block.

    Args:
        mode: ``ok`` takes all, ``hang`` never answers, ``refuse`` says 503.
        marker: What each event's text holds once; the events are counted by it.
        status: The answer's, where a client takes no other for success.
        delay: Seconds from a request's last byte to its answer.
    """
    options = ["--mode", mode, "--marker", marker, "--status", str(status)]
    options += ["--delay", str(delay)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.sink", *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert process.stdout is not None
        yield Sink(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


class _Counter:
    def __init__(self, mode: str, marker: str, status: int, delay: float) -> None:
        self.mode = mode
        self.delay = delay
        self.marker = marker.encode()
        self.taken = _ANSWER % (b"%d OK" % status, len(_BODY), _BODY)
        self.events = self.requests = self.bytes = 0
        self.bodies: list[float] = []
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
            if len(self.bodies) < _TIMED:
                self.bodies.append(time.perf_counter() - began)
            if self.mode == "ok":
                if _PACKED.search(head, 0, start):
                    body = bytearray(zlib.decompress(body, zlib.MAX_WBITS | 16))
                self.events += body.count(self.marker)
        if self.delay:
            time.sleep(self.delay)
        connection.sendall(self.taken if self.mode == "ok" else _BUSY)
        return True

    def _tell(self, connection: socket.socket) -> None:
        found = {
            "events": self.events,
            "requests": self.requests,
            "bytes": self.bytes,
            "bodies": sorted(self.bodies),
            "cpu": time.process_time(),
        }
        told = json.dumps(found).encode()
        connection.sendall(_ANSWER % (b"200 OK", len(told), told))


def main() -> None:
    """Serve until killed; the port is the first line on stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="ok", choices=["ok", "hang", "refuse"])
    parser.add_argument("--marker", default='"identifiers":')
    parser.add_argument("--status", type=int, default=202)
    parser.add_argument("--delay", type=float, default=0.0)
    asked = parser.parse_args()
    counter = _Counter(asked.mode, asked.marker, asked.status, asked.delay)
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=counter.serve, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main()
