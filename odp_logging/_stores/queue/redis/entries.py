"""The format of a stream's entries, which relays of other versions read, too.

An entry is one event: ``v=1``, ``e`` its JSON, ``a`` the alias of its account, never a
key. The entry of a dead letter has ``reason``, ``deliveries`` and ``from``, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..messages import DeadLetter, LeasedMessage, QueueMessage


def encode_message(message: QueueMessage) -> dict[Any, Any]:
    """Return the fields of an entry."""
    return {"v": message.version, "e": message.body, "a": message.alias}


def parse_message(fields: Mapping[bytes, bytes]) -> QueueMessage:
    """Return the message of an entry; a field that it does not have is empty."""
    body, alias = fields.get(b"e", b""), _decode_text(fields.get(b"a"))
    return QueueMessage(b"", body, alias, _decode_text(fields.get(b"v")))


def encode_dead_letter(leased: LeasedMessage, reason: str) -> dict[Any, Any]:
    """Return the fields of a dead letter's entry."""
    return {
        **encode_message(leased.message),
        "reason": reason,
        "deliveries": leased.deliveries,
        "from": leased.entry_id,
    }


def parse_dead_letter(
    shard: int, entry_id: bytes, fields: Mapping[bytes, bytes]
) -> DeadLetter:
    """Return the dead letter that is entry *entry_id* of a shard."""
    return DeadLetter(
        id=f"{shard}.{entry_id.decode()}",
        message=parse_message(fields),
        reason=_decode_text(fields.get(b"reason")),
        deliveries=int(fields.get(b"deliveries", b"0")),
        source=_decode_text(fields.get(b"from")),
        dead_since=parse_time(entry_id),
    )


def parse_time(entry_id: bytes) -> float:
    """Return the time at which Redis added an entry, in epoch seconds."""
    return int(entry_id.partition(b"-")[0]) / 1000


def _decode_text(field: bytes | None) -> str:
    return (field or b"").decode("utf-8", "replace")
