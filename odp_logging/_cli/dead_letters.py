"""What the command ``dead`` needs from a store with dead letters.

`spool.SpoolLetters` and `queue.QueueLetters` implement it. It has a file of its own
because `dead` imports both, and they import this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

LetterType = TypeVar("LetterType")


@dataclass(frozen=True, slots=True)
class StoredLetter(Generic[LetterType]):
    """
    An event that ODP rejected, as a spool or a queue keeps it.

    Args:
        id: Names the dead letter on the command line.
        body: The JSON of the event.
        reason: Why it was not delivered.
        details: What else is printed of it.
        letter: The dead letter in the store's own form.
    """

    id: str
    body: bytes
    reason: str
    details: dict[str, Any]
    letter: LetterType

    def __repr__(self) -> str:
        # Shown in tracebacks, which must not show an event.
        return f"<StoredLetter {self.id}: {len(self.body)} bytes>"


class DeadLetterStore(Protocol[LetterType]):
    """Reads, retries and deletes the dead letters of one spool or queue."""

    def read_letters(self) -> list[StoredLetter[LetterType]]:
        """Return all dead letters, the oldest first."""

    def retry_letters(self, letters: Sequence[StoredLetter[LetterType]]) -> None:
        """Have *letters* sent again."""

    def delete_letters(self, letters: Sequence[StoredLetter[LetterType]]) -> None:
        """Delete *letters*."""
