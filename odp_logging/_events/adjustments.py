"""
Records how the values of an event were changed to fit ODP's limits.

All modules that build an event write to one `Adjustments`. `Builder` reports it.
"""

from __future__ import annotations


class Adjustments(dict[str, int]):
    """
    The adjustments made to one event: counts by kind, and messages for a warning.

    `messages` has the first message of each kind. It holds no value of the event.
    `empty_names` are the names of identifiers that were left out for being empty.
    """

    __slots__ = ("empty_names", "messages")

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, str] = {}
        self.empty_names: tuple[str, ...] = ()

    def merge(self, other: Adjustments) -> None:
        """Add the counts and messages of *other*."""
        for kind, count in other.items():
            record_adjustment(self, kind, count)
        # The first message of each kind is kept.
        self.messages = {**other.messages, **self.messages}
        self.empty_names += other.empty_names


def record_adjustment(adjustments: dict[str, int], kind: str, count: int = 1) -> None:
    """Add *count* to the adjustments of *kind*."""
    adjustments[kind] = adjustments.get(kind, 0) + count
