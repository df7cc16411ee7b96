"""Idempotence ids: UUID4s from the random source of the operating system."""

from __future__ import annotations

import os
from collections.abc import Callable


class Identified:
    """Base class of `OdpEvent`, so that a check for one need not import its module."""

    __slots__ = ()


def generate_id() -> str:
    """Return a new UUID4 as text. Fork-safe: nothing is generated in advance."""
    # Not uuid.uuid4(): str() of it takes four times as long.
    digits = _read_random(16).hex()
    variant = _VARIANT_DIGITS[digits[16]]
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{variant}{digits[17:20]}-{digits[20:]}"
    )


def _choose_source() -> Callable[[int], bytes]:
    # os.urandom() releases the GIL, and then waits for the threads that took it.
    try:
        os.getrandom(1, os.GRND_NONBLOCK)
    except (AttributeError, OSError):  # not Linux, not allowed, or just booted
        return os.urandom
    return os.getrandom


_read_random = _choose_source()

# RFC 9562, section 5.4: version 4 in the 7th byte, variant 0b10 in the 9th.
_VARIANT_DIGITS = dict(zip("0123456789abcdef", "89ab" * 4))


def generate_ids(count: int) -> list[str]:
    """
    Return *count* new UUID4s as text.

    Never generated in advance: a forked child would reuse the ids.
    """
    random = b""
    while len(random) < 16 * count:  # a signal may cut getrandom() short
        random += _read_random(16 * count - len(random))
    digits = random.hex().encode()
    text = bytearray(_TEMPLATE * count)
    # The first digit of all ids, then the second of all: few steps for any count.
    for source, target in _COLUMNS:
        text[target :: len(_TEMPLATE)] = digits[source::32]
    text[_VARIANT_POSITION :: len(_TEMPLATE)] = digits[16::32].translate(_VARIANTS)
    return text.decode().split()


_TEMPLATE = b"00000000-0000-4000-8000-000000000000 "
_VERSION_POSITION, _VARIANT_POSITION = 14, 19
_DIGIT_POSITIONS = [n for n, digit in enumerate(_TEMPLATE) if digit in b"048"]
_COLUMNS = [
    (source, target)
    for source, target in enumerate(_DIGIT_POSITIONS)
    if target not in (_VERSION_POSITION, _VARIANT_POSITION)
]
"""Where the random digits come from and go to; those of version and variant are set."""

_VARIANTS = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
