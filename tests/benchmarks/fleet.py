"""The way through a queue: what handing over costs, what relays carry, what waits.

Redis and PostgreSQL in the same run. Applications and relays are fresh processes. CPU
seconds of others are read from /proc, so this needs Linux.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from .caller import BURST
from .capacity import Measured
from .figures import Figure
from .fleet_programs import EVENTS
from .fleet_queues import SHARDS, PostgresQueue, Queue, RedisQueue, fill
from .programs import ROOT, run
from .sink import Sink, running

QUEUES: tuple[type[RedisQueue | PostgresQueue], ...] = (RedisQueue, PostgresQueue)

DELAY = 0.1
"""Seconds that ODP takes for a request."""

_NO_HIGHER = 1.02
"""Two parts in a hundred are noise."""

_PLANS = ((100, (1, 2, 4, 8)), (500, (1, 8, 16)))
"""Numbers of workers for each size of a batch."""

_MOST_WORKERS, _LARGE = 16, 500
_WAITING = 20_000
_RUNS = 3
_WINDOW = 1.5
_MOST = 50_000
"""Events per second that a relay's queue is filled for."""


def measure() -> list[Figure]:
    """Return the figures of outcome 11, for each server that is installed."""
    figures: list[Figure] = []
    for kind in QUEUES:
        if kind.missing:
            print(f"fleet is left out: {kind.missing}", file=sys.stderr)
            continue
        with TemporaryDirectory() as home, kind(Path(home)) as queue:
            figures += _measure_queue(queue)
    return figures


def _measure_queue(queue: Queue) -> list[Figure]:
    filled = _fill(queue)
    relays, cpu_out, log_out = _relays(queue)
    handed = _handed_over(queue)
    measured = Measured(
        handoff=handed[0][0],
        worker=relays[1, _LARGE].per_second,
        relay=relays[_MOST_WORKERS, _LARGE].per_cpu,
        cpu_in=filled.cpu,
        cpu_out=cpu_out,
        stored=filled.stored,
        log=filled.log + log_out,
    )
    command = measured.command(queue.name)
    print(f"what a day needs: {command}", file=sys.stderr)
    return [
        *_caller(queue),
        *(each for _, each in handed),
        *_of_relays(queue, relays),
        *_of_server(queue, filled, measured),
    ]


# The application.


def _caller(queue: Queue) -> list[Figure]:
    queue.use(queue.modes[0])
    found = run("fleet_programs", "caller", queue.url)
    bare, plain, ours = found["bare"], found["plain"], found["handoff"]
    names = {
        "p50": f"tagged call, hand-off to {queue.name}, p50",
        "p99": f"tagged call, hand-off to {queue.name}, p99",
        "burst": f"the same, median of bursts of {BURST}, per call",
    }
    return [
        Figure(
            11,
            subject,
            ours[name],
            "µs",
            plain[name],
            "the plain handler",
            _NO_HIGHER if name == "p50" else None,
            note=f"the bare logging call takes {bare[name]:.3g}",
        )
        for name, subject in names.items()
    ]


def _handed_over(queue: Queue) -> list[tuple[float, Figure]]:
    """Return events per second, as numbers and as figures; the default comes first."""
    default, other = queue.modes
    plans = [(100, default), (100, other), (500, default)]
    found: dict[Any, list[dict[str, float]]] = {}
    for _ in range(_RUNS):
        for batch, mode in plans:
            queue.use(mode)
            took = run("fleet_programs", "handoff", queue.url, "--batch", batch)
            found.setdefault((batch, mode), []).append(took)
            assert queue.count_waiting() == EVENTS
            if mode == default:
                with running() as sink:
                    took = run("fleet_programs", "plain", sink.host, "--batch", batch)
                found.setdefault(batch, []).append(took)
    queue.use(default)
    return [
        (_middle(found[plan], name), _rate(queue, what, name, found, plan))
        for plan in plans
        for name, what in (("per_second", "second"), ("per_cpu", "CPU second"))
    ]


def _rate(
    queue: Queue, what: str, name: str, found: dict[Any, Any], plan: tuple[int, str]
) -> Figure:
    batch, mode = plan
    return Figure(
        11,
        f"{queue.name}: events handed over per {what}, one process, batch {batch},"
        f" {mode}",
        _middle(found[plan], name),
        "1/s",
        _middle(found[batch], name),
        "the plain handler to ODP",
    )


def _middle(taken: list[dict[str, float]], name: str) -> float:
    return median([each[name] for each in taken])


# Relays.


class Relayed(NamedTuple):
    """What a relay carried: per second, per second of its CPU, and how much of that."""

    per_second: float
    per_cpu: float
    busy: float


