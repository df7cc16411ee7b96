"""Adding events to the streams, on all servers that hold one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..messages import QueueError, QueueMessage, Refusal, choose_shard, refuse_full
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
        self._groups_due_at: dict[int, float] = {}

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, Refusal]:
        """See `QueueEngine.publish`."""
        refused: dict[int, Refusal] = {}
        with self._streams.connect(deadline):
            self._streams.refresh(reading=False)
            positions = self._group_by_shard(messages)
            servers = self._streams.servers.group_by_server(
                {shard: self._streams.get_key(shard) for shard in positions}
            )
        # Server by server: one that is down does not hold up the shards of the others.
        for shards in servers:
            on_server = {shard: positions[shard] for shard in shards}
            try:
                with self._streams.connect(deadline):
                    refused.update(self._publish_to_server(messages, on_server))
            except QueueError as error:
                for shard in shards:
                    for position in positions[shard]:
                        refused[position] = Refusal(str(error), in_doubt=True)
        # No server answered: one error for all messages, as from a single server.
        if messages and all(
            position in refused and refused[position].in_doubt
            for position in range(len(messages))
        ):
            raise QueueError(refused[0].message)
        return refused

    def _group_by_shard(self, messages: Sequence[QueueMessage]) -> dict[int, list[int]]:
        positions: dict[int, list[int]] = {}
        for position, message in enumerate(messages):
            shard = choose_shard(message.key, self._streams.count)
            positions.setdefault(shard, []).append(position)
        return positions

    def _publish_to_server(
        self,
        messages: Sequence[QueueMessage],
        positions: Mapping[int, Sequence[int]],
    ) -> dict[int, Refusal]:
        """Add the messages at *positions*, by shard; all shards are on one server."""
        refused: dict[int, Refusal] = {}
        # No transaction: each entry stands for itself, and its answer is read alone.
        client = self._streams.get_client(next(iter(positions)))
        additions = client.pipeline(transaction=False)
        added: list[int] = []
        rooms = self._measure_room(client, list(positions))
        self._create_groups(client, rooms)
        for shard, room in rooms.items():
            for position in positions[shard][:room]:
                additions.xadd(
                    self._streams.get_key(shard), encode_message(messages[position])
                )
                added.append(position)
            for position in positions[shard][room:]:
                refused[position] = refuse_full(self._streams.url)
        if not added:
            return refused
        replicas = self._streams.replicas
        if replicas:
            # In milliseconds: half the time of the answer, which WAIT delays.
            additions.wait(replicas, int(self._streams.servers.answer_seconds * 500))
        answers = additions.execute(raise_on_error=False)
        for position, answer in zip(added, answers):
            if isinstance(answer, Exception):
                refused[position] = self._refuse(answer)
        if replicas and (refusal := self._refuse_unconfirmed(answers[-1])):
            refused.update(
                (position, refusal) for position in added if position not in refused
            )
        return refused

    def _refuse(self, error: Exception) -> Refusal:
        if find_code(error) == "READONLY":
            # After a failover the name leads to another server.
            self._streams.servers.disconnect()
        message = self._streams.servers.describe_error(error)
        return Refusal(message, in_doubt=False)

    def _refuse_unconfirmed(self, answer: Any) -> Refusal | None:
        """Return why events that a failover may lose are not stored, by WAIT."""
        replicas = self._streams.replicas
        if isinstance(answer, Exception):
            return Refusal(self._streams.servers.describe_error(answer), in_doubt=True)
        if answer >= replicas:
            return None
        return Refusal(
            f"the queue {self._streams.url.display_url} stored events, but {answer} of"
            f" replicas={replicas} confirmed them",
            in_doubt=True,
        )

    def _measure_room(self, client: Any, shards: Sequence[int]) -> dict[int, int]:
        """Return how many entries each of *shards* takes up to the high-water mark."""
        # Approximate: other applications may add entries before this one does. Each can
        # exceed the mark by one batch at most.
        lengths = client.pipeline(transaction=False)
        for shard in shards:
            lengths.xlen(self._streams.get_key(shard))
        url = self._streams.url
        limit = max(1, url.high_water // self._streams.count)
        return {
            shard: max(0, limit - length)
            for shard, length in zip(shards, lengths.execute())
        }

    def _create_groups(self, client: Any, rooms: Mapping[int, int]) -> None:
        """Create the relays' group with each stream: a full Redis refuses it later."""
        now = self._clock()
        due = [
            shard for shard in rooms if now >= self._groups_due_at.get(shard, -math.inf)
        ]
        if not due:
            return
        creations = client.pipeline(transaction=False)
        for shard in due:
            key = self._streams.get_key(shard)
            creations.xgroup_create(key, GROUP, id="0", mkstream=True)
            # Again now and then, because Redis may be emptied.
            self._groups_due_at[shard] = now + _GROUP_SECONDS
        # A relay creates it as well: where it exists or this is not permitted, events
        # are added all the same.
        creations.execute(raise_on_error=False)
