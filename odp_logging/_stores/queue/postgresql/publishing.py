"""Inserting the events of applications, within the high-water mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..messages import PublishFailure, QueueError, QueueMessage, build_full_failure
from .connection import Server
from .counter import Counter
from .leases import build_channel
from .statements import hash_key
from .tables import Tables
from .values import encode_blob_array, encode_int_array, encode_text, encode_text_array

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_MAX_STATEMENT_BYTES = 16_000_000
"""Bytes of bodies in one statement, which the server holds in memory several times."""

_MAX_BODY_BYTES = 256_000_000
"""PostgreSQL refuses a value of 1 GB, and needs several times the memory before."""

_COUNT_INTERVAL_SECONDS = 1.0

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
        self._next_count_at = 0.0

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None
    ) -> Mapping[int, PublishFailure]:
        """See `QueueEngine.publish`."""
        failures = {
            index: self._build_too_large_failure()
            for index, message in enumerate(messages)
            if len(message.body) > _MAX_BODY_BYTES
        }
        indexes = [n for n in range(len(messages)) if n not in failures]
        if not indexes:
            return failures
        with self._server.connect(deadline):
            capacity = self._read_capacity(len(indexes))
            failures.update(
                dict.fromkeys(indexes[capacity:], build_full_failure(self._url))
            )
            self._insert_all([messages[n] for n in indexes[:capacity]])
        self._notify(deadline)
        return failures

    def _insert_all(self, messages: Sequence[QueueMessage]) -> None:
        # In one transaction if they fit. If a later one of several fails, all are in
        # doubt, and are inserted again with the same ids of events.
        for alias, part in _split(messages):
            self._server.run(
                self._insert,
                encode_text(alias),
                encode_int_array([hash_key(message.key) for message in part]),
                encode_text_array([message.version for message in part]),
                encode_blob_array([message.body for message in part]),
            )
            self._known += len(part)

    def _read_capacity(self, count: int) -> int:
        """Return how many events the queue takes; counted only where it may be full."""
        # Approximate: other applications may add events before this one does.
        limit = self._url.high_water
        # Above half of the mark at each call, since other applications add events as
        # well.
        if self._clock() >= self._next_count_at or self._known + count > limit / 2:
            self._known = self._counter.count()
            self._next_count_at = self._clock() + _COUNT_INTERVAL_SECONDS
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

    def _build_too_large_failure(self) -> PublishFailure:
        return PublishFailure(
            f"the queue {self._url.display_url} takes events of at most"
            f" {_MAX_BODY_BYTES:,} bytes",
            in_doubt=False,
        )


def _split(
    messages: Sequence[QueueMessage],
) -> Iterator[tuple[str, Sequence[QueueMessage]]]:
    """Yield alias and messages of each statement, in their order."""
    start = size = 0
    for index, message in enumerate(messages):
        first = messages[start]
        if index > start and (
            message.alias != first.alias
            or size + len(message.body) > _MAX_STATEMENT_BYTES
        ):
            yield first.alias, messages[start:index]
            start, size = index, 0
        size += len(message.body)
    if messages:
        yield messages[start].alias, messages[start:]
