"""Idempotence ids: UUID4s from the random source of the operating system."""

from __future__ import annotations

import os


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
    # Not uuid.uuid4(): str() of it costs six times as much.
    digits = os.urandom(16 * count).hex()
    ids = []
    for start in range(0, 32 * count, 32):
        h = digits[start : start + 32]
        variant = _VARIANTS[h[16]]
        ids.append(f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")
    return ids


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
