"""Events per second and per CPU second, from the log call to ODP's acknowledgement.

Each run is a process that logs so many events as fast as they are carried, closes the
client and ends; its CPU seconds are all of it, imports included. The floor does the
same work by hand: a bare logging call for each event, and a loop that builds, encodes
and posts batches with `requests.Session`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import uuid
from statistics import median
from typing import TYPE_CHECKING, Any

from .figures import Figure
from .programs import has_fast, hide_fast, run
from .shop import fields, on_root, purchase
from .sink import Sink, running

if TYPE_CHECKING:
    from odp_logging import OdpClient, OdpHandler

RUNS = 3
_BY_HAND = "by hand: logging, build, json, requests"


def measure() -> list[Figure]:
    """Return the figures of outcome 3."""
    figures: list[Figure] = []
    subjects = ["bare", "ours"] + (["fast"] if has_fast() else [])
    for batch in (500, 100):
        floor, *found = compared(*subjects, events=100_000, batch=batch)
        for subject, ours in zip(subjects[1:], found):
            name = f"100,000 events, batch {batch}, {_ENCODERS[subject]}"
            target = 0.85 if (subject, batch) == ("ours", 500) else None
            figures += _both(name, ours, floor, _BY_HAND, target)
            if (subject, batch) == ("ours", 500):
                small = ours
    (large,) = compared("ours", events=1_000_000, batch=500, runs=1)
    return figures + _both("1,000,000 events, batch 500, json", large, small, "100,000")


_ENCODERS = {"ours": "json", "fast": "`fast`"}


def _both(
    name: str,
    ours: dict[str, float],
    floor: dict[str, float],
    against: str,
    target: float | None = None,
) -> list[Figure]:
    cpu = Figure(
        3,
        f"events per CPU second, {name}",
        ours["per_cpu"],
        "1/s",
        floor["per_cpu"],
        against,
        target,
        ">=",
    )
    wall = Figure(
        3,
        f"events per second, {name}",
        ours["per_second"],
        "1/s",
        floor["per_second"],
        against,
    )
    return [cpu, wall]


def compared(
    *subjects: str, events: int, batch: int, runs: int = RUNS
) -> list[dict[str, float]]:
    """Return the medians of *runs* of each of *subjects*, taken in turn."""
    found: dict[str, list[dict[str, float]]] = {subject: [] for subject in subjects}
    for _ in range(runs):
        for subject in subjects:
            arguments = (subject, "--events", events, "--batch", batch)
            found[subject].append(run("throughput", *arguments))
    return [
        {name: median([each[name] for each in taken]) for name in taken[0]}
        for taken in found.values()
    ]


def main() -> None:
    """Make one run and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("subject", choices=["bare", "ours", "fast"])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100)
    asked = parser.parse_args()
    if asked.subject == "ours":
        hide_fast()
    with running() as sink:
        send = _by_hand if asked.subject == "bare" else _ours
        began = time.perf_counter()
        send(sink, asked.events, asked.batch)
        took, cpu = time.perf_counter() - began, time.process_time()
        came = sink.counts()["events"]
    assert came == asked.events, (came, asked.events)
    print(json.dumps({"per_second": came / took, "per_cpu": came / cpu, "cpu": cpu}))


def _ours(sink: Sink, events: int, batch: int) -> None:
    from odp_logging import OdpHandler

    carry(OdpHandler(api_key="key", api_host=sink.host, max_batch_size=batch), events)


def carry(handler: OdpHandler, events: int) -> None:
    """Log so many *events* to *handler*, and close it once they are delivered."""
    on_root(handler)
    client = handler.client
    log_paced(client, events)
    assert client.close(60)
    assert client.stats.delivered == events


def log_paced(client: OdpClient, events: int) -> None:
    """Log so many *events*, no faster than *client* carries them."""
    for number in range(events):
        purchase()
        if number % 1_000 == 999:
            # Asked seldom, because reading the counts takes a lock.
            while client.stats.pending > 2_000:
                time.sleep(0.01)


def _by_hand(sink: Sink, events: int, batch: int) -> None:
    import requests

    on_root(logging.NullHandler())
    session = requests.Session()
    session.trust_env = False
    headers = {"Content-Type": "application/json", "x-api-key": "key"}
    waiting: list[dict[str, Any]] = []
    for _ in range(events):
        purchase()
        waiting.append(_built(fields()))
        if len(waiting) == batch:
            body = json.dumps(waiting).encode()
            answer = session.post(
                f"{sink.host}/v3/events", data=body, headers=headers, timeout=10
            )
            assert answer.status_code == 202
            waiting.clear()


def _built(logged: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "fullstack",
        "action": logged["odp_action"],
        "identifiers": logged["odp_identifiers"],
        "data": {
            "idempotence_id": str(uuid.uuid4()),
            "data_source_type": "sdk",
            "data_source": "by-hand",
            "data_source_version": "1.0.0",
            "ts": int(time.time()),
            **logged["odp_data"],
        },
    }


if __name__ == "__main__":
    main()
