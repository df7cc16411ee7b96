"""The insert of one event, for the engine's users and for the outbox.

The outbox runs it on the connection of an application, through whichever library that
uses. So it has ``%s`` placeholders, which psycopg, psycopg2, Django and SQLAlchemy's
``exec_driver_sql`` have in common, and parameters of the types str, int and bytes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from ..messages import VERSION, build_key
from .tables import Tables

if TYPE_CHECKING:
    from ...._events.event import OdpEvent


def build_insert(table: str) -> str:
    """
    Return the SQL that inserts one event into *table*.

    Raises:
        ValueError: *table* is no name of a table.
    """
    return (
        f"INSERT INTO {Tables(table).events} (account, key, version, body)"
        " VALUES (%s, %s, %s, %s)"
    )


def build_parameters(event: OdpEvent, alias: str) -> tuple[str, int, str, bytes]:
    """Return the parameters of `build_insert` for *event* of the account *alias*."""
    return alias, hash_key(build_key(event)), VERSION, event.json


def hash_key(key: bytes) -> int:
    """
    Return what the column ``key`` has for *key*: a signed number of 32 bits.

    It is the same on every machine and in every version. Two customers with the same
    number are leased by one worker at a time, as one customer is.
    """
    number = zlib.crc32(key)
    return number - (1 << 32) if number >= 1 << 31 else number
