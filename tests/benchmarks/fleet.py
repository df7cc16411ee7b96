"""The way through Redis: what handing over costs, what relays carry, what waits.

A server of our own holds the queue, on a free port of the loopback interface; it is
ended by its process id. Applications and relays are fresh processes. CPU seconds of
others are read from /proc, so this needs Linux.
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

from odp_logging import OdpEvent

from ..redis_server import IS_THERE, MISSING, RedisServer
from .caller import BURST
from .capacity import Measured
from .figures import Figure
from .fleet_programs import EVENTS
from .programs import ROOT, run
from .sink import Sink, running

SHARDS = 4
DELAY = 0.1
"""Seconds that ODP takes for a request."""

_NO_HIGHER = 1.02
"""Two parts in a hundred are noise."""

_FULL = "16 workers, batch 500"
_WAITING = 20_000
_RUNS = 3
_WINDOW = 1.5
_MOST = 50_000
"""Events per second that a relay's queue is filled for."""


def measure() -> list[Figure]:
    """Return the figures of outcome 11; none where there is no Redis."""
    if not IS_THERE:
        print(f"fleet is left out: {MISSING}", file=sys.stderr)
        return []
    # Rewriting its file would be a second process of Redis', in some runs.
    options = ("--auto-aof-rewrite-percentage", "0")
    with (
        TemporaryDirectory() as home,
        RedisServer(Path(home) / "redis", *options) as redis,
    ):
        redis.ask("CONFIG", "SET", "appendfsync", "everysec")
        kept, body, cpu_in = _memory(redis)
        relays, cpu_out = _relays(redis)
        handed = _handed_over(redis)
        figures = [*_caller(redis), *(each for _, each in handed)]
    alone, busy = relays[1, 500], relays[16, 500]
    measured = Measured(
        handoff=handed[0][0],
        worker=alone.per_second,
        relay=busy.per_cpu,
        redis_in=cpu_in,
        redis_out=cpu_out,
        memory=kept,
    )
    print(f"what a day needs: {measured.command()}", file=sys.stderr)
    return [*figures, *_of_relays(relays), *_of_redis(measured, body)]


# The application.


