"""The tables of a queue, their version, and the rights that producers and relays need.

The rows of events are inserted and deleted, and never updated: leases have a table of
their own, which stays small. Its rows are narrow and are updated within their page.
"""

from __future__ import annotations

from collections.abc import Sequence

from .tables import Tables

SCHEMA_VERSION = 1
"""Version of the tables that this version of the library uses."""

_CREATE = """\
CREATE TABLE {events} (
    id bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    key integer NOT NULL,  -- a hash of the first identifier: order within a customer
    account text NOT NULL,  -- the name of the account in queue_url, never its key
    version text NOT NULL DEFAULT '1',
    body bytea NOT NULL,
    PRIMARY KEY (account, id)
) WITH (
    -- By the number of deleted rows: a share of the rows would be late after a backlog.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.2, autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_limit = 2000
);
CREATE TABLE IF NOT EXISTS {leases} (
    id bigint NOT NULL,
    leased_until timestamptz NOT NULL,
    key integer NOT NULL,
    deliveries integer NOT NULL,
    account text NOT NULL,
    worker text NOT NULL,
    PRIMARY KEY (account, id)
) WITH (
    -- Room for renewed leases in the same page (HOT): no index has a changed column.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_limit = 2000
);
-- Where the events were dropped alone: their leases would hold those that follow.
DELETE FROM {leases} AS lease WHERE NOT EXISTS (
    SELECT FROM {events} AS event
    WHERE event.account = lease.account AND event.id = lease.id
);
CREATE TABLE IF NOT EXISTS {dead} (
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    dead_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    key integer NOT NULL,
    deliveries integer NOT NULL,
    account text NOT NULL,
    version text NOT NULL,
    reason text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (account, id)
);
CREATE TABLE IF NOT EXISTS {workers} (
    seen timestamptz NOT NULL,
    expires timestamptz NOT NULL,
    account text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (account, name)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);
CREATE TABLE IF NOT EXISTS {pauses} (
    paused_until timestamptz NOT NULL,
    account text NOT NULL,
    PRIMARY KEY (account)
);
"""

MIGRATIONS = (_CREATE,)
"""What leads from each version of the tables to the next one; the first creates them.

A new version adds a step, and `SCHEMA_VERSION` is the number of steps. A step that was
released does not change.
"""

_GRANT_USAGE = """\
GRANT USAGE ON SCHEMA {schema} TO {role};
"""

# Two columns to read: producers count events for the high-water mark, and see none.
_GRANT_PRODUCER = """\
GRANT INSERT (account, key, version, body), SELECT (account, id)
    ON {events} TO {role};
"""

_GRANT_RELAY = """\
GRANT SELECT, INSERT, DELETE ON {events}, {dead} TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON {leases}, {workers}, {pauses} TO {role};
"""

# The version is in the comment of a table, which every role can read.
_COMMENT = "odp-logging queue, schema "


def build_schema(
    tables: Tables, *, since: int = 0, migrations: Sequence[str] = MIGRATIONS
) -> str:
    """
    Return the SQL that leads from version *since* of the tables to the newest one.

    Args:
        since: Version of the tables that exist; 0 if there are none.
        migrations: The SQL that leads from each version to the next.
    """
    names = vars(tables)
    parts = [migration.format_map(names) for migration in migrations[since:]]
    parts.append(
        f"COMMENT ON TABLE {tables.events} IS '{_COMMENT}{len(migrations)}';\n"
    )
    return "".join(parts)


def build_grants(tables: Tables, *, producer: str = "", relay: str = "") -> str:
    """
    Return the SQL that gives two roles the rights they need, and no others.

    Args:
        producer: Role of the applications, also for the outbox; none if empty.
        relay: Role of the relays and of the commands ``dead`` and ``relay status``.
    """
    parts = []
    for role, grant in ((producer, _GRANT_PRODUCER), (relay, _GRANT_RELAY)):
        if role:
            names = {**vars(tables), "role": quote_role(role)}
            if tables.schema:
                parts.append(_GRANT_USAGE.format_map(names))
            parts.append(grant.format_map(names))
    return "".join(parts)


def quote_role(role: str) -> str:
    """Return the name of a role as SQL has it."""
    return '"' + role.replace('"', '""') + '"'


def parse_version(comment: str | None) -> int | None:
    """Return the version that the *comment* of a table states; None without one."""
    number = (comment or "").removeprefix(_COMMENT)
    return int(number) if number.isdecimal() and number != comment else None
