"""Outcome 7: what the library adds to the end of a process.

Each program is a fresh one that says when its last statement is done; its end is that
of its output, as the parent sees it. What is added is the median over that of the same
program without the library, in turns, all of them with `requests` loaded. The target is
15 ms where ``import requests`` takes 160 ms: a ratio to that import in the same run.

The last event is logged by the very last statement, except for the one that is
"buffered": that was logged 0.2 s before, and the flusher's thread has loaded what it
needs, but sent nothing.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median

from . import sink
from .figures import Figure
from .imports import requests_import
from .programs import ROOT

ROUNDS = 15
FEW = 3

DEFAULT = 5.0
"""The library's own ``shutdown_timeout``."""

Turns = list[list[float]]
LIMIT = 60.0

_LOADED = """
import logging, sys, time, requests
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
_BEFORE_THE_END = """
logger.addHandler(handler)
log()
time.sleep(0.2)
print("done", flush=True)
"""
_AFTER_ONE = """
logger.addHandler(handler)
log()
handler.flush()
"""

BARE = f"{_WITHOUT}{_LOGS}"
FIRST = f"{_WITH}{_LOGS}"
BUFFERED = f"{_WITH}{_BEFORE_THE_END}"
LATER = f"{_WITH}{_AFTER_ONE}{_LOGS}"


def measure() -> list[Figure]:
    """Return the figures of outcome 7."""
    return [*_with_a_server(), *_without_one()]


def _with_a_server() -> list[Figure]:
    with sink.running() as server:
        one = _turns(server.host, [BARE, LATER, BUFFERED, FIRST], 1, ROUNDS)
        none = _turns(server.host, [BARE, FIRST], 0, ROUNDS)
        many = _turns(server.host, [BARE, LATER, FIRST], 10_000, FEW)
    scale = 1000 * requests_import()
    bare = 1000 * median(each[0] for each in one)

    def added(
        what: str, turns: Turns, program: int, target: float | None = None
    ) -> Figure:
        value = 1000 * median(each[program] - each[0] for each in turns)
        return Figure(7, what, value, "ms", scale, "import requests", target)

    return [
        added("exit, 1 event buffered, one was delivered before", one, 1, 0.1),
        added("exit, 1 event buffered, the first of the process", one, 2, 0.094),
        added("exit, 1 event, the first, logged last of all", one, 3, 0.094),
        added("exit, a handler and no event", none, 1),
        added("exit, 10,000 events, one was delivered before", many, 1),
        added("exit, 10,000 events, the first of the process", many, 2),
        Figure(7, "exit without the library, not part of the above", bare, "ms"),
    ]


def _turns(host: str, programs: list[str], count: int, rounds: int) -> Turns:
    """Return what each of *programs* took, in each of *rounds* after the first."""
    turns = [
        [exit_of(program, host, count) for program in programs]
        for _ in range(rounds + 1)
    ]
    return turns[1:]


def _without_one() -> list[Figure]:
    with sink.running("hang") as hanging, _refusing() as refused:
        cases = (refused, "refuses"), (hanging.host, "hangs")
        # At the same time: they do nothing but wait.
        with ThreadPoolExecutor(len(cases)) as pool:
            both = list(pool.map(_down, *zip(*cases)))
    return [*both[0], *both[1]]


def _down(host: str, what: str) -> list[Figure]:
    figures = []
    for timeout, rounds in ((1.0, FEW), (DEFAULT, 1)):
        settings = {} if timeout == DEFAULT else {"shutdown_timeout": timeout}
        took = [exit_of(FIRST, host, 1, settings) for _ in range(rounds)]
        given = f"{timeout:g} s{', the default' if timeout == DEFAULT else ''}"
        figures.append(
            Figure(
                7,
                f"exit in all, 1 event, the server {what}, shutdown_timeout {given}",
                median(took),
                "s",
                target=timeout + 0.5,
                absolute=True,
            )
        )
    return figures


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
    assert process.stdout is not None
    try:
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
