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
from typing import Any

from .figures import Figure
from .programs import run
from .shop import fields, on_root, purchase
from .sink import Sink, running

RUNS = 5
_LEFT_OUT = {"subject", "events"}


def measure() -> list[Figure]:
    """Return the figures of outcome 3."""
    figures: list[Figure] = []
    for batch, target in ((500, 0.85), (100, None)):
        bare, ours = compared("bare", "ours", events=100_000, batch=batch)
        figures += [
            Figure(
                3,
                f"events per CPU second, 100,000 events, batch {batch}, {unit}",
                ours[name],
                "1/s",
                bare[name],
                "by hand: logging, build, json, requests",
                target if name == "per_cpu" else None,
                ">=",
            )
            for name, unit in (("per_cpu", "CPU"), ("per_second", "wall clock"))
        ]
    return figures


def compared(*subjects: str, events: int, batch: int) -> list[dict[str, float]]:
    """Return the medians of runs of *subjects*, taken in turn."""
    found: dict[str, list[dict[str, float]]] = {subject: [] for subject in subjects}
    for _ in range(RUNS):
        for subject in subjects:
            arguments = (subject, "--events", events, "--batch", batch)
            found[subject].append(run("throughput", *arguments))
    return [
        {name: median([each[name] for each in runs]) for name in runs[0]}
        for runs in found.values()
    ]


def main() -> None:
    """Make one run and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("subject", choices=["bare", "ours", "fast"])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
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

    handler = OdpHandler(api_key="key", api_host=sink.host, max_batch_size=batch)
    on_root(handler)
    client = handler.client
    for number in range(events):
        purchase()
        if number % 1_000 == 999:
            # No faster than they are carried: the buffer holds 10,000.
            while client.stats.pending > 8_000:
                time.sleep(0.002)
    assert client.close(60)
    assert client.stats.delivered == events


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
