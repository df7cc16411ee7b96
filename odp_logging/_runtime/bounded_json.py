"""Parse JSON from outside, with limits on its size and its nesting.

Used for answers of ODP, datafiles, queue entries, and input of the commands.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Most levels of arrays and objects. An event has at most 12, a datafile about 20."""

MAX_BYTES = 64 * 1024 * 1024
"""Most bytes, or characters of a str. A list of empty lists takes 20 times as much
memory after parsing."""


def parse_json(
    text: str | bytes | bytearray,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
) -> Any:
    """
    Return the value of a JSON text.

    The nesting is measured before parsing. The standard library's parser recurses on
    the C stack. Deep nesting raises RecursionError there, or kills the process if
    `sys.setrecursionlimit` was increased (CPython 3.10 and 3.11).

    Args:
        text: JSON; bytes are UTF-8, with or without a byte order mark.
        max_bytes: Longest text that is parsed, in bytes or characters.
        max_depth: Most levels of arrays and objects.

    Raises:
        ValueError: *text* is not JSON, is too long or is nested too deeply. No other
            exception depends on the text. MemoryError and RecursionError are possible
            only if the process has no memory or the caller no stack left.
    """
    if len(text) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    if not isinstance(text, str):
        text = text.decode("utf-8-sig")
    # The count is an upper bound of the depth. It suffices for nearly every text and
    # costs 0.1 us.
    if text.count("[") + text.count("{") > max_depth and _is_nested_deeper(
        text, max_depth
    ):
        raise ValueError(f"nested more than {max_depth} levels deep")
    return json.loads(text)


_BRACKETS = r'"[^"\\]*(?:\\.?[^"\\]*)*"?|[\[{]|[\]}]'
"""Matches a bracket, or a string, which may contain brackets. A string without an end
matches, too, so no part of the text is scanned twice."""


def _is_nested_deeper(text: str, limit: int) -> bool:
    depth = 0
    for match in re.finditer(_BRACKETS, text, re.DOTALL):
        bracket = text[match.start()]
        if bracket in "[{":
            depth += 1
            if depth > limit:
                return True
        elif bracket != '"':
            depth -= 1
    return False
