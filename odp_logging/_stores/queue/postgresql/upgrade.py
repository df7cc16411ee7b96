"""Creating the tables of a queue, or bringing them to the newest version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..messages import QueueError
from .connection import Server
from .schema import MIGRATIONS, build_schema
from .tables import Tables

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_UPGRADE_SECONDS = 3600.0

_LOCK = "SELECT pg_advisory_xact_lock(7235419023871652)"
"""Two of these commands at the same time run one after the other."""


def upgrade_tables(
    url: QueueUrl,
    tables: Tables,
    *,
    clock: Callable[[], float],
    migrations: Sequence[str] = MIGRATIONS,
) -> str:
    """
    Create or upgrade *tables* in one transaction; return what was done, in one line.

    Args:
        migrations: The SQL that leads from each version to the next.

    Raises:
        QueueError: A table of that name is not of this library, or is of a newer
            version; or a statement failed. Nothing has changed.
    """
    name, target = url.display_url, len(migrations)
    # A connection of its own: it has no time limit that an upgrade would exceed.
    server = Server(url, None, clock=clock, call_seconds=_UPGRADE_SECONDS)
    try:
        with server.connect():
            # No ROLLBACK: an error ends the connection, and the server rolls back.
            server.run_script("BEGIN")
            server.run_script(_LOCK)
            version = server.read_version(tables)
            if version is None:
                raise QueueError(
                    f"the queue {name} has a table of that name that is not of this"
                    " library; use another one with table="
                )
            if version > target:
                raise QueueError(
                    f"the queue {name} has tables of version {version}, and this"
                    f" library knows {target}; upgrade the library"
                )
            if version < target:
                server.run_script(
                    build_schema(tables, since=version, migrations=migrations)
                )
            server.run_script("COMMIT")
    finally:
        server.disconnect()
    if version == target:
        return f"{name}: the tables have version {target}; nothing to do"
    if version == 0:
        return f"{name}: the tables are created, in version {target}"
    return f"{name}: the tables are upgraded from version {version} to {target}"
