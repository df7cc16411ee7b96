"""What PostgreSQL's tables look like while many events pass through them.

    python -m tests.benchmarks.bloat [EVENTS]

Half of the events pass through a nearly empty queue. A quarter waits until all of it is
there, and is delivered then. The last quarter passes as the first half did, which shows
whether the space of the backlog is used again. Leases are renewed once. The server has
its default settings, also those of autovacuum.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from odp_logging import OdpEvent
from odp_logging._config.queue_url import QueueUrl, parse_queue_url
from odp_logging._runtime.secret import OpaqueSecret
from odp_logging._stores.queue.messages import QueueMessage, build_key
from odp_logging._stores.queue.postgresql.engine import PostgresEngine

from ..postgresql import IS_INSTALLED, MISSING, PostgresServer

_EVENTS = 2_000_000
_BATCH = 100
_LEAD = 10_000
"""Events by which producers may be ahead of the relays in the nearly empty queue."""

_STATE = """\
SELECT relname, pg_relation_size(relid), pg_indexes_size(relid), n_live_tup, n_dead_tup,
    n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, autovacuum_count
FROM pg_stat_user_tables WHERE relname IN ('odp_events', 'odp_events_leases')
ORDER BY relname\
"""
_HEADER = (
    "| events delivered | waiting | table | table MB | indexes MB | dead rows"
    " | inserted | updated | of them HOT | deleted | vacuums |\n" + "|---" * 11 + "|"
)


def build_engine(text: str) -> PostgresEngine:
    """Return an engine for the queue *text*."""
    PostgresEngine.load()
    url = parse_queue_url(OpaqueSecret(text))
    assert isinstance(url, QueueUrl)
    return PostgresEngine(url)


def build_messages(first: int) -> Iterator[QueueMessage]:
    """Yield a batch of events as a shop has them, of 300 bytes each."""
    for number in range(first, first + _BATCH):
        event = OdpEvent(
            "purchase",
            {"fs_user_id": f"user-{number % 100_000}"},
            type="order",
            data={"order_id": f"order-{number}", "value": 12.5, "currency": "EUR"},
        )
        yield QueueMessage(build_key(event), event.json, "default")


def produce(url: str, first: int, end: int, published: Any, delivered: Any) -> None:
    """Publish the events from *first* to *end*, ahead of *delivered* by a little."""
    engine = build_engine(url)
    for number in range(first, end, _BATCH):
        while delivered is not None and number - delivered.value > _LEAD:
            time.sleep(0.005)
        assert not engine.publish(list(build_messages(number)), None)
        published.value = number + _BATCH
    engine.close()


def relay(url: str, delivered: Any, end: int) -> None:
    """Lease, renew and acknowledge, as a relay does, until *end* are delivered."""
    engine = build_engine(url)
    while delivered.value < end:
        held = engine.lease(_BATCH, 0.05, 1_000_000)
        engine._leases._next_renewal_at = 0.0
        kept = engine.renew(held)
        engine.acknowledge(kept, [])
        with delivered.get_lock():
            delivered.value += len(kept)
    engine.close()


def print_state(server: PostgresServer, published: int, delivered: int) -> None:
    """Print a row for each of the two tables."""
    for name, size, indexes, _, dead, *counts in server.ask(_STATE):
        figures = " | ".join(f"{figure:,}" for figure in (dead, *counts))
        print(
            f"| {delivered:,} | {published - delivered:,} | {name} | {size / 1e6:.1f}"
            f" | {indexes / 1e6:.1f} | {figures} |",
            flush=True,
        )


def run(events: int) -> None:
    """Run the three parts, and print the state every tenth of the events."""
    with PostgresServer() as server:
        server.create_tables()
        url = server.build_url(f"high_water={10 * events}")
        published, delivered = (multiprocessing.Value("q", 0) for _ in range(2))
        half, quarter = events // 2, events // 4
        print(_HEADER, flush=True)

        def watch(is_done: Callable[[], bool]) -> None:
            due = delivered.value + published.value
            while not is_done():
                if delivered.value + published.value >= due:
                    print_state(server, published.value, delivered.value)
                    due = delivered.value + published.value + events // 5
                time.sleep(0.1)

        def pass_through(first: int, end: int, *, is_backlog: bool = False) -> None:
            ahead = None if is_backlog else delivered
            producer = multiprocessing.Process(
                target=produce, args=(url, first, end, published, ahead)
            )
            relays = [
                multiprocessing.Process(target=relay, args=(url, delivered, end))
                for _ in range(2)
            ]
            producer.start()
            if is_backlog:
                watch(lambda: not producer.is_alive())
            for process in relays:
                process.start()
            watch(lambda: not any(process.is_alive() for process in relays))
            producer.join()

        began = time.monotonic()
        pass_through(0, half)
        pass_through(half, half + quarter, is_backlog=True)
        pass_through(half + quarter, events)
        print_state(server, published.value, delivered.value)
        rate = events / (time.monotonic() - began)
        (waiting,) = server.ask("SELECT count(*) FROM odp_events")
        (wal,) = server.ask("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        print(
            f"\n{rate:,.0f} events/s in and out with one producer and two workers,"
            f" {waiting[0]} left, {float(wal[0]) / events:,.0f} bytes of WAL per event"
        )


if __name__ == "__main__":
    if not IS_INSTALLED:
        sys.exit(MISSING)
    run(int(sys.argv[1]) if len(sys.argv) > 1 else _EVENTS)
