"""What goes into a queue and comes out of it: the values its engines speak in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

VERSION = "1"
"""Of the form in which an event is carried."""


class QueueError(Exception):
    """The queue did not do what it was asked to; the message says why, for people."""


class Parcel(NamedTuple):
    """
    An event as a queue carries it.

    Args:
        key: Events with the same one stay in order.
        body: The event's JSON.
        alias: Names the account it is for.
        version: Of the form in which it is carried.
    """

    key: bytes
    body: bytes
    alias: str
    version: str = VERSION


class Refusal(NamedTuple):
    """Why a parcel was not taken; *in_doubt* if it may be there all the same."""

    message: str
    in_doubt: bool


class Leased(NamedTuple):
    """A parcel on loan; *shard* and *number* are the engine's name for it."""

    parcel: Parcel
    shard: int
    number: Any
    deliveries: int = 1


class Depth(NamedTuple):
    """How much there is in a queue; *oldest* in seconds since it was put there."""

    ready: int = 0
    leased: int = 0
    dead: int = 0
    oldest: float = 0.0


def shard_of(key: bytes, shards: int) -> int:
    """Return the shard of *key*: the same on every machine and in every version."""
    return zlib.crc32(key) % shards


def by_shard(leased: Iterable[Leased]) -> dict[int, list[Leased]]:
    """Return *leased* by their shards, each in its order."""
    groups: dict[int, list[Leased]] = {}
    for each in leased:
        groups.setdefault(each.shard, []).append(each)
    return groups
