"""Format counts and lists of names for messages."""

from __future__ import annotations


def format_count(number: int, noun: str) -> str:
    """Return *number*, with thousands separators, and the *noun* that goes with it."""
    return f"{number:,} {pluralize(noun, number)}"


def pluralize(noun: str, number: int) -> str:
    """Return *noun*, in the plural unless *number* is 1."""
    return noun if number == 1 else f"{noun}s"


def format_names(names: list[str], limit: int = 5) -> str:
    """Return *names* on one line; if there are many, only the first *limit*."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
