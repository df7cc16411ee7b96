"""The options of a queue's URL that only one kind of queue has."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

_NAME = r"[\w.:-]{1,100}"


class UrlOption(NamedTuple):
    """
    One option, in `QueueEngine.url_options` by its name.

    Args:
        default: Its value in a URL without it.
        parse: Returns the value of a text, or raises ValueError with what is expected,
            in words that follow the option's name. The message does not quote the text.
    """

    default: Any
    parse: Callable[[str], Any]


def parse_name(text: str) -> str:
    """Return *text* if it can be a part of a name."""
    if not re.fullmatch(_NAME, text):
        raise ValueError("is made of letters, digits and . : - _")
    return text


def parse_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return what parses a whole number from *minimum* to *maximum*."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise ValueError(f"is a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def parse_choice(*choices: str) -> Callable[[str], str]:
    """Return what parses one of *choices*."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return parse


COMMON_OPTIONS = {
    "account": UrlOption("default", parse_name),
    "high_water": UrlOption(1_000_000, parse_number(1, 10**12)),
}
"""Options of all kinds of queue. 1,000,000 events are about 350 MB of Redis' memory."""
