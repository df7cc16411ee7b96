"""A value that does not show itself: not in a repr, not in a pickle."""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """Hold *kept*; only `reveal` gives it back, every other way shows four characters.

    Args:
        kept: What to keep: an API key, or something that holds one.
    """

    __slots__ = ("_kept",)

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    def reveal(self) -> Any:
        """Return what is kept, to be put into a request and nowhere else."""
        return self._kept

    def __repr__(self) -> str:
        # Short keys would be given away by their last four characters.
        if isinstance(self._kept, str) and len(self._kept) >= 12:
            return f"…{self._kept[-4:]}"
        return "…"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._kept == other._kept)

    def __hash__(self) -> int:
        return hash(self._kept)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; set ODP_API_KEY where it is needed")


class Hidden(Secret):
    """A `Secret` of which not even the last characters are shown: part of a text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "…"

    __str__ = __repr__
