"""What a log call costs in an outbox, over the bare INSERT of the same row.

A server of our own on loopback; each round is one transaction with a burst of rows, in
turns by hand and by log calls. What the log call adds is building the event.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

from odp_logging import OdpEvent, OdpHandler, outbox

from ..postgresql import IS_INSTALLED, MISSING, PostgresServer
from .figures import Figure
from .programs import run
from .shop import fields, on_root, purchase

ROUNDS = 40
BURST = 200
LIBRARIES = ("psycopg", "psycopg2", "sqlalchemy", "django")


def measure() -> list[Figure]:
    """Return the figures of outcome 13; none where there is no PostgreSQL."""
    if not IS_INSTALLED:
        print(f"outbox is left out: {MISSING}", file=sys.stderr)
        return []
    figures: list[Figure] = []
    with PostgresServer() as server:
        server.create_tables()
        for library in LIBRARIES:
            found = run("outbox", library, server.port)
            for name, what in (
                ("abort", "a tagged call in an outbox"),
                ("continue", 'with on_error="continue", in a savepoint'),
            ):
                figures.append(
                    Figure(
                        13,
                        f"{library}: {what}",
                        found[name],
                        "µs",
                        found["bare"],
                        "bare INSERT",
                        note=_format_parts(found, name),
                    )
                )
    return figures


def _format_parts(found: dict[str, float], name: str) -> str:
    cpu, bare = found[f"{name}_cpu"], found["bare_cpu"]
    note = f"of that, {cpu:.3g} µs are CPU of this process, {bare:.3g} of the floor's"
    if name == "continue":
        return note
    return (
        f"{note}; without an outbox the call takes {found['plain']:.3g} µs, and"
        f" building an event by hand {found['build']:.3g}"
    )


def main(library: str, port: int) -> None:
    """Measure one library and print what was found."""
    connection, cursor, commit = connect(library, port)
    handler = OdpHandler(api_key="key", api_host="http://127.0.0.1:9")
    insert = (
        "INSERT INTO odp_events (account, key, version, body) VALUES (%s, %s, %s, %s)"
    )
    event = fields()
    body = OdpEvent(
        event["odp_action"], event["odp_identifiers"], None, event["odp_data"]
    ).json

    def by_hand() -> None:
        cursor.execute(insert, ("default", 17, "1", body))

    def build() -> None:
        made = fields()
        OdpEvent(made["odp_action"], made["odp_identifiers"], None, made["odp_data"])

    def use(on_error: Any) -> Callable[[], AbstractContextManager[None]]:
        return lambda: outbox(connection, on_error=on_error)

    null = logging.NullHandler()
    kinds: dict[str, tuple[Any, Callable[[], None], logging.Handler]] = {
        "bare": (nullcontext, by_hand, null),
        "abort": (use("abort"), purchase, handler),
        "continue": (use("continue"), purchase, handler),
        "build": (nullcontext, build, null),
        "plain": (nullcontext, purchase, handler),
    }
    times: dict[str, list[float]] = {
        name: [] for kind in kinds for name in (kind, f"{kind}_cpu")
    }
    for number in range(-3, ROUNDS):
        for name, (block, call, root) in kinds.items():
            on_root(root)
            with block():
                began, cpu = time.perf_counter(), time.process_time()
                for _ in range(BURST):
                    call()
                cpu = time.process_time() - cpu
                took = time.perf_counter() - began
            commit()
            if number >= 0:
                times[name].append(took / BURST * 1e6)
                times[f"{name}_cpu"].append(cpu / BURST * 1e6)
    stats = handler.client.stats
    assert stats.delivered == 2 * (ROUNDS + 3) * BURST, stats
    on_root(null)
    print(json.dumps({name: median(found) for name, found in times.items()}))


def connect(library: str, port: int) -> tuple[Any, Any, Callable[[], None]]:
    """Return a connection for `outbox`, a cursor for the bare insert, and a commit."""
    dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    if library == "psycopg":
        import psycopg

        connection: Any = psycopg.connect(dsn)
        return connection, connection.cursor(), connection.commit
    if library == "psycopg2":
        import psycopg2

        connection = psycopg2.connect(dsn)
        return connection, connection.cursor(), connection.commit
    if library == "sqlalchemy":
        import sqlalchemy
        from sqlalchemy.orm import Session

        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        session = Session(sqlalchemy.create_engine(url))
        return session, _SessionCursor(session), session.commit
    from django.conf import settings

    database = {"HOST": "127.0.0.1", "PORT": port, "USER": "postgres"}
    engine = "django.db.backends.postgresql"
    settings.configure(
        DATABASES={"default": {"ENGINE": engine, "NAME": "postgres", **database}}
    )
    import django
    from django.db import connection as found

    django.setup()
    found.set_autocommit(False)
    return found, found.cursor(), found.commit


class _SessionCursor:
    """Executes a statement as an application of SQLAlchemy does."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def execute(self, statement: str, parameters: tuple[Any, ...]) -> None:
        """Execute a statement on the session's connection."""
        self._session.connection().exec_driver_sql(statement, parameters)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
