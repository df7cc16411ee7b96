"""Idempotence ids: UUID4s from the random source of the operating system."""

from __future__ import annotations

import os


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
    digits = os.urandom(16 * count).hex().encode()
    text = bytearray(_TEMPLATE * count)
    # The first digit of all ids, then the second of all: few steps for any count.
    for source, target in enumerate(_DIGIT_POSITIONS):
        text[target :: len(_TEMPLATE)] = digits[source::32]
    text[_VARIANT_POSITION :: len(_TEMPLATE)] = digits[16::32].translate(_VARIANTS)
    text[_VERSION_POSITION :: len(_TEMPLATE)] = b"4" * count
    return text.decode().split()


_TEMPLATE = b"00000000-0000-4000-8000-000000000000 "
_DIGIT_POSITIONS = [n for n, digit in enumerate(_TEMPLATE) if digit in b"048"]
# RFC 9562, section 5.4: version 4 in the 7th byte, variant 0b10 in the 9th.
_VERSION_POSITION = 14
_VARIANT_POSITION = 19
_VARIANTS = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)

_RANDOM_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_FIXED_BITS = 0x00000000_0000_4000_8000_000000000000
