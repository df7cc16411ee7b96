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
        refusal: Exception | None = None
        with self._streams.connect():
            for shard, of_shard in group_by_shard(messages).items():
                refused = self._store_dead_letters(shard, of_shard, reasons)
                refusal = refusal or next(iter(refused.values()), None)
                self._remove(shard, [m for m in of_shard if m.id not in refused])
        if refusal is not None:
            raise QueueError(self._streams.servers.describe_error(refusal))

    def _store_dead_letters(
        self,
        shard: int,
        messages: Sequence[LeasedMessage],
        reasons: Mapping[tuple[int, Any], str],
    ) -> dict[tuple[int, Any], Exception]:
        """Store the dead letters of a shard; return what Redis refused, by id."""
        additions = self._streams.get_client(shard).pipeline(transaction=False)
        dead_key = self._streams.get_dead_key(shard)
        added: list[tuple[int, Any]] = []
        for message in messages:
            if message.id not in reasons or message.id in self._stored:
                continue
            added.append(message.id)
            fields = encode_dead_letter(message, reasons[message.id])
            if message.problem:  # was not read, so it cannot be written
                keys = self._streams.get_key(shard), dead_key
                additions.eval(
                    _COPY_ENTRY, 2, *keys, message.number, *_list_details(fields)
                )
            else:
                additions.xadd(dead_key, fields)
        answers = additions.execute(raise_on_error=False) if added else []
        refused = {
            number: answer
            for number, answer in zip(added, answers)
            if isinstance(answer, Exception)
        }
        # A call that fails is repeated, and must not store them a second time.
        self._stored.update(number for number in added if number not in refused)
        return refused

    def _remove(self, shard: int, messages: Sequence[LeasedMessage]) -> None:
        if not messages:
            return
        key = self._streams.get_key(shard)
        numbers = [message.number for message in messages]
        # Deleted first. A deleted entry that is still leased is never delivered, and
        # XAUTOCLAIM removes its lease. One without a lease would stay for ever.
        removal = self._streams.get_client(shard).pipeline(transaction=False)
        removal.xdel(key, *numbers)
        removal.xack(key, GROUP, *numbers)
        removal.execute()
        self._stored.difference_update(message.id for message in messages)


def _list_details(fields: Mapping[str, Any]) -> list[Any]:
    """Return names and values of what a dead letter has besides the entry."""
    names = ("reason", "deliveries", "from")
    return [text for name in names for text in (name, fields[name])]
