"""Inserting the events of applications, within the high-water mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..messages import QueueError, QueueMessage, Refusal, refuse_full
from .connection import Server
from .counting import Counter
from .leases import build_channel
from .statements import hash_key
from .tables import Tables
from .values import encode_blobs, encode_numbers, encode_text, encode_texts

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_MAX_STATEMENT_BYTES = 16_000_000
"""Bytes of bodies in one statement, which the server holds in memory several times."""

_MAX_BODY_BYTES = 256_000_000
"""PostgreSQL refuses a value of 1 GB, and needs several times the memory before."""

_RECOUNT_SECONDS = 1.0

_INSERT = """\
INSERT INTO {events} (account, key, version, body)
SELECT $1, key, version, body
FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS new (key, version, body)\
"""

_NOTIFY = "SELECT pg_notify($1, '')"


class Publisher:
    """
    Inserts events into *tables*.

    Args:
        server: The connection.
        tables: Names of the tables.
        url: Account and high-water mark.
        counter: Counts the events of the account.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        server: Server,
        tables: Tables,
        url: QueueUrl,
        *,
        counter: Counter,
        clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._counter = counter
        self._tables = tables
        self._url = url
        self._clock = clock
        self._insert = _INSERT.format_map(vars(tables))
        self._channel = encode_text(build_channel(tables, url.alias))
        self._known = 0
        self._count_due_at = 0.0

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, Refusal]:
        """See `QueueEngine.publish`."""
        refused = {
            position: self._refuse_large()
            for position, message in enumerate(messages)
            if len(message.body) > _MAX_BODY_BYTES
        }
        positions = [n for n in range(len(messages)) if n not in refused]
        if not positions:
            return refused
        with self._server.connect(deadline):
            room = self._measure_room(len(positions))
            refused.update(dict.fromkeys(positions[room:], refuse_full(self._url)))
            self._insert_all([messages[n] for n in positions[:room]])
        self._notify(deadline)
        return refused

    def _insert_all(self, messages: Sequence[QueueMessage]) -> None:
        # In one transaction if they fit. If a later one of several fails, all are in
        # doubt, and are inserted again with the same ids of events.
        for alias, part in _split(messages):
            self._server.run(
                self._insert,
                encode_text(alias),
                encode_numbers([hash_key(message.key) for message in part]),
                encode_texts([message.version for message in part]),
                encode_blobs([message.body for message in part]),
            )
            self._known += len(part)

    def _measure_room(self, wanted: int) -> int:
        """Return how many events the queue takes; counted only where it may be full."""
        # Approximate: other applications may add events before this one does.
        limit = self._url.high_water
        # Above half of the mark at each call, since other applications add events as
        # well.
        if self._clock() >= self._count_due_at or self._known + wanted > limit / 2:
            self._known = self._counter.count()
            self._count_due_at = self._clock() + _RECOUNT_SECONDS
        return max(0, limit - self._known)

    def _notify(self, deadline: float | None) -> None:
        # A transaction of its own, without a write: NOTIFY takes a lock of the whole
        # server until the commit, which would make producers wait for each other's
        # disk. A relay that is not woken finds the events within a second.
        try:
            with self._server.connect(deadline):
                self._server.run(_NOTIFY, self._channel)
        except QueueError:
            pass

    def _refuse_large(self) -> Refusal:
        return Refusal(
            f"the queue {self._url.display_url} takes events of at most"
            f" {_MAX_BODY_BYTES:,} bytes",
            in_doubt=False,
        )


def _split(
    messages: Sequence[QueueMessage],
) -> Iterator[tuple[str, Sequence[QueueMessage]]]:
    """Yield alias and messages of each statement, in their order."""
    start = size = 0
    for position, message in enumerate(messages):
        first = messages[start]
        if position > start and (
            message.alias != first.alias
            or size + len(message.body) > _MAX_STATEMENT_BYTES
        ):
            yield first.alias, messages[start:position]
            start, size = position, 0
        size += len(message.body)
    if messages:
        yield messages[start].alias, messages[start:]
