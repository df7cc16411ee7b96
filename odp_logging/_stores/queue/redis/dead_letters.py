"""The streams that keep dead letters, for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..messages import DeadLetter
from .entries import encode_message, parse_dead_letter
from .sockets import ResponseTooLarge
from .streams import Streams

_PAGE_SIZE = 1_000
"""Number of dead letters per XRANGE: Redis serves no other client meanwhile."""

# A script, because no command returns only some fields of an entry.
_READ_WITHOUT_BODY = """
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)
for _, entry in ipairs(entries) do
  local fields = entry[2]
  for index = 1, #fields, 2 do
    if fields[index] == 'e' then fields[index + 1] = '' end
  end
end
return entries
"""
"""Reads one dead letter that is too large; its body stays in Redis."""

_RETRY_WITHOUT_BODY = """
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #entries == 0 then return 0 end
local fields, kept = entries[1][2], {}
for index = 1, #fields, 2 do
  if fields[index] == 'v' or fields[index] == 'e' or fields[index] == 'a' then
    kept[#kept + 1] = fields[index]
    kept[#kept + 1] = fields[index + 1]
  end
end
redis.call('XADD', KEYS[2], '*', unpack(kept))
return redis.call('XDEL', KEYS[1], ARGV[1])
"""
"""Moves a dead letter whose body was not read to the end of its stream."""


class DeadLetters:
    """The dead letters of all shards of *streams*."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def list(self) -> Sequence[DeadLetter]:
        """Return all dead letters, the oldest first."""
        with self._streams.connect():
            self._streams.refresh(reading=True)
            found = [
                letter
                for shard in self._streams.dead_shards
                for letter in self._read_shard(shard)
                if not self._streams.is_shared(shard)
                or letter.message.alias == self._streams.url.alias
            ]
        return sorted(found, key=lambda letter: letter.dead_since)

    def _read_shard(self, shard: int) -> Iterator[DeadLetter]:
        start = b"-"
        count = _PAGE_SIZE
        while True:
            try:
                entries = self._read_entries(shard, start, count)
            except ResponseTooLarge:
                if count > 1:
                    count = max(1, count // 8)
                    continue
                entries = self._read_without_body(shard, start)
            for entry_id, fields in entries:
                yield parse_dead_letter(shard, entry_id, fields)
            if len(entries) < count:
                return
            start = b"(" + entries[-1][0]
            # Slowly: each response that is too large was received in part.
            count = min(2 * count, _PAGE_SIZE)

    def _read_entries(self, shard: int, start: bytes, count: int) -> Any:
        client, key = self._streams.get_client(shard), self._streams.get_dead_key(shard)
        with self._streams.servers.limits.limit_bytes(count):
            return client.xrange(key, min=start, count=count)

    def _read_without_body(self, shard: int, start: bytes) -> Any:
        client, key = self._streams.get_client(shard), self._streams.get_dead_key(shard)
        return [
            (entry_id, dict(zip(fields[::2], fields[1::2])))
            for entry_id, fields in client.eval(_READ_WITHOUT_BODY, 1, key, start)
        ]

    def retry(self, letters: Sequence[DeadLetter]) -> None:
        """Move *letters* to the ends of their streams."""
        with self._streams.connect():
            for letter in letters:
                shard, entry_id = _parse_id(letter)
                # Added first, and no transaction: Redis would carry out XDEL where
                # XADD fails.
                client = self._streams.get_client(shard)
                key = self._streams.get_key(shard)
                dead_key = self._streams.get_dead_key(shard)
                if not letter.message.body:  # was not read
                    client.eval(_RETRY_WITHOUT_BODY, 2, dead_key, key, entry_id)
                    continue
                client.xadd(key, encode_message(letter.message))
                client.xdel(dead_key, entry_id)

    def delete(self, letters: Sequence[DeadLetter]) -> None:
        """Delete *letters*."""
        with self._streams.connect():
            for letter in letters:
                shard, entry_id = _parse_id(letter)
                self._streams.get_client(shard).xdel(
                    self._streams.get_dead_key(shard), entry_id
                )


def _parse_id(letter: DeadLetter) -> tuple[int, str]:
    """Return shard and entry of a dead letter."""
    shard, _, entry_id = letter.id.partition(".")
    return int(shard), entry_id
