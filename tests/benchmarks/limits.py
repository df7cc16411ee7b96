"""What the benchmark's server takes, and that no request of ours waits for nothing.

Some senders that post large bodies over a kept connection wait 40 to 400 ms in a
request (a delayed acknowledgement between two small segments, a convoy on the
interpreter's lock). Here each request of a client under load is timed, in several
processes, for some runs of a program may fall into that trap while others do not.

    python -m tests.benchmarks.limits pour PORT REQUESTS
    python -m tests.benchmarks.limits drain|busy|bare HOST
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import requests

from odp_logging import OdpEvent, OdpHandler

from . import shop, sink
from .figures import Figure
from .programs import run

_BATCH = 500
_REQUESTS = 2_000
_DRAINED = 30_000
_WHILE_LOGGING = 50
_LONGEST = 10.0
_ROUNDS = 5
_TRAP = 40.0
"""Milliseconds: Linux delays an acknowledgement by so many."""


def measure() -> list[Figure]:
    """Return what the server takes, and how long a request of ours waits."""
    drained, bodies = _requests("drain")
    busy, more = _requests("busy")
    bare, _ = _requests("bare")
    return [
        _taken(max(each["rate"] for each in drained)),
        _waits_alone(drained),
        _waits_while_logging(busy, bare),
        _between_segments(sorted([*bodies, *more])),
    ]


def _taken(rate: float) -> Figure:
    with sink.running() as server:
        found = run("limits", "pour", server.port, _REQUESTS)
        counts = server.counts()
    assert counts["events"] == _REQUESTS * _BATCH
    return Figure(
        3,
        "what the server takes: prebuilt bodies of 500 events, a raw socket",
        _REQUESTS * _BATCH / found["seconds"],
        "events per second",
        rate,
        "odp_logging at its fastest here",
        5.0,
        ">=",
        note=f"{counts['cpu'] / counts['requests'] * 1e6:.0f} µs of its CPU a request",
    )


def _between_segments(bodies: list[float]) -> Figure:
    return Figure(
        3,
        f"first byte to last of a request, as the server saw {len(bodies):,}; p99",
        bodies[len(bodies) * 99 // 100] * 1000,
        "ms",
        target=_TRAP,
        absolute=True,
        note=f"longest {bodies[-1] * 1000:.1f} ms",
    )


def _requests(what: str) -> tuple[list[dict[str, Any]], list[float]]:
    found, bodies = [], []
    for _ in range(_ROUNDS):
        with sink.running() as server:
            found.append(run("limits", what, server.host))
            bodies += server.counts()["bodies"]
    return found, bodies


def _waits_alone(rounds: list[dict[str, Any]]) -> Figure:
    waits = [sorted(each["waits"]) for each in rounds]
    whole = max(median(each["seconds"]) for each in rounds)
    return Figure(
        3,
        f"time that a request of {_BATCH} events waits, not computing, while no other"
        f" thread runs; p90, median of {_ROUNDS} processes",
        median([each[len(each) * 9 // 10] for each in waits]) * 1000,
        "ms",
        target=_TRAP,
        absolute=True,
        note=f"p50 of the slowest process {max(map(median, waits)) * 1000:.1f} ms,"
        f" {whole * 1000:.1f} with all that is computed for it",
    )


def _waits_while_logging(
    rounds: list[dict[str, Any]], bare: list[dict[str, Any]]
) -> Figure:
    waits = [median(each["waits"]) for each in rounds]
    return Figure(
        3,
        "the same while a thread logs without pause; p50, median of"
        f" {_ROUNDS} processes",
        median(waits) * 1000,
        "ms",
        median([median(each["waits"]) for each in bare]) * 1000,
        "a thread that posts a ready body with requests.Session beside a thread that"
        " logs to a NullHandler",
        _TRAP,
        absolute=True,
        note=f"{min(waits) * 1000:.1f} to {max(waits) * 1000:.1f} ms",
    )


# The programs that are measured.


def build_ready_body() -> bytes:
    """Return the JSON of 500 events."""
    made = shop.fields()
    event = OdpEvent(made["odp_action"], made["odp_identifiers"], data=made["odp_data"])
    return b"[" + b",".join([event.json] * _BATCH) + b"]"


def pour(port: int, count: int) -> dict[str, float]:
    """Send a ready body again and again over a raw socket."""
    body = build_ready_body()
    head = f"POST /v3/events HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for _ in range(count):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += connection.recv(4096)
        return {"seconds": time.perf_counter() - began}


def send(host: str, *, at_once: bool) -> dict[str, Any]:
    """
    Return the seconds between deliveries, and how many of them the thread waited.

    Args:
        at_once: Whether everything waits before the first request; else this thread
            goes on logging while requests are made.
    """
    ends: list[tuple[float, float]] = []
    handler = OdpHandler(
        None if at_once else "key",
        api_host=host,
        max_batch_size=_BATCH,
        max_parallel_requests=1,  # so that each delivery is that of one request
        max_queue_size=_DRAINED if at_once else 10_000,
        max_queue_bytes=2**30,
        on_delivery=lambda _: ends.append((time.perf_counter(), time.thread_time())),
    )
    logging.getLogger("odp_logging").addHandler(logging.NullHandler())
    shop.on_root(handler)
    if at_once:
        for _ in range(_DRAINED):
            shop.purchase()
        handler.client.configure("key", api_host=host)
        handler.client.flush(60)
    until = time.monotonic() + _LONGEST
    while len(ends) < _WHILE_LOGGING and time.monotonic() < until:
        shop.purchase()
    pairs = list(pairwise(ends[:]))
    seconds = [later[0] - earlier[0] for earlier, later in pairs]
    handler.client.close(60)
    return {
        "seconds": seconds,
        "waits": _waits(pairs),
        "rate": _BATCH * len(pairs) / sum(seconds),
    }


def bare(host: str) -> dict[str, Any]:
    """Return how long requests of a ready body wait beside a thread that logs."""
    body, ends = build_ready_body(), [(0.0, 0.0)]

    def post() -> None:
        session = requests.Session()
        while len(ends) <= _WHILE_LOGGING:
            session.post(f"{host}/v3/events", data=body)
            ends.append((time.perf_counter(), time.thread_time()))

    shop.on_root(logging.NullHandler())
    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    until = time.monotonic() + _LONGEST
    while len(ends) <= _WHILE_LOGGING and time.monotonic() < until:
        shop.purchase()
    return {"waits": _waits(list(pairwise(ends[1:])))}


def _waits(pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> Any:
    return [later[0] - earlier[0] - (later[1] - earlier[1]) for earlier, later in pairs]


def main() -> None:
    """Do what the command line says; print what was measured."""
    what, where, *rest = sys.argv[1:]
    if what == "pour":
        found = pour(int(where), int(rest[0]))
    elif what == "bare":
        found = bare(where)
    else:
        found = send(where, at_once=what == "drain")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
