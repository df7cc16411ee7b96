"""The names of the tables of one queue."""

from __future__ import annotations

import re

DEFAULT_TABLE = "odp_events"

# PostgreSQL cuts names at 63 bytes; the longest suffix has 8.
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,54}"


class Tables:
    """
    The quoted names of the tables of a queue, for SQL texts.

    Args:
        table: Name of the table with the events, with or without a schema, as in the
            option ``table=`` of a queue's URL. Upper and lower case differ.

    Raises:
        ValueError: *table* is not such a name.
    """

    def __init__(self, table: str = DEFAULT_TABLE) -> None:
        if re.fullmatch(rf"(?:{_NAME}\.)?{_NAME}", table) is None:
            raise ValueError(
                "table is a name such as odp_events or schema.odp_events, of letters,"
                " digits and _"
            )
        self.name = table
        """The name as it was given."""
        self.schema = _quote(table.rpartition(".")[0]) if "." in table else ""
        """The schema; empty if the search path of the user decides."""
        self.events = _quote(table)
        """Events that wait or are leased."""
        self.leases = _quote(f"{table}_leases")
        """Which worker may send which event, until when."""
        self.dead = _quote(f"{table}_dead")
        """Dead letters."""
        self.workers = _quote(f"{table}_workers")
        """Registered workers."""
        self.pauses = _quote(f"{table}_pauses")
        """Pauses that ODP asked for, by account."""


def _quote(name: str) -> str:
    return ".".join(f'"{part}"' for part in name.split("."))
