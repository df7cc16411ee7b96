"""
Everything dies at random, and nothing is lost: relays, Redis, ODP's answers.

    python -m tests.fleet.chaos --events 200000 --relay-kills 20 --redis-kills 3

Three applications log, three relays deliver. Relays and the Redis server are killed
with ``kill -9`` and replaced, and ODP answers one request of ten with a fault.
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
from ..journeys.ledgers import Books
from ..redis_server import RedisServer
from ..waiting import until
from .processes import RelayProcess, environment

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
        while client.stats.pending > 5000:  # within its buffer: nothing is to drop
            time.sleep(0.01)
while not client.flush(30):
    pass
print(client.stats.delivered, client.stats.dropped)
"""


class Found(NamedTuple):
    """What was left of so many events when all was quiet."""

    logged: int
    lost: int
    duplicates: int
    strangers: int
    waiting: int
    pending: int
    dead: int
    seconds: float


def run(
    home: Path,
    *,
    events: int,
    relay_kills: int,
    redis_kills: int,
    seed: int = 1,
    patience: float = 60.0,
) -> Found:
    """Let it all happen; return what became of so many *events*."""
    chance = random.Random(seed)
    start = time.monotonic()
    counts = [events // APPLICATIONS] * APPLICATIONS
    counts[0] += events % APPLICATIONS
    names = {f"{app}-{n}" for app, count in enumerate(counts) for n in range(count)}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(home / "redis"))
        odp = stack.enter_context(Emulator(key=KEY, seed=seed))
        odp.fault(status=503, rate=0.05)
        odp.fault(drop="after", rate=0.05)
        books = stack.enter_context(Books(odp))
        url = f"{redis.url}?shards=4"

        def relay() -> RelayProcess:
            made = RelayProcess(url, odp, "--workers", "2", "--lease", "3")
            return stack.enter_context(made)

        relays = [relay() for _ in range(RELAYS)]
        applications = [
            stack.enter_context(_application(url, count, app))
            for app, count in enumerate(counts)
        ]
        deaths = ["relay"] * relay_kills + ["redis"] * redis_kills
        chance.shuffle(deaths)
        pause = threading.Event()
        for n, death in enumerate(deaths):
            share = events * (n + 1) * 0.8 / len(deaths)
            until(lambda share=share: len(books.accepted) >= share, "events", patience)
            pause.wait(chance.random() * 0.3)
            if death == "redis":
                redis.kill()
                redis.start()
            else:
                place = chance.randrange(RELAYS)
                relays[place].__exit__(None, None, None)
                relays[place] = relay()
        for application in applications:
            assert application.wait(patience) == 0
        odp.clear_faults()
        keys = [f"odp:events:{{{shard}}}" for shard in range(4)]
        until(
            lambda: not sum(redis.ask("XLEN", key) for key in keys),
            "an empty queue",
            patience,
        )
        for one in relays:
            assert one.end() == 0, one.text
        waiting = sum(redis.ask("XLEN", key) for key in keys)
        pending = sum(
            redis.ask("XPENDING", key, "odp-relay")["pending"] for key in keys
        )
        dead = sum(redis.ask("XLEN", f"odp:events:dead:{{{n}}}") for n in range(4))
    return Found(
        logged=len(names),
        lost=len(names - books.accepted),
        duplicates=books.duplicates,
        strangers=len(books.accepted - names) + len(books.strangers),
        waiting=waiting,
        pending=pending,
        dead=dead,
        seconds=time.monotonic() - start,
    )


class _application:
    """One process that logs; ended by its id."""

    def __init__(self, url: str, count: int, name: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHOP, str(count), str(name)],
            env=environment(ODP_QUEUE_URL=url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, seconds: float) -> int:
        """Wait for its end, and return its exit status."""
        return self._process.wait(seconds)

    def __enter__(self) -> _application:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)


def main() -> int:
    """Run it as the command line asks; exit status 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description="Kill at random, and count.")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--relay-kills", type=int, default=20)
    parser.add_argument("--redis-kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        found = run(
            Path(home),
            events=options.events,
            relay_kills=options.relay_kills,
            redis_kills=options.redis_kills,
            seed=options.seed,
            patience=600.0,
        )
    print(found)
    return 0 if found.lost == found.pending == found.waiting == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
