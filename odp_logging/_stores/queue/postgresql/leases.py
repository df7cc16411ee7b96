"""The leases of one worker: taking, renewing, releasing, acknowledging.

A lease is a row of its own table. A worker leases the oldest events that no other
worker has, and leaves out those of customers of which another worker has an event. So
the events of one customer are sent by one worker at a time, in their order.

Leases are taken one after the other: a lock of the transaction keeps a second worker
from the customers that the first one is about to take. It lasts about a millisecond.
A lease does not wait for the disk: after a crash of the server, the last ones may be
lost, and workers renew theirs at once. Acknowledgements wait for it, else delivered
events would come back. They do not wait for a standby.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from ..base import MAX_BODY_BYTES, TOO_LARGE
from ..messages import LeasedMessage, QueueMessage
from .connection import Server
from .tables import Tables
from .values import encode_int, encode_int_array, encode_text, format_int_array, quote

_WINDOW = 20_000
"""Events among which a worker looks for one that it may lease.

It bounds the time of a lease where most of the oldest events have the same customer.
"""

_MIN_ID_SECONDS = 1.0
_MIN_ID_FACTOR = 20
"""
How long the search starts at the oldest event that was seen: a second, or 20 times what
it takes to search from the beginning.

Deleted rows stay in an index until a vacuum, and until older transactions have ended. A
search from the beginning reads all of them. It finds events before the oldest one that
was seen: those of a transaction that committed late.
"""

_MAX_IDLE_SECONDS = 0.3
"""Longest time for which a worker that was woken in vain stays asleep."""

_SETTINGS = """\
SELECT set_config('synchronous_commit', '{commit}', true),
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true)\
"""
"""Whether to wait for the disk, and rows by the index, whatever statistics say.

Those of a queue are often wrong: with 100,000 new rows, sorting all of them looked
cheaper than reading 100 in order, and took 270 ms in place of 0.2 ms.
"""

_LEASE = """\
{settings}, pg_advisory_xact_lock({lock});
WITH busy AS MATERIALIZED (
    SELECT id, key, worker FROM {leases}
    WHERE account = {account} AND id >= {min_id} AND leased_until > clock_timestamp()
), oldest AS (
    SELECT id, key, body FROM {events}
    WHERE account = {account} AND id >= {min_id} ORDER BY account, id LIMIT {window}
), free AS (
    SELECT id, key, octet_length(body) AS size FROM oldest
    WHERE id NOT IN (SELECT id FROM busy)
    AND key NOT IN (SELECT key FROM busy WHERE worker <> {worker})
    ORDER BY id LIMIT {limit}
), summed AS (
    SELECT id, key, sum(size) OVER (ORDER BY id) AS total,
        row_number() OVER (ORDER BY id) AS place
    FROM free
)
INSERT INTO {leases} AS lease (id, leased_until, key, deliveries, account, worker)
SELECT id, clock_timestamp() + interval '{milliseconds} milliseconds', key, 1,
    {account}, {worker}
FROM summed WHERE total <= {max_bytes} OR place = 1
ON CONFLICT (account, id) DO UPDATE
SET leased_until = excluded.leased_until, worker = excluded.worker,
    deliveries = lease.deliveries + 1
WHERE lease.leased_until <= clock_timestamp()
RETURNING id, deliveries;
"""

_READ_MIN_ID = """\
SELECT id FROM {events} WHERE account = {account} ORDER BY account, id LIMIT 1;
"""

# Not a part of the lease: a worker that stops while it reads would keep the lock.
_READ = """\
SELECT id, version, CASE WHEN octet_length(body) <= $3 THEN body ELSE '' END,
    (octet_length(body) > $3)::int
