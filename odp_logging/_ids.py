"""Idempotence ids: UUID4s, from the system's randomness."""

from __future__ import annotations

import os


class Identified:
    """What has an idempotence id: an `OdpEvent`, known without importing its module."""

    __slots__ = ()


def new_id() -> str:
    """Return a new UUID4 as text, from the system's randomness (safe after a fork)."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """
    Return new UUID4s as text.

    Drawn at once: each look at the system's randomness lets other threads go first,
    which may take some milliseconds. And never ahead, for a fork would share them.
    """
    # str(uuid.uuid4()) costs six times as much.
    drawn = os.urandom(16 * count).hex()
    made = []
    for start in range(0, 32 * count, 32):
        h = drawn[start : start + 32]
        variant = _VARIANTS[h[16]]
        made.append(f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")
    return made


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
