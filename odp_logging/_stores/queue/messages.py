"""The values that a `QueueEngine` exchanges with the store, relay and command line."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..._config.queue_url import QueueUrl
    from ..._events.event import OdpEvent

VERSION = "1"
"""Version of the message format."""


class QueueError(Exception):
    """The queue did not do what was requested; the message is human-readable."""


class QueueMessage(NamedTuple):
    """
    An event as it is stored in a queue.

    Args:
        key: Messages with the same key stay in order. Empty if an engine read the
            message and does not store keys.
        body: The event's JSON.
        alias: Names the account of the event. The key of an account is never stored.
        version: Version of the message format.
    """

    key: bytes
    body: bytes
    alias: str
    version: str = VERSION

    def __repr__(self) -> str:
        # Shown in tracebacks, which must not name a customer. So are the others below.
        return f"<QueueMessage of {self.alias!r}: {len(self.body)} bytes>"


class PublishFailure(NamedTuple):
    """Why a message was not stored; *in_doubt* if it may be in the queue anyway."""

    message: str
    in_doubt: bool


def build_full_failure(url: QueueUrl) -> PublishFailure:
    """Return why the queue of *url* takes no more messages."""
    return PublishFailure(
        f"the queue {url.display_url} is full: high_water={url.high_water} is reached",
        in_doubt=False,
    )


class LeasedMessage(NamedTuple):
    """
    A message that one worker may send until its lease ends.

    Args:
        shard: The independent part of the queue that holds it; 0 if there is one part.
        entry_id: Identifies the message within its shard, for the engine alone.
        deliveries: How many workers have leased it so far, this one included.
        reason: Why it becomes a dead letter without being read; empty if it was read.
    """

    message: QueueMessage
    shard: int
    entry_id: Any
    deliveries: int = 1
    reason: str = ""

    @property
    def id(self) -> tuple[int, Any]:
        """Identifies the message within the queue."""
        return self.shard, self.entry_id

    def __repr__(self) -> str:
        return (
            f"<LeasedMessage {self.shard}.{self.entry_id}: {len(self.message.body)}"
            f" bytes, delivery {self.deliveries}>"
        )


class DeadLetter(NamedTuple):
    """
    A message that cannot be delivered and is kept for the operator.

    Args:
        id: Identifies the dead letter on the command line.
        reason: Why it cannot be delivered.
        deliveries: How many workers had leased the message.
        source: What identified the message before, for a search in the queue's logs.
        dead_since: When it became a dead letter, in epoch seconds.
    """

    id: str
    message: QueueMessage
    reason: str
    deliveries: int
    source: str
    dead_since: float

    def __repr__(self) -> str:
        # The reason is ODP's text, which may quote the event.
        return f"<DeadLetter {self.id}: {len(self.message.body)} bytes>"


class Consumer(NamedTuple):
    """
    A worker, as the queue knows it.

    Args:
        pending: Number of messages that it has leased.
        idle: Seconds since its last request.
        is_alive: Whether it is registered. One that is not has ended.
    """

    name: str
    pending: int
    idle: float
    is_alive: bool = False


class Depth(NamedTuple):
    """Number of messages in a queue; *oldest* is the age in seconds of the oldest."""

    ready: int = 0
    leased: int = 0
    dead: int = 0
    oldest: float = 0.0


def build_key(event: OdpEvent) -> bytes:
    """Return what keeps the events of one customer in order: the first identifier."""
    name, value = next(iter(event.identifiers.items()))
    return f"{name}={value}".encode("utf-8", "replace")


def choose_shard(key: bytes, count: int) -> int:
    """Return the shard of *key*, the same on every machine and in every version."""
    # Not hash(): each process salts it differently for bytes.
    return zlib.crc32(key) % count


def group_by_shard(leased: Iterable[LeasedMessage]) -> dict[int, list[LeasedMessage]]:
    """Return *leased* grouped by shard, in their order."""
    groups: dict[int, list[LeasedMessage]] = {}
    for message in leased:
        groups.setdefault(message.shard, []).append(message)
    return groups