def _relays(queue: Queue) -> tuple[dict[tuple[int, int], Relayed], float, float]:
    """
    Return what relays carried, by workers and batch.

    And the server's CPU microseconds and bytes of log for an event, in the last run.
    """
    found: dict[tuple[int, int], Relayed] = {}
    for batch, counts in _PLANS:
        for workers in counts:
            most = min(workers * batch / DELAY, _MOST) * (_WINDOW + 1)
            fill(queue.url, round(most) - queue.count_waiting())
            cpu, log = queue.read_cpu(), queue.read_log_bytes()
            with running(delay=DELAY) as sink:
                with relay(queue.url, sink, workers, batch) as pid:
                    found[workers, batch] = _watched(pid, sink, workers)
                cpu, log = queue.read_cpu() - cpu, queue.read_log_bytes() - log
                events = sink.counts()["events"]
            assert queue.count_waiting(), "the queue was empty while relays ran"
    return found, cpu / events, log / events


@contextmanager
def relay(url: str, sink: Sink, workers: int, batch: int) -> Iterator[int]:
    """Run a relay for the length of a ``with`` block; yield its process id."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    environment |= {
        "ODP_QUEUE_URL": url,
        "ODP_API_KEY": "key",
        "ODP_API_HOST": sink.host,
        "ODP_MAX_BATCH_SIZE": str(batch),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "odp_logging", "relay", "--workers", str(workers)],
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
    )
    try:
        yield process.pid
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(30)


def _watched(pid: int, sink: Sink, workers: int) -> Relayed:
    began, before = next_after(sink, 2 * workers)
    cpu = _cpu_of(pid)
    time.sleep(_WINDOW)
    ended, after = next_after(sink, sink.counts()["requests"])
    cpu = _cpu_of(pid) - cpu
    events, took = after["events"] - before["events"], ended - began
    return Relayed(events / took, events / cpu, cpu / took)


def next_after(sink: Sink, requests: int) -> tuple[float, dict[str, Any]]:
    """Wait for one more than so many *requests*; return when it came, and the count."""
    end = time.monotonic() + 30
    while (found := sink.counts())["requests"] <= requests:
        assert time.monotonic() < end, "the relay delivers nothing"
        time.sleep(0.005)
    return time.monotonic(), found


def _of_relays(queue: Queue, relays: dict[tuple[int, int], Relayed]) -> list[Figure]:
    return [
        Figure(
            11,
            f"{queue.name}: events relayed per second, {_workers(workers)},"
            f" batch {batch}",
            each.per_second,
            "1/s",
            relays[1, batch].per_second if workers > 1 else None,
            "one worker" if workers > 1 else "",
            0.9 * workers if workers > 1 and batch == 100 else None,
            ">=",
            note=f"the relay takes {each.busy:.0%} of a CPU",
        )
        for (workers, batch), each in relays.items()
    ]


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


# The server.


class Filled(NamedTuple):
    """What a waiting event takes: bytes stored and logged, its JSON, and CPU µs."""

    stored: float
    log: float
    body: float
    cpu: float


def _fill(queue: Queue) -> Filled:
    fill(queue.url, 1_000)  # what the first ones make is not counted
    stored, log, cpu = queue.read_bytes(), queue.read_log_bytes(), queue.read_cpu()
    body = fill(queue.url, _WAITING)
    taken = (
        queue.read_bytes() - stored,
        queue.read_log_bytes() - log,
        body,
        queue.read_cpu() - cpu,
    )
    return Filled(*(each / _WAITING for each in taken))


def _of_server(queue: Queue, filled: Filled, measured: Measured) -> list[Figure]:
    full = f"{_MOST_WORKERS} workers, batch {_LARGE}"
    name = queue.name
    figures = [
        Figure(
            11,
            f"{name}: {queue.stored} per waiting event, {_WAITING:,} of them"
            + (f", {SHARDS} shards" if isinstance(queue, RedisQueue) else ""),
            filled.stored,
            "bytes",
            filled.body,
            "its JSON",
        ),
        Figure(
            11,
            f"{name}: events relayed per CPU second of the relay, {full}",
            measured.relay,
            "1/s",
        ),
        Figure(11, f"{name}: the server's CPU per event, in", measured.cpu_in, "µs"),
        Figure(
            11,
            f"{name}: the server's CPU per event, out",
            measured.cpu_out,
            "µs",
            note=full,
        ),
    ]
    if measured.log:
        subject = f"{name}: write-ahead log per event, in and out"
        figures.append(Figure(11, subject, measured.log, "bytes"))
    return figures


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