def _caller(redis: RedisServer) -> list[Figure]:
    redis.ask("FLUSHALL")
    found = run("fleet_programs", "caller", _url(redis))
    bare, plain, ours = found["bare"], found["plain"], found["handoff"]
    names = {
        "p50": "tagged call, hand-off, p50",
        "p99": "tagged call, hand-off, p99",
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


def _handed_over(redis: RedisServer) -> list[tuple[float, Figure]]:
    """Return events per second, as numbers and as figures; the default comes first."""
    plans = [(100, "everysec"), (100, "always"), (500, "everysec")]
    found: dict[Any, list[dict[str, float]]] = {}
    for _ in range(_RUNS):
        for batch, fsync in plans:
            redis.ask("FLUSHALL")
            redis.ask("CONFIG", "SET", "appendfsync", fsync)
            took = run("fleet_programs", "handoff", _url(redis), "--batch", batch)
            found.setdefault((batch, fsync), []).append(took)
            assert waiting(redis) == EVENTS
            if fsync == "everysec":
                with running() as sink:
                    took = run("fleet_programs", "plain", sink.host, "--batch", batch)
                found.setdefault(batch, []).append(took)
    redis.ask("CONFIG", "SET", "appendfsync", "everysec")
    return [
        (_middle(found[plan], name), _rate(what, name, found, plan))
        for plan in plans
        for name, what in (("per_second", "second"), ("per_cpu", "CPU second"))
    ]


def _rate(what: str, name: str, found: dict[Any, Any], plan: tuple[int, str]) -> Figure:
    batch, fsync = plan
    return Figure(
        11,
        f"events handed over per {what}, one process, batch {batch},"
        f" appendfsync {fsync}",
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


def _relays(redis: RedisServer) -> tuple[dict[tuple[int, int], Relayed], float]:
    """Return what relays carried by workers and batch, and Redis' CPU an event."""
    found: dict[tuple[int, int], Relayed] = {}
    for batch, counts in ((100, (1, 2, 4, 8)), (500, (1, 8, 16))):
        for workers in counts:
            most = min(workers * batch / DELAY, _MOST) * (_WINDOW + 1)
            fill(redis, round(most) - waiting(redis))
            before = _redis_cpu(redis)
            with running(delay=DELAY) as sink:
                with relay(redis, sink, workers, batch) as pid:
                    found[workers, batch] = _watched(pid, sink, workers)
                took = _redis_cpu(redis) - before
                cpu_out = took / sink.counts()["events"]
            assert waiting(redis), "the queue ran empty while relays were measured"
    return found, cpu_out


@contextmanager
def relay(redis: RedisServer, sink: Sink, workers: int, batch: int) -> Iterator[int]:
    """Run a relay for the length of a ``with`` block; yield its process id."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ODP_")}
    environment |= {
        "ODP_QUEUE_URL": _url(redis),
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


def _of_relays(relays: dict[tuple[int, int], Relayed]) -> list[Figure]:
    return [
        Figure(
            11,
            f"events relayed per second, {_workers(workers)}, batch {batch}",
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


# Redis.


def _memory(redis: RedisServer) -> tuple[float, float, float]:
    """Return bytes a waiting event takes, bytes of its JSON, and Redis' CPU for it."""
    fill(redis, 1_000)  # what the first ones make is not counted
    before, cpu = used(redis), _redis_cpu(redis)
    size = fill(redis, _WAITING)
    cpu = _redis_cpu(redis) - cpu
    return (used(redis) - before) / _WAITING, size / _WAITING, cpu / _WAITING


def _of_redis(measured: Measured, body: float) -> list[Figure]:
    return [
        Figure(
            11,
            f"Redis' memory per waiting event, {_WAITING:,} of them, {SHARDS} shards",
            measured.memory,
            "bytes",
            body,
            "its JSON",
        ),
        Figure(
            11,
            f"events relayed per CPU second of the relay, {_FULL}",
            measured.relay,
            "1/s",
        ),
        Figure(11, "Redis' CPU per event, in", measured.redis_in, "µs"),
        Figure(
            11,
            "Redis' CPU per event, out",
            measured.redis_out,
            "µs",
            note=_FULL,
        ),
    ]


def fill(redis: RedisServer, count: int) -> int:
    """Hand over so many events, each with an identifier of its own; return bytes."""
    from odp_logging._secret import Hidden
    from odp_logging.stores._url import QueueUrl, read_url
    from odp_logging.stores.redis import Stream

    url = read_url(Hidden(_url(redis)))
    assert isinstance(url, QueueUrl)
    stream, size = Stream(url), 0
    for first in range(0, max(0, count), 500):
        events = [_event(number) for number in range(first, min(first + 500, count))]
        assert not stream.hand_over(events)
        size += sum(len(each.json) for each in events)
    stream.close()
    return size


def _event(number: int) -> OdpEvent:
    return OdpEvent(
        "purchased",
        {"fs_user_id": f"u-{number}", "email": f"ada{number}@example.com"},
        data={"item": "shirt", "price": 50.0},
    )


def _url(redis: RedisServer) -> str:
    return f"{redis.url}?shards={SHARDS}"


def waiting(redis: RedisServer) -> int:
    """Return how many events the queue holds, on loan or not."""
    return sum(
        int(redis.ask("XLEN", f"odp:events:{{{shard}}}")) for shard in range(SHARDS)
    )


def used(redis: RedisServer) -> int:
    """Return the bytes that Redis has in use."""
    return int(redis.ask("INFO", "memory")["used_memory"])


def _redis_cpu(redis: RedisServer) -> float:
    """Return the CPU microseconds of Redis so far."""
    found = redis.ask("INFO", "cpu")
    return 1e6 * float(found["used_cpu_user"] + found["used_cpu_sys"])


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
