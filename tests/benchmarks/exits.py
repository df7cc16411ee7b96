"""Outcome 7: what the library adds to the end of a process.

Each program is a fresh one that says when its last statement is done; its end is that
of its output, as the parent sees it. What is added is the median over that of the same
program without the library, in turns, all of them with `requests` loaded. The target is
15 ms where ``import requests`` takes 160 ms: a ratio to that import in the same run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from . import sink
from .figures import Figure
from .imports import requests_import
from .programs import ROOT

ROUNDS = 21
LIMIT = 60.0

_LOADED = """
import logging, sys, requests
count = int(sys.argv[2])
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)

def log():
    logger.info("purchase", extra={
        "odp_action": "purchased",
        "odp_identifiers": {"fs_user_id": "u-1042", "email": "ada@example.com"},
        "odp_data": {"item": "shirt", "price": 50.0},
    })

"""
_WITHOUT = f"{_LOADED}handler = logging.NullHandler()\n"
_WITH = f"""{_LOADED}from odp_logging import OdpHandler
handler = OdpHandler(api_key="k", api_host=sys.argv[1], **eval(sys.argv[3]))
"""
_LOGS = """
logger.addHandler(handler)
for _ in range(count):
    log()
print("done", flush=True)
"""
_AFTER_ONE = """
logger.addHandler(handler)
log()
handler.flush()
"""

BARE = f"{_WITHOUT}{_LOGS}"
FIRST = f"{_WITH}{_LOGS}"
LATER = f"{_WITH}{_AFTER_ONE}{_LOGS}"


def measure() -> list[Figure]:
    """Return the figures of outcome 7."""
    return [*_with_a_server(), *_without_one()]


def _with_a_server() -> list[Figure]:
    with sink.running() as server:
        cases = [(BARE, 1), (LATER, 1), (FIRST, 1), (FIRST, 0)]
        bare, later, first, idle = _medians(server.host, cases, ROUNDS)
        cases = [(BARE, 10_000), (LATER, 10_000), (FIRST, 10_000)]
        many, many_later, many_first = _medians(server.host, cases, 5)
    scale = 1000 * requests_import()
    against = "import requests"
    note = f"{1000 * bare:.3g} ms without the library"

    def added(
        what: str, seconds: float, over: float, target: float | None = None
    ) -> Figure:
        value = 1000 * (seconds - over)
        return Figure(7, f"exit, {what}", value, "ms", scale, against, target)

    return [
        added(f"1 event, one was delivered before; {note}", later, bare, 0.094),
        added("1 event, the first of the process", first, bare, 0.094),
        added("a handler, no event", idle, bare),
        added("10,000 events, one was delivered before", many_later, many),
        added("10,000 events, the first of the process", many_first, many),
    ]


def _without_one() -> list[Figure]:
    figures = []
    with sink.running("hang") as hanging, _refusing() as refused:
        for host, what in ((refused, "refuses"), (hanging.host, "hangs")):
            for timeout, rounds in ((1.0, 3), (5.0, 1)):
                settings = {} if timeout == 5.0 else {"shutdown_timeout": timeout}
                took = [exit_of(FIRST, host, 1, settings) for _ in range(rounds)]
                given = "by default" if timeout == 5.0 else f"of {timeout:g} s"
                figures.append(
                    Figure(
                        7,
                        f"exit, 1 event, the server {what}, shutdown_timeout {given}",
                        max(took),
                        "s",
                        target=timeout + 0.5,
                        absolute=True,
                    )
                )
    return figures


def _medians(host: str, cases: list[tuple[str, int]], rounds: int) -> list[float]:
    turns = [
        [exit_of(program, host, count) for program, count in cases]
        for _ in range(rounds + 1)
    ]
    return [median(each) for each in zip(*turns[1:])]


def exit_of(
    program: str, host: str, count: int, settings: dict[str, float] | None = None
) -> float:
    """Return the seconds from the last statement of *program* to its end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, "-c", program, host, str(count), repr(settings or {})],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
    )
    watch = threading.Timer(LIMIT, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        began = time.perf_counter()
        process.stdout.read()  # ends with the process
        ended = time.perf_counter()
        code = process.wait()
    finally:
        watch.cancel()
        process.kill()
        process.stdout.close()
    if said != b"done\n" or code:
        raise RuntimeError(f"the program ended with {code}")
    return ended - began


@contextmanager
def _refusing() -> Iterator[str]:
    """Yield a host on whose port nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