FROM {events} WHERE account = $1 AND id = ANY($2) ORDER BY id\
"""

_RENEW = """\
{settings};
UPDATE {leases}
SET leased_until = clock_timestamp() + interval '{milliseconds} milliseconds'
WHERE account = {account} AND worker = {worker} AND id = ANY({ids})
RETURNING id;
"""

# The row stays: it has the number of deliveries.
_RELEASE = """\
{settings};
UPDATE {leases}
SET leased_until = '-infinity', worker = '', deliveries = deliveries - 1
WHERE account = {account} AND worker = {worker} AND id = ANY({ids});
"""

_RELEASE_REST = """\
{settings};
UPDATE {leases}
SET leased_until = '-infinity', worker = '', deliveries = deliveries - 1
WHERE account = {account} AND worker = {worker} AND NOT id = ANY({ids});
"""

_ACKNOWLEDGE = """\
{settings_of_end};
WITH reasons (id, reason, deliveries) AS (
    SELECT * FROM (VALUES {reasons}) AS listed
), ended AS (
    DELETE FROM {leases} WHERE account = {account} AND id = ANY({ids})
), removed AS (
    DELETE FROM {events} WHERE account = {account} AND id = ANY({ids})
    RETURNING id, created_at, key, version, body
)
INSERT INTO {dead}
    (event_id, created_at, key, deliveries, account, version, reason, body)
