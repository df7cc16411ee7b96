"""A queue for the commands ``relay`` and ``dead``: URL, engine and dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from .._stores.queue.engines import find_engine
from .._stores.queue.messages import QueueError
from .dead_letters import StoredLetter
from .errors import CommandError
from .event_view import format_time
from .options import load_config, print_message

if TYPE_CHECKING:
    from .._config.queue_url import QueueUrl
    from .._config.settings import Config
    from .._stores.queue.base import QueueEngine
    from .._stores.queue.messages import DeadLetter


def load_queue_config(given: str | None) -> tuple[QueueUrl, Config]:
    """
    Return the queue *given*, or else that of ``ODP_QUEUE_URL``, and all settings.

    Raises:
        CommandError: Neither is set, or a setting cannot be used.
    """
    try:
        config = load_config({"queue_url": given} if given else {}, print_message)
    except CommandError as error:
        # On the command line there is no setting of this name.
        raise CommandError(str(error).replace("queue_url", "the URL", 1)) from None
    if config.queue_url is None:
        raise CommandError("which queue? name it with --from URL, or set ODP_QUEUE_URL")
    return config.queue_url, config


@contextmanager
def open_engine(url: QueueUrl) -> Iterator[QueueEngine]:
    """Yield the engine of *url*; turn its errors into those of the command."""
    try:
        engine = find_engine(url)(url)
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from None
    try:
        with closing(engine):
            yield engine
    except QueueError as error:
        raise CommandError(str(error)) from None


class QueueLetters:
    """The dead letters of the queue behind *engine*, for the command ``dead``."""

    def __init__(self, engine: QueueEngine) -> None:
        self._engine = engine

    def read_letters(self) -> list[StoredLetter[DeadLetter]]:
        """Return all dead letters, the oldest first."""
        return [
            StoredLetter(
                id=letter.id,
                body=letter.message.body,
                reason=letter.reason,
                details={
                    "buried": format_time(letter.dead_since),
                    "deliveries": letter.deliveries,
                    "from": letter.source,
                },
                letter=letter,
            )
            for letter in self._engine.list_dead_letters()
        ]

    def retry_letters(self, letters: Sequence[StoredLetter[DeadLetter]]) -> None:
        """Put *letters* back into the queue."""
        self._engine.retry_dead_letters([stored.letter for stored in letters])

    def delete_letters(self, letters: Sequence[StoredLetter[DeadLetter]]) -> None:
        """Delete *letters*."""
        self._engine.delete_dead_letters([stored.letter for stored in letters])
