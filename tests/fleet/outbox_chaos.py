"""
Kill shops, relays and PostgreSQL at random, and compare orders with delivered events.

    python -m tests.fleet.outbox_chaos --transactions 20000 --kills 25

Three shops place orders with an outbox, through psycopg, psycopg2 and SQLAlchemy. A
third of the transactions is rolled back, and of the others one in five rolls back a
savepoint. Shops, relays and the postmaster are killed with ``kill -9`` and replaced.
Afterwards, exactly the events of the committed orders have arrived.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..journeys.ledger_follower import LedgerFollower
from ..postgresql import PostgresServer
from ..waiting import until
from .processes import RelayProcess, build_environment

RELAYS = 2
LIBRARIES = ("psycopg", "psycopg2", "sqlalchemy")

SHOP = """
import logging, sys, time
import odp_logging

library, port, first, last = sys.argv[1], *map(int, sys.argv[2:])
dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=5"
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(odp_logging.OdpHandler())

if library == "sqlalchemy":
    import sqlalchemy
    from sqlalchemy.orm import Session
    from sqlalchemy.pool import NullPool

    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    connect = lambda: Session(engine)
    execute = lambda session, statement: session.execute(sqlalchemy.text(statement))
elif library == "psycopg":
    import psycopg

    connect = lambda: psycopg.connect(dsn)
    execute = lambda connection, statement: connection.execute(statement)
else:
    import psycopg2

    connect = lambda: psycopg2.connect(dsn)
    execute = lambda connection, statement: connection.cursor().execute(statement)

def log(name):
    logger.info("sold", extra={
        "odp_action": "sold",
        "odp_identifiers": {"fs_user_id": f"u{hash(name) % 100}"},
        "odp_idempotence_id": name,
    })

def place(connection, number):
    name = f"{library}-{number}"
    with odp_logging.outbox(connection):
        execute(connection, f"INSERT INTO orders VALUES ('{name}')")
        if number % 5 == 0:
            execute(connection, "SAVEPOINT undone")
            log(f"{name}-undone")
            execute(connection, "ROLLBACK TO SAVEPOINT undone")
        log(name)
    if number % 3:
        connection.commit()
    else:
        connection.rollback()

connection = None
number = first
while number < last:
    is_tried = False
    try:
        if connection is None:
            connection = connect()
        execute(connection, f"INSERT INTO tried VALUES ('{library}', {number})"
                            " ON CONFLICT DO NOTHING")
        connection.commit()
        is_tried = True
        place(connection, number)
    except Exception as error:
        print(type(error).__name__, flush=True)
        if connection is not None:
            try:
                connection.close()
            except Exception:
                pass
        connection = None
        time.sleep(0.05)
    number += is_tried  # whether it was committed is in the database alone
"""


class Outcome(NamedTuple):
    """Numbers of orders and events; lost and phantom ones are faults of the outbox."""

    tried: int
    committed: int
    lost: int
    phantoms: int
    duplicates: int
    waiting: int
    dead: int
    seconds: float


def run(
    *,
    transactions: int,
    kills: int,
    seed: int = 1,
    patience: float = 60.0,
) -> Outcome:
    """
    Place orders amid kills, and compare them with the events that ODP has.

    Of five kills two are of a shop, two of a relay and one of the postmaster.
    """
    generator = random.Random(seed)
    start = time.monotonic()
    each = transactions // len(LIBRARIES)
    with ExitStack() as stack:
        options = {"fsync": "on", "full_page_writes": "on"}
        server = stack.enter_context(PostgresServer(options))
        server.create_tables()
        server.ask("CREATE TABLE orders (name text PRIMARY KEY)")
        server.ask(
            "CREATE TABLE tried"
            " (library text, number integer, UNIQUE (library, number))"
        )
        odp = stack.enter_context(Emulator(key=KEY, seed=seed))
        odp.fault(status=503, rate=0.05)
        odp.fault(drop="after", rate=0.05)
        follower = stack.enter_context(LedgerFollower(odp))

        def start_relay() -> RelayProcess:
            relay = RelayProcess(server.url, odp, "--workers", "2", "--lease", "3")
            return stack.enter_context(relay)

        def start_shop(library: str) -> _Shop:
            answer = server.ask(
                "SELECT max(number) + 1 FROM tried WHERE library = %s", library
            )
            first = answer[0][0] or 0
            return stack.enter_context(_Shop(server, library, first, each))

        relays = [start_relay() for _ in range(RELAYS)]
        shops = {library: start_shop(library) for library in LIBRARIES}
        pause = threading.Event()
        for n in range(kills):
            share = transactions * 0.5 * (n + 1) / kills
            until(
                lambda share=share: len(follower.accepted) >= share, "events", patience
            )
            pause.wait(generator.random() * 0.3)
            kind = n % 5
            if kind == 4:
                server.kill()
                server.start()
            elif kind % 2:
                index = generator.randrange(RELAYS)
                relays[index].__exit__(None, None, None)
                relays[index] = start_relay()
            else:
                library = generator.choice(LIBRARIES)
                shops[library].end()
                shops[library] = start_shop(library)
        for shop in shops.values():
            assert shop.wait(patience) == 0
        odp.clear_faults()
        [[tried]] = server.ask("SELECT count(*) FROM tried")
        orders = {name for (name,) in server.ask("SELECT name FROM orders")}
        until(
            lambda: server.ask("SELECT count(*) FROM odp_events") == [(0,)],
            "an empty queue",
            patience,
        )
        for relay in relays:
            assert relay.end() == 0, relay.text
        until(lambda: orders <= follower.accepted, "the ledger", patience)
        [[waiting]] = server.ask("SELECT count(*) FROM odp_events")
        [[dead]] = server.ask("SELECT count(*) FROM odp_events_dead")
    return Outcome(
        tried=tried,
        committed=len(orders),
        lost=len(orders - follower.accepted),
        phantoms=len(follower.accepted - orders) + len(follower.false_duplicates),
        duplicates=follower.duplicates,
        waiting=waiting,
        dead=dead,
        seconds=time.monotonic() - start,
    )


class _Shop:
    """A process that places orders, which ends with the `with` block."""

    def __init__(
        self, server: PostgresServer, library: str, first: int, last: int
    ) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", SHOP),
                *(library, str(server.port), str(first), str(last)),
            ],
            env=build_environment(ODP_QUEUE_URL=server.url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, seconds: float) -> int:
        """Wait for the end of the process; return its exit status."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """Kill the process, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)

    def __enter__(self) -> _Shop:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def main() -> int:
    """Run once; return exit status 0 only if events and orders are the same."""
    parser = argparse.ArgumentParser(
        description="Kill processes at random; compare orders with delivered events."
    )
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = run(
        transactions=options.transactions,
        kills=options.kills,
        seed=options.seed,
        patience=600.0,
    )
    print(outcome)
    is_exact = outcome.lost == outcome.phantoms == outcome.waiting == outcome.dead == 0
    return 0 if is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