SELECT id, created_at, key, deliveries, {account}, version, reason, body
FROM removed JOIN reasons USING (id) ORDER BY id;
"""

_REMOVE = """\
{settings_of_end};
WITH ended AS (
    DELETE FROM {leases} WHERE account = {account} AND id = ANY({ids})
)
DELETE FROM {events} WHERE account = {account} AND id = ANY({ids});
"""


class Leases:
    """
    The events that the worker *name* leased.

    Args:
        server: The connection.
        tables: Names of the tables.
        alias: Name of the account; events of other accounts are not leased.
        name: Name of this worker, which no other one has.
        lease_seconds: Seconds of a lease.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        server: Server,
        tables: Tables,
        *,
        alias: str,
        name: str,
        lease_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._server = server
        self._alias = alias
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._texts = {
            **vars(tables),
            "settings": _SETTINGS.format(commit="off"),
            "settings_of_end": _SETTINGS.format(commit="local"),
            "lock": _build_lock(tables, alias),
            "account": quote(alias),
            "worker": quote(name),
            "milliseconds": int(lease_seconds * 1000),
        }
        self._channel = build_channel(tables, alias)
        self._account = encode_text(alias)
        self._read = _READ.format_map(self._texts)
        self._leased_ids: set[int] = set()
        self._unacknowledged: set[int] = set()
        self._is_in_doubt = False
        self._lost_connections = 0
        self._idle_count = 0
        self._min_id = 0
        self._next_min_id_at = self._next_renewal_at = 0.0

    def lease(self, limit: int, wait: float, max_bytes: int) -> list[LeasedMessage]:
        """Lease the oldest events, or the first ones that arrive within *wait*."""
        with self._server.connect():
            if self._is_in_doubt:
                self._release_unknown()
            if wait > 0:
                self._server.listen(self._channel)
            found = self._lease_now(limit, max_bytes)
            if found or wait <= 0 or not self._wait(wait):
                return found
        with self._server.connect():
            found = self._lease_now(limit, max_bytes)
        self._idle_count = 0 if found else self._idle_count + 1
        return found

    def _wait(self, seconds: float) -> bool:
        """Whether a notification comes within *seconds*."""
        # It wakes all idle workers, and the first one takes the event. The others then
        # do not look for every single one.
        min_wait = min(_MAX_IDLE_SECONDS, 0.01 * 2 ** min(self._idle_count, 10))
        return self._server.wait_for_notify(
            seconds, min_wait if self._idle_count else 0.0
        )

    def _lease_now(self, limit: int, max_bytes: int) -> list[LeasedMessage]:
        started_at = self._clock()
        with_min_id = started_at >= self._next_min_id_at
        if with_min_id:
            self._min_id = 0
        # Until the bodies are read: rows without a reader stay leased to this worker.
        self._is_in_doubt = True
        script = _LEASE + _READ_MIN_ID * with_min_id
        _, result, *first = self._server.run_script(
            self._format(
                script,
                min_id=self._min_id,
                window=_WINDOW,
                limit=limit,
                max_bytes=max_bytes,
            )
        )
        if first:
            self._min_id = first[0][0][0] if first[0] else 0
            now = self._clock()
            self._next_min_id_at = now + max(
                _MIN_ID_SECONDS, _MIN_ID_FACTOR * (now - started_at)
            )
        found = self._read_messages(dict(result)) if result else []
        self._is_in_doubt = False
        self._leased_ids.update(message.entry_id for message in found)
        return found

    def _read_messages(self, deliveries: dict[int, int]) -> list[LeasedMessage]:
        result = self._server.run(
            self._read,
            self._account,
            encode_int_array(list(deliveries)),
            encode_int(MAX_BODY_BYTES),
        )
        missing = deliveries.keys() - {row[0] for row in result}
        if missing:  # another worker was late to acknowledge them
            self._server.run_script(self._format(_REMOVE, ids=list(missing)))
        return [
            LeasedMessage(
                QueueMessage(b"", body, self._alias, version),
                0,
                id_,
                deliveries[id_],
                TOO_LARGE if is_too_large else "",
            )
            for id_, version, body, is_too_large in result
        ]

    def _release_unknown(self) -> None:
        """Release events that were leased by a call without an answer."""
        kept = self._leased_ids | self._unacknowledged
        self._server.run_script(self._format(_RELEASE_REST, ids=list(kept)))
        self._is_in_doubt = False

    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Renew leases if it is time, and leave out what other workers took over."""
        self._leased_ids = {message.entry_id for message in leased}
        now, lost_connections = self._clock(), self._server.lost_connections
        # At once after a lost connection: a crashed server may not know the leases.
        is_due = (
            now >= self._next_renewal_at or lost_connections != self._lost_connections
        )
        if not leased or not is_due:
            return leased
        with self._server.connect():
            _, result = self._server.run_script(
                self._format(_RENEW, ids=list(self._leased_ids))
            )
        # Four times per lease: a renewal that fails can be repeated in time.
        self._next_renewal_at = now + self._lease_seconds / 4
        self._lost_connections = lost_connections
        kept = {id_ for (id_,) in result}
        return [message for message in leased if message.entry_id in kept]

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        """Return *leased* to the queue, and subtract this delivery."""
        if not leased:
            return
        ids = [message.entry_id for message in leased]
        with self._server.connect():
            self._server.run_script(self._format(_RELEASE, ids=ids))
        self._leased_ids.difference_update(ids)

    def acknowledge(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        """Delete events and leases; store dead letters in the same statement."""
        messages = [*done, *(message for message, _ in dead)]
        if not messages:
            return
        ids = [message.entry_id for message in messages]
        self._unacknowledged.update(ids)
        script = _REMOVE
        reasons = ", ".join(
            f"({message.entry_id}::bigint, {quote(reason)}, {message.deliveries})"
            for message, reason in dead
        )
        if dead:
            script = _ACKNOWLEDGE
        with self._server.connect():
            self._server.run_script(self._format(script, ids=ids, reasons=reasons))
        self._unacknowledged.difference_update(ids)
        self._leased_ids.difference_update(ids)

    def _format(self, script: str, ids: Sequence[int] = (), **texts: object) -> str:
        return script.format_map({**self._texts, "ids": format_int_array(ids), **texts})


def build_channel(tables: Tables, alias: str) -> str:
    """Return the channel that wakes the relays of one account."""
    # Hashed, because a name of a channel has 63 bytes at most.
    return f"odp_{zlib.crc32(f'{tables.name}:{alias}'.encode()):08x}"


def _build_lock(tables: Tables, alias: str) -> int:
    """Return the number of the lock that the leases of one account take."""
    # As the channel, it follows from the spelling: all URLs name a table alike.
    import hashlib

    digest = hashlib.blake2b(f"{tables.name}:{alias}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)
