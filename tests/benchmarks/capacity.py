"""What a number of events a day needs, on paper: from figures that `fleet` measured.

    python -m tests.benchmarks.capacity Redis|PostgreSQL --handoff N --worker N
        --relay N --cpu-in MICROSECONDS --cpu-out MICROSECONDS --stored BYTES
        --log BYTES

Each line it prints is made of numbers that stand above it; what is shown is rounded,
what is carried on is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

EVENTS = 100_000_000
PEAK = 5
"""The busiest hour's events per second over the day's average."""

SPARE = 2
"""Relays carry so many times the peak, to work off a backlog while it goes on."""

BUSY = 0.5
"""Share of a CPU that is planned for."""

REWRITE = 2
"""Redis' memory over that of the events, while it rewrites its file.

The same for PostgreSQL's disk: pages of deleted events are used again, not given back.
"""

_SERVER = 16
"""GiB of one Redis server; more takes long to be read when it starts again."""

_SPREAD = 4
"""Shards on a server, so that they can be moved to further ones."""

_DAY = 86_400
_HOUR = 3_600
_GIB = 2**30


class Measured(NamedTuple):
    """
    What the arithmetic begins with.

    Args:
        handoff: Events per second that an application process hands over.
        worker: Events per second of a relay's worker, with ODP's 100 ms a request.
        relay: Events per CPU second of a relay.
        cpu_in: Microseconds of the server's CPU to take an event.
        cpu_out: The same to lend it, and to delete it.
        stored: Bytes for an event that waits: of Redis' memory, or PostgreSQL's disk.
        log: Bytes of PostgreSQL's log for an event, in and out; 0 for Redis.
    """

    handoff: float
    worker: float
    relay: float
    cpu_in: float
    cpu_out: float
    stored: float
    log: float = 0.0

    def command(self, queue: str) -> str:
        """Return what prints the arithmetic for these figures."""
        options = [
            f"--{name.replace('_', '-')} {_short(value)}"
            for name, value in self._asdict().items()
            if value
        ]
        return " ".join(["python -m tests.benchmarks.capacity", queue, *options])


def needs(
    queue: str, measured: Measured, events: int = EVENTS, peak: int = PEAK
) -> Iterator[str]:
    """Yield, line by line, what so many *events* a day need."""
    average = events / _DAY
    busiest = average * peak
    out = busiest * SPARE
    yield f"average: {events:,} / {_DAY:,} s = {average:,.1f} events per second"
    yield f"peak factor {peak}: {average:,.1f} x {peak} = {busiest:,.0f} per second"

    handing = busiest / measured.handoff
    yield (
        f"applications: {busiest:,.0f} / {measured.handoff:,.0f} = {handing:.2f} of"
        " what one process can hand over, shared by as many as there are"
    )

    backlog = busiest * _HOUR
    held = backlog * measured.stored / _GIB
    room = held * REWRITE
    of_events = f"{backlog:,.0f} x {measured.stored:.0f} bytes = {held:.1f} GiB;"
    yield f"an hour's outage at the peak: {busiest:,.0f} x {_HOUR:,} s = {backlog:,.0f}"
    if queue == "Redis":
        yield (
            f"Redis' memory: {of_events} x {REWRITE} while its file is rewritten ="
            f" {room:.1f} GiB"
        )
    else:
        yield (
            f"PostgreSQL's disk: {of_events} x {REWRITE} with pages that wait for"
            f" vacuum = {room:.1f} GiB"
        )
    yield (
        f"high_water: {backlog:,.0f} at least; the default, 1,000,000, is full after"
        f" 1,000,000 / {busiest:,.0f} = {1_000_000 / busiest:.0f} s"
    )

    yield (
        f"after the outage, {SPARE} x the peak: {out:,.0f} per second; the backlog is"
        f" gone after {backlog:,.0f} / ({out:,.0f} - {busiest:,.0f}) ="
        f" {backlog / (out - busiest):,.0f} s"
    )
    busy = out / measured.worker
    workers = ceil(busy)
    yield f"workers: {out:,.0f} / {measured.worker:,.0f} = {busy:.2f}: {workers}"
    cpus = out / measured.relay
    relays = ceil(cpus / BUSY)
    yield (
        f"relays: {out:,.0f} / {measured.relay:,.0f} = {cpus:.2f} CPUs, at most half"
        f" of one each: {relays}; with one to lose: {relays + 1} relays of"
        f" {ceil(workers / relays)} workers"
    )

    load = (busiest * measured.cpu_in + out * measured.cpu_out) / 1e6
    yield (
        f"the server's CPU: {busiest:,.0f} x {measured.cpu_in:.1f} µs + {out:,.0f} x"
        f" {measured.cpu_out:.1f} µs = {load:.2f} CPUs"
    )
    if queue == "Redis":
        servers = max(ceil(load / BUSY), ceil(room / _SERVER))
        yield (
            f"Redis servers: at most half a CPU each {ceil(load / BUSY)}, at most"
            f" {_SERVER} GiB each {ceil(room / _SERVER)}: {servers}; shards: {servers}"
            f" x {_SPREAD} = {servers * _SPREAD}"
        )
        return
    yield (
        f"PostgreSQL servers: 1, of {load:.2f} / {BUSY} ="
        f" {ceil(load / BUSY)} {'CPU' if load <= BUSY else 'CPUs'}"
    )
    written, daily = out * measured.log / 1e6, events * measured.log / _GIB
    yield (
        f"its log: {out:,.0f} x {measured.log:,.0f} bytes = {written:.1f} MB per"
        f" second; {events:,} x {measured.log:,.0f} = {daily:,.0f} GiB a day, to"
        " replicas and archives too"
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the arithmetic for the figures of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.capacity")
    parser.add_argument("queue", choices=["Redis", "PostgreSQL"])
    for name in Measured._fields:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            required=name != "log",
            default=0.0,
        )
    parser.add_argument("--events", type=int, default=EVENTS, help="a day")
    parser.add_argument("--peak", type=int, default=PEAK, help="factor of the busiest")
    asked = vars(parser.parse_args(arguments))
    queue, events, peak = (asked.pop(name) for name in ("queue", "events", "peak"))
    print("\n".join(needs(queue, Measured(**asked), events, peak)))


if __name__ == "__main__":
    main()
