"""The workers that the consumer group knows, over all shards."""

from __future__ import annotations

from collections.abc import Callable

from ..messages import Consumer
from .streams import GROUP, Streams

_CLEANUP_INTERVAL_SECONDS = 300.0


class Consumers:
    """
    Lists the workers in the group of *streams*, and removes those that ended.

    Args:
        forget_after: Seconds after which an idle worker is removed from the group.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, streams: Streams, *, forget_after: float, clock: Callable[[], float]
    ) -> None:
        self._streams = streams
        self._forget_after = forget_after
        self._clock = clock
        self._next_cleanup_at = 0.0

    def remove_idle(self) -> None:
        """Remove workers from the group that are long idle and hold nothing."""
        # Each relay that starts adds names of its own; without this they add up.
        now = self._clock()
        if now < self._next_cleanup_at:
            return
        self._next_cleanup_at = now + min(_CLEANUP_INTERVAL_SECONDS, self._forget_after)
        for shard in self._streams.shards:
            for consumer in self._list_in_shard(shard):
                # XGROUP DELCONSUMER drops pending entries: they would be lost.
                if consumer.idle > self._forget_after and not consumer.pending:
                    self._streams.get_client(shard).xgroup_delconsumer(
                        self._streams.get_key(shard), GROUP, consumer.name
                    )

    def list_all(self) -> list[Consumer]:
        """Return all consumers of the group, with their entries over all shards."""
        merged: dict[str, Consumer] = {}
        with self._streams.connect():
            self._streams.refresh(reading=True)
            for consumer in self._streams.retry_with_group(self._list):
                known = merged.get(
                    consumer.name, Consumer(consumer.name, 0, consumer.idle)
                )
                merged[consumer.name] = Consumer(
                    consumer.name,
                    known.pending + consumer.pending,
                    min(known.idle, consumer.idle),
                )
        return list(merged.values())

    def _list(self) -> list[Consumer]:
        return [
            consumer
            for shard in self._streams.shards
            for consumer in self._list_in_shard(shard)
        ]

    def _list_in_shard(self, shard: int) -> list[Consumer]:
        found = self._streams.get_client(shard).xinfo_consumers(
            self._streams.get_key(shard), GROUP
        )
        return [
            Consumer(entry["name"].decode(), entry["pending"], entry["idle"] / 1000)
            for entry in found
        ]
