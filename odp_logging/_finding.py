"""What the doctor finds: one thing that was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ok", "hint", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at; holds no key, identifier or payload.

    Args:
        kind: ``"ok"``; ``"hint"``, which may be as it should; or ``"problem"``.
        check: What was looked at, in a word or two.
        found: What was found, one line.
        advice: What to do, one line; empty where nothing is to be done.
    """

    kind: Kind
    check: str
    found: str
    advice: str = ""


def counted(number: int, what: str) -> str:
    """Return *number* and *what*, in the plural where it is not one."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def named(names: list[str], most: int = 5) -> str:
    """Return *names* on a line, the first of them if they are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
