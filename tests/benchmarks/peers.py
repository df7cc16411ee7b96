"""The alternatives, doing the same work in the same run, where they are installed.

The call of a peer that is no logging handler is measured without a log call before it,
which favours the peer; events per CPU second are those of a program that does both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from statistics import median

from . import sink
from .figures import Figure
from .peers_programs import PEERS, Peer
from .programs import has_fast, run

_EVENTS = 20_000
_MANY = 100_000
_ROUNDS = 3
_RIVALS = [name for name in PEERS if not name.startswith("own")]


def measure() -> list[Figure]:
    """Return what a call, an event and an import cost with each peer."""
    installed = [name for name in _RIVALS if _is_there(PEERS[name])]
    for name in sorted({*_RIVALS} - {*installed}):
        print(f"  {PEERS[name].title} is not installed", file=sys.stderr)
    calling = [name for name in installed if name != "optimizely-500"]
    carrying = [name for name in installed if name != "queue"]
    loading = [name for name in installed if PEERS[name].load and name != "queue"]
    return [
        *[_called(name) for name in ("own", *calling)],
        *_against_optimizely(),
        *[_carried(name) for name in carrying if not name.startswith("optimizely")],
        *_loaded(loading),
    ]


@cache
def optimizely_events_per_cpu_second(events: int = _EVENTS, rounds: int = 1) -> float:
    """Return what optimizely-sdk carries as shipped; 0.0 if it is not installed."""
    if not _is_there(PEERS["optimizely"]):
        return 0.0
    return median([carried("optimizely", events) for _ in range(rounds)])


def carried(name: str, events: int = _EVENTS) -> float:
    """Return the events that *name* gets to the server per CPU second."""
    return _carry(name, events)[0]


def _carry(name: str, events: int) -> tuple[float, str]:
    peer = PEERS[name]
    with sink.running(marker=peer.marker, status=peer.status) as server:
        found = run("peers_programs", "carry", name, server.host, events)
        arrived = server.counts()["events"]
    lost = f"{1 - arrived / events:.1%} lost" if arrived < events else ""
    return arrived / found["cpu"], lost


def _is_there(peer: Peer) -> bool:
    try:
        return find_spec(peer.package) is not None
    except ModuleNotFoundError:
        return False


def _called(name: str) -> Figure:
    peer = PEERS[name]
    with sink.running(marker=peer.marker, status=peer.status) as server:
        found = run("peers_programs", "call", name, server.host)
    return Figure(
        1,
        f"{peer.title}, {'log call' if peer.logs else 'call'}",
        found["call"] * 1e6,
        "µs",
        found["floor"] * 1e6,
        "bare logging call",
        note="the median of bursts",
    )


def _against_optimizely() -> Iterator[Figure]:
    if not _is_there(PEERS["optimizely"]):
        return
    targets = {"own-stdlib-500": 8.0, "own-stdlib": 7.0}
    if has_fast():
        targets["own-500"] = 11.0
    names = ["optimizely", "optimizely-500", *targets]
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(_ROUNDS):
        for name in names:
            found[name].append(carried(name, _MANY))
    shipped = median(found.pop("optimizely"))
    for name, values in found.items():
        note = f"{_MANY:,} events"
        yield _per_cpu(name, median(values), shipped, targets.get(name), note)


def _carried(name: str) -> Figure:
    value, lost = _carry(name, _EVENTS)
    shipped = optimizely_events_per_cpu_second()
    return _per_cpu(name, value, shipped, None, lost)


def _per_cpu(
    name: str, value: float, shipped: float, target: float | None, note: str = ""
) -> Figure:
    return Figure(
        3,
        f"{PEERS[name].title}, events to the server",
        value,
        "events per CPU second",
        shipped or None,
        "optimizely-sdk as shipped" if shipped else "",
        target,
        ">=",
        note=note,
    )


def _loaded(names: list[str]) -> Iterator[Figure]:
    found: dict[str, list[float]] = {name: [] for name in ("own", *names)}
    for _ in range(_ROUNDS):
        for name, values in found.items():
            values.append(run("peers_programs", "load", name)["seconds"])
    own = median(found.pop("own"))
    for name, values in found.items():
        yield Figure(
            6,
            f"{PEERS[name].title}, import",
            median(values) * 1000,
            "ms",
            own * 1000,
            "odp_logging up to a configured handler",
        )
