"""Where the flusher's time goes: CPU per event for each of its steps, in turn.

The steps are those of `Flusher.step`, made here by hand on one thread, so that nobody
competes for the interpreter: what is measured is work, not waiting.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from odp_logging import OdpHandler

from .figures import Figure
from .programs import has_fast, hide_fast, run
from .shop import on_root, purchase
from .sink import Sink, running

ROUNDS = 60
BATCHES = (100, 500)

REQUEST_SECONDS = 0.0002
"""CPU seconds that the floor of sending grants a request beyond the raw socket's."""


def measure() -> list[Figure]:
    """Return the figures of outcome 4."""
    figures: list[Figure] = []
    for batch in BATCHES:
        found = run("flusher", batch)
        whole = sum(found[step] for step in STEPS)
        name = f"the flusher's CPU per event, batch {batch}"
        figures.append(Figure(4, name, whole, "µs"))
        for step, what in STEPS.items():
            figures.append(Figure(4, f"- {what}", found[step], "µs", whole, "of all"))
    figures.append(_sending(found, batch))
    figures.append(_building(found["build"], found["json"], "json", 0.9))
    if has_fast():
        fast = run("flusher", batch, "fast")
        figures.append(_building(fast["build"], fast["json"], "`fast`", 0.45))
    return figures


def _sending(found: dict[str, float], batch: int) -> Figure:
    granted = REQUEST_SECONDS / batch * 1e6
    return Figure(
        4,
        f"sending, per event, batch {batch}",
        found["send"],
        "µs",
        found["raw"] + granted,
        f"a raw socket's send of the same body, {found['raw']:.3g},"
        f" and {REQUEST_SECONDS * 1000:g} ms a request",
        1.3,
    )


def _building(build: float, floor: float, encoder: str, target: float) -> Figure:
    name = f"building and encoding, {encoder}"
    against = "`json.dumps` of the same dict"
    return Figure(4, name, build, "µs", floor, against, target)


STEPS = {
    "build": "building and encoding: checks, an id, JSON, sizes and bounds",
    "send": "sending: one request over a kept connection",
    "settle": "settling: what became of each",
}


def main(batch: int, fast: bool) -> None:
    """Measure batches of that size and print microseconds per event."""
    if not fast:
        hide_fast()
    with running() as sink:
        handler = OdpHandler(
            api_key="key", api_host=sink.host, max_batch_size=batch, background=False
        )
        on_root(handler)
        flusher: Any = handler.client._destinations.flusher
        flusher._dispatcher.prepare()
        flusher._inline.try_once = lambda: None  # steps are made below
        took: dict[str, list[float]] = {}
        with _RawSocket(sink) as raw:
            for _ in range(ROUNDS):
                _round(flusher, raw, batch, took)
        assert sink.counts()["events"] == 2 * ROUNDS * batch
    print(json.dumps({step: median(each) for step, each in took.items()}))


def _round(
    flusher: Any, raw: _RawSocket, batch: int, took: dict[str, list[float]]
) -> None:
    store, transport = flusher.store, flusher._dispatcher._transport

    def timed(step: str, work: Callable[[], Any]) -> Any:
        sent_at = time.thread_time()
        result = work()
        took.setdefault(step, []).append((time.thread_time() - sent_at) / batch * 1e6)
        return result

    for _ in range(batch):
        purchase()
    taken = timed("build", store.take)
    bodies = [event.to_dict() for event in taken.events]
    timed("json", lambda: [json.dumps(body) for body in bodies])
    request = raw.build_request(b"[%s]" % b",".join([e.json for e in taken.events]))
    timed("raw", lambda: raw.send(request))
    delivery = timed("send", lambda: transport.send(taken))
    timed("settle", lambda: store.settle(taken, delivery))


class _RawSocket:
    """The least that a request can take: one write, and a read of the answer."""

    def __init__(self, sink: Sink) -> None:
        self._socket = socket.create_connection(("127.0.0.1", sink.port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> _RawSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def build_request(self, body: bytes) -> bytes:
        """Return head and body of a request."""
        head = f"POST /v3/events HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def send(self, request: bytes) -> None:
        """Send *request* and read the answer, whose last byte is a line feed."""
        self._socket.sendall(request)
        answer = b""
        while not answer.endswith(b"\n"):
            received = self._socket.recv(4096)
            assert received, "the sink closed the connection"
            answer += received


if __name__ == "__main__":
    main(int(sys.argv[1]), "fast" in sys.argv)
