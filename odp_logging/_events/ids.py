"""Idempotence ids: UUID4s from the random source of the operating system."""

from __future__ import annotations

import os
from struct import Struct


class Identified:
    """Base class of `OdpEvent`, so that a check for one need not import its module."""

    __slots__ = ()


def generate_id() -> str:
    """Return a new UUID4 as text. Fork-safe: nothing is generated in advance."""
    # Not uuid.uuid4(): str() of it takes twice as long.
    value = int.from_bytes(os.urandom(16), "big") & _RANDOM_BITS | _FIXED_BITS
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def generate_ids(count: int) -> list[str]:
    """
    Return *count* new UUID4s as text.

    One os.urandom() call for all, because each call releases the GIL, which may take
    milliseconds to get back. Never generated in advance: a forked child would reuse
    the ids.
    """
    random = int.from_bytes(os.urandom(16 * count), "big")
    values = random & _repeat(_RANDOM_BITS, count) | _repeat(_FIXED_BITS, count)
    digits = values.to_bytes(16 * count, "big").hex().encode()
    return [(b"%b-%b-%b-%b-%b" % groups).decode() for groups in _split_ids(digits)]


def _repeat(bits: int, count: int) -> int:
    return int.from_bytes(bits.to_bytes(16, "big") * count, "big")


# RFC 9562, section 5.4: version 4 in the 7th byte, variant 0b10 in the 9th.
_RANDOM_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_FIXED_BITS = 0x00000000_0000_4000_8000_000000000000

_split_ids = Struct("8s4s4s4s12s").iter_unpack
