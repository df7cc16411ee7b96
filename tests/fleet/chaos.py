"""
Kill relays and the queue's server at random, and count the events that ODP received.

    python -m tests.fleet.chaos --queue postgresql --events 200000 --server-kills 5

Three applications log, three relays deliver. Relays and the server are killed with
``kill -9`` and replaced, and ODP answers one request of ten with a fault. ``--queue``
is ``redis``, ``postgresql``, ``pgbouncer`` (PostgreSQL behind a pooler) or ``replica``
(the primary is killed and its synchronous standby promoted).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..journeys.ledger_follower import LedgerFollower
from ..waiting import until
from .chaos_servers import KINDS
from .processes import RelayProcess, build_environment

APPLICATIONS = 3
RELAYS = 3

SHOP = """
import logging, sys, time
from odp_logging import OdpHandler

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler())
client = logger.handlers[0].client
for number in range(int(sys.argv[1])):
    logger.info("sold", extra={
        "odp_action": "sold",
        "odp_identifiers": {"fs_user_id": f"u{number % 100}"},
        "odp_idempotence_id": f"{sys.argv[2]}-{number}",
    })
    if number % 200 == 0:
        while client.stats.pending > 5000:  # within its buffer, which must not overflow
            time.sleep(0.01)
while not client.flush(30):
    pass
print(client.stats.delivered, client.stats.dropped)
"""


class Outcome(NamedTuple):
    """Numbers of events at the end of a run; *unknown* ones were never logged."""

    logged: int
    lost: int
    duplicates: int
    unknown: int
    waiting: int
    leased: int
    dead: int
    seconds: float


def run(
    home: Path,
    queue: str,
    *,
    events: int,
    relay_kills: int,
    server_kills: int,
    seed: int = 1,
    patience: float = 60.0,
) -> Outcome:
    """Log *events* and deliver them amid the kills; return what became of them."""
    generator = random.Random(seed)
    start = time.monotonic()
    counts = [events // APPLICATIONS] * APPLICATIONS
    counts[0] += events % APPLICATIONS
    names = {f"{app}-{n}" for app, count in enumerate(counts) for n in range(count)}
    with ExitStack() as stack:
        servers = KINDS[queue](home)
        stack.callback(servers.end)
        servers.start()
        odp = stack.enter_context(Emulator(key=KEY, seed=seed))
        odp.fault(status=503, rate=0.05)
        odp.fault(drop="after", rate=0.05)
        follower = stack.enter_context(LedgerFollower(odp))

        def start_relay() -> RelayProcess:
            relay = RelayProcess(servers.url, odp, "--workers", "2", "--lease", "3")
            return stack.enter_context(relay)

        relays = [start_relay() for _ in range(RELAYS)]
        applications = [
            stack.enter_context(_Application(servers.url, count, app))
            for app, count in enumerate(counts)
        ]
        kills = ["relay"] * relay_kills + ["server"] * server_kills
        generator.shuffle(kills)
        pause = threading.Event()
        for n, kill in enumerate(kills):
            share = events * (n + 1) * 0.8 / len(kills)
            until(
                lambda share=share: len(follower.accepted) >= share, "events", patience
            )
            pause.wait(generator.random() * 0.3)
            if kill == "server":
                servers.kill()
            else:
                index = generator.randrange(RELAYS)
                relays[index].__exit__(None, None, None)
                relays[index] = start_relay()
        for application in applications:
            assert application.wait(patience) == 0
        odp.clear_faults()
        until(lambda: not servers.count_left().waiting, "an empty queue", patience)
        for relay in relays:
            assert relay.end() == 0, relay.text
        left = servers.count_left()
    return Outcome(
        logged=len(names),
        lost=len(names - follower.accepted),
        duplicates=follower.duplicates,
        unknown=len(follower.accepted - names) + len(follower.false_duplicates),
        **left._asdict(),
        seconds=time.monotonic() - start,
    )


class _Application:
    """A process that logs, which ends with the `with` block."""

    def __init__(self, url: str, count: int, name: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHOP, str(count), str(name)],
            env=build_environment(ODP_QUEUE_URL=url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, seconds: float) -> int:
        """Wait for the end of the process; return its exit status."""
        return self._process.wait(seconds)

    def __enter__(self) -> _Application:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)


def main() -> int:
    """Run once; return exit status 0 only if no event was lost."""
    parser = argparse.ArgumentParser(
        description="Kill processes at random and count lost events."
    )
    parser.add_argument("--queue", choices=KINDS, default="redis")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--relay-kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        outcome = run(
            Path(home),
            options.queue,
            events=options.events,
            relay_kills=options.relay_kills,
            server_kills=options.server_kills,
            seed=options.seed,
            patience=600.0,
        )
    print(outcome)
    is_complete = outcome.lost == outcome.waiting == outcome.leased == 0
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
