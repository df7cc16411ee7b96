"""Idempotence ids: UUID4s from the random source of the operating system."""

from __future__ import annotations

import os
from struct import Struct


class Identified:
    """Base class of `OdpEvent`, so that a check for one need not import its module."""

    __slots__ = ()


def generate_id() -> str:
    """Return a new UUID4 as text. Fork-safe: nothing is generated in advance."""
    return generate_ids(1)[0]


def generate_ids(count: int) -> list[str]:
    """
    Return *count* new UUID4s as text.

    One os.urandom() call for all, because each call releases the GIL, which may take
    milliseconds to get back. Never generated in advance: a forked child would reuse
    the ids.
    """
    # Not uuid.uuid4(): str() of it costs several times as much.
    random = int.from_bytes(os.urandom(16 * count), "big")
    fixed = random & _read(_RANDOM_BITS * count) | _read(_FIXED_BITS * count)
    digits = fixed.to_bytes(16 * count, "big").hex().encode()
    return [(b"%b-%b-%b-%b-%b" % groups).decode() for groups in _split_ids(digits)]


def _read(bits: bytes) -> int:
    return int.from_bytes(bits, "big")


# RFC 9562, section 5.4: version 4 in the 7th byte, variant 0b10 in the 9th.
_RANDOM_BITS = bytes.fromhex("ffffffff ffff 0fff 3fff ffffffffffff")
_FIXED_BITS = bytes.fromhex("00000000 0000 4000 8000 000000000000")

_split_ids = Struct("8s4s4s4s12s").iter_unpack
