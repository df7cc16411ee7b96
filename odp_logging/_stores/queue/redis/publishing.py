"""Adding events to the streams, on all servers that hold one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..messages import (
    PublishFailure,
    QueueError,
    QueueMessage,
    build_full_failure,
    choose_shard,
)
from .entries import encode_message
from .errors import find_code
from .streams import GROUP, Streams

_GROUP_SECONDS = 60.0
"""Seconds after which an application looks again whether the group exists."""


class Publisher:
    """
    Adds messages to *streams*, within the high-water mark of their URL.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, streams: Streams, *, clock: Callable[[], float]) -> None:
        self._streams = streams
        self._clock = clock
        self._next_group_checks: dict[int, float] = {}

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, PublishFailure]:
        """See `QueueEngine.publish`."""
        failures: dict[int, PublishFailure] = {}
        with self._streams.connect(deadline):
            self._streams.refresh(reading=False)
            indexes = self._group_by_shard(messages)
            servers = self._streams.servers.group_by_server(
                {shard: self._streams.get_key(shard) for shard in indexes}
            )
        # Server by server: one that is down does not hold up the shards of the others.
        for shards in servers:
            on_server = {shard: indexes[shard] for shard in shards}
            try:
                with self._streams.connect(deadline):
                    failures.update(self._publish_to_server(messages, on_server))
            except QueueError as error:
                for shard in shards:
                    for index in indexes[shard]:
                        failures[index] = PublishFailure(str(error), in_doubt=True)
        # No server answered: one error for all messages, as from a single server.
        if messages and all(
            index in failures and failures[index].in_doubt
            for index in range(len(messages))
        ):
            raise QueueError(failures[0].message)
        return failures

    def _group_by_shard(self, messages: Sequence[QueueMessage]) -> dict[int, list[int]]:
        indexes: dict[int, list[int]] = {}
        for index, message in enumerate(messages):
            shard = choose_shard(message.key, self._streams.count)
            indexes.setdefault(shard, []).append(index)
        return indexes

    def _publish_to_server(
        self,
        messages: Sequence[QueueMessage],
        indexes: Mapping[int, Sequence[int]],
    ) -> dict[int, PublishFailure]:
        """Add the messages at *indexes*, by shard; all shards are on one server."""
        failures: dict[int, PublishFailure] = {}
        # No transaction: each entry stands for itself, and its response is read alone.
        client = self._streams.get_client(next(iter(indexes)))
        pipeline = client.pipeline(transaction=False)
        added: list[int] = []
        capacity_by_shard = self._read_capacity(client, list(indexes))
        self._create_groups(client, capacity_by_shard)
        for shard, capacity in capacity_by_shard.items():
            for index in indexes[shard][:capacity]:
                pipeline.xadd(
                    self._streams.get_key(shard), encode_message(messages[index])
                )
                added.append(index)
            for index in indexes[shard][capacity:]:
                failures[index] = build_full_failure(self._streams.url)
        if not added:
            return failures
        replicas = self._streams.replicas
        if replicas:
            # In milliseconds: half the time of the response, which WAIT delays.
            pipeline.wait(replicas, int(self._streams.servers.response_seconds * 500))
        responses = pipeline.execute(raise_on_error=False)
        for index, response in zip(added, responses):
            if isinstance(response, Exception):
                failures[index] = self._build_failure(response)
        if replicas and (failure := self._check_replicas(responses[-1])):
            failures.update(
                (index, failure) for index in added if index not in failures
            )
        return failures

    def _build_failure(self, error: Exception) -> PublishFailure:
        if find_code(error) == "READONLY":
            # After a failover the name leads to another server.
            self._streams.servers.disconnect()
        message = self._streams.servers.format_error(error)
        return PublishFailure(message, in_doubt=False)

    def _check_replicas(self, response: Any) -> PublishFailure | None:
        """Return why events that a failover may lose are not stored, by WAIT."""
        replicas = self._streams.replicas
        if isinstance(response, Exception):
            return PublishFailure(
                self._streams.servers.format_error(response), in_doubt=True
            )
        if response >= replicas:
            return None
        return PublishFailure(
            f"the queue {self._streams.url.display_url} stored events, but {response}"
            f" of replicas={replicas} confirmed them",
            in_doubt=True,
        )

    def _read_capacity(self, client: Any, shards: Sequence[int]) -> dict[int, int]:
        """Return how many entries each of *shards* takes up to the high-water mark."""
        # Approximate: other applications may add entries before this one does. Each can
        # exceed the mark by one batch at most.
        pipeline = client.pipeline(transaction=False)
        for shard in shards:
            pipeline.xlen(self._streams.get_key(shard))
        url = self._streams.url
        limit = max(1, url.high_water // self._streams.count)
        return {
            shard: max(0, limit - length)
            for shard, length in zip(shards, pipeline.execute())
        }

    def _create_groups(self, client: Any, shards: Iterable[int]) -> None:
        """Create the relays' group with each stream: a full Redis refuses it later."""
        now = self._clock()
        to_create = [
            shard
            for shard in shards
            if now >= self._next_group_checks.get(shard, -math.inf)
        ]
        if not to_create:
            return
        pipeline = client.pipeline(transaction=False)
        for shard in to_create:
            key = self._streams.get_key(shard)
            pipeline.xgroup_create(key, GROUP, id="0", mkstream=True)
            # Again now and then, because Redis may be emptied.
            self._next_group_checks[shard] = now + _GROUP_SECONDS
        # A relay creates it as well: where it exists or this is not permitted, events
        # are added all the same.
        pipeline.execute(raise_on_error=False)
