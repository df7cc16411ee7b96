"""Removing settled entries, in an order that loses none if a step fails.

Not in MULTI: a Redis that has reached its maxmemory refuses a whole transaction, also
one that would free memory. And Redis does not roll back: where the command that stores
a dead letter fails, those after it are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..messages import LeasedMessage, QueueError, group_by_shard
from .entries import encode_dead_letter
from .streams import GROUP, Streams

_COPY_ENTRY = """
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #entries == 0 then return 0 end
local fields = entries[1][2]
for index = 2, #ARGV do fields[#fields + 1] = ARGV[index] end
redis.call('XADD', KEYS[2], '*', unpack(fields))
return 1
"""
"""Copies an entry to the dead letters, with the fields that are ARGV[2] and so on."""


class Settler:
    """Acknowledges entries of *streams* and turns some of them into dead letters."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._stored: set[tuple[int, Any]] = set()
        """Ids of entries whose dead letters are stored, until they are removed."""

    def settle(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        """
        Store the dead letters, then remove their entries and those of *done*.

        An entry whose dead letter is not stored stays leased.

        Raises:
            QueueError: Redis did not answer, or refused a dead letter.
        """
        reasons = {message.id: reason for message, reason in dead}
        messages = [*done, *(message for message, _ in dead)]
        failure: Exception | None = None
        with self._streams.connect():
            for shard, shard_messages in group_by_shard(messages).items():
                failures = self._store_dead_letters(shard, shard_messages, reasons)
                failure = failure or next(iter(failures.values()), None)
                self._remove(shard, [m for m in shard_messages if m.id not in failures])
        if failure is not None:
            raise QueueError(self._streams.servers.format_error(failure))

    def _store_dead_letters(
        self,
        shard: int,
        messages: Sequence[LeasedMessage],
        reasons: Mapping[tuple[int, Any], str],
    ) -> dict[tuple[int, Any], Exception]:
        """Store the dead letters of a shard; return what Redis refused, by id."""
        pipeline = self._streams.get_client(shard).pipeline(transaction=False)
        dead_key = self._streams.get_dead_key(shard)
        added: list[tuple[int, Any]] = []
        for message in messages:
            if message.id not in reasons or message.id in self._stored:
                continue
            added.append(message.id)
            fields = encode_dead_letter(message, reasons[message.id])
            if message.reason:  # was not read, so it cannot be written
                keys = self._streams.get_key(shard), dead_key
                pipeline.eval(
                    _COPY_ENTRY, 2, *keys, message.entry_id, *_list_details(fields)
                )
            else:
                pipeline.xadd(dead_key, fields)
        responses = pipeline.execute(raise_on_error=False) if added else []
        failures = {
            id_: response
            for id_, response in zip(added, responses)
            if isinstance(response, Exception)
        }
        # A call that fails is repeated, and must not store them a second time.
        self._stored.update(id_ for id_ in added if id_ not in failures)
        return failures

    def _remove(self, shard: int, messages: Sequence[LeasedMessage]) -> None:
        if not messages:
            return
        key = self._streams.get_key(shard)
        entry_ids = [message.entry_id for message in messages]
        # Deleted first. A deleted entry that is still leased is never delivered, and
        # XAUTOCLAIM removes its lease. One without a lease would stay for ever.
        pipeline = self._streams.get_client(shard).pipeline(transaction=False)
        pipeline.xdel(key, *entry_ids)
        pipeline.xack(key, GROUP, *entry_ids)
        pipeline.execute()
        self._stored.difference_update(message.id for message in messages)


def _list_details(fields: Mapping[str, Any]) -> list[Any]:
    """Return names and values of what a dead letter has besides the entry."""
    names = ("reason", "deliveries", "from")
    return [text for name in names for text in (name, fields[name])]
