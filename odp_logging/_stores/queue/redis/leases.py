"""The leases of one worker: reading, claiming from dead workers, renewing, releasing.

Redis keeps, for each entry that was read, the worker, the time and the number of
deliveries. An entry that is idle for the time of a lease is abandoned: XPENDING names
it, and XCLAIM gives it to the worker that asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..base import TOO_LARGE
from ..leases import SINGLE_FROM_DELIVERY, format_deliveries
from ..messages import LeasedMessage, QueueError, QueueMessage, group_by_shard
from .collector import LeaseCollector, SizeEstimate
from .consumers import Consumers
from .entries import encode_message, parse_message
from .sockets import ResponseTooLarge
from .streams import GROUP, Streams

_MAX_PENDING = 10_000
"""
Entries per XPENDING, which needs a limit.

A worker holds one batch. It has more pending entries only after responses were lost.
"""


class Leases:
    """
    The entries that the worker *consumer* leased from *streams*.

    Args:
        lease_seconds: Idle time after which another worker may claim an entry.
        consumers: Removes workers that ended.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        streams: Streams,
        consumer: str,
        *,
        lease_seconds: float,
        consumers: Consumers,
        clock: Callable[[], float],
    ) -> None:
        self.consumer = consumer
        self._streams = streams
        self._lease_seconds = lease_seconds
        self._consumers = consumers
        self._clock = clock
        self._size_estimate = SizeEstimate()
        self._leased: Sequence[LeasedMessage] = ()
        self._last_index = 0
        self._next_claim_at = self._next_renewal_at = 0.0

    # New entries, and those of dead workers.

    def lease(
        self, limit: int, wait: float, max_bytes: int, *, max_deliveries: int
    ) -> Sequence[LeasedMessage]:
        """Claim the entries of dead workers, then read new ones."""
        collector = LeaseCollector(limit, max_bytes, self._size_estimate)
        try:
            with self._streams.connect():
                self._streams.refresh(reading=True)
                self._streams.retry_with_group(
                    partial(self._claim_and_read, collector, wait, max_deliveries)
                )
        except QueueError:
            # Entries of one shard stay leased to this worker if the next one fails.
            if not collector.found:
                raise
        return collector.found

    def _claim_and_read(
        self, collector: LeaseCollector, wait: float, max_deliveries: int
    ) -> None:
        if self._clock() >= self._next_claim_at:
            self._claim(collector, max_deliveries)
        self._read_new(collector)
        if collector.is_empty and wait > 0:
            self._read_waiting(collector, wait)

    def _read_new(self, collector: LeaseCollector) -> None:
        # Each call begins with another shard, so that a busy one cannot hold up others.
        failure: Exception | None = None
        shards = self._streams.shards
        for _ in shards:
            if collector.is_full:
                break
            self._last_index = (self._last_index + 1) % len(shards)
            try:
                self._read_shard(collector, shards[self._last_index])
            except Exception as error:
                if not self._streams.is_only_this_server(error):
                    raise
                failure = error
        if failure is not None:
            raise failure

    def _read_shard(self, collector: LeaseCollector, shard: int) -> None:
        """Read new entries of *shard* in steps, until it or *collector* ends."""
        while not collector.is_full:
            count = collector.next_count
            if self._read(collector, [shard], count, None) < count:
                return

    def _read_waiting(self, collector: LeaseCollector, wait: float) -> None:
        milliseconds = max(1, int(wait * 1000))
        shards = self._streams.shards
        if not self._streams.servers.is_cluster:
            # COUNT is for each stream; rounded up, so that it is never 0.
            self._read(
                collector, shards, -(-collector.next_count // len(shards)), milliseconds
            )
            return
        # One XREADGROUP cannot read from several servers.
        for shard in shards:
            block = max(1, milliseconds // len(shards))
            if self._read(collector, [shard], collector.next_count, block):
                return

    def _read(
        self,
        collector: LeaseCollector,
        shards: Sequence[int],
        count: int,
        block: int | None,
    ) -> int:
        """Read at most *count* new entries of each of *shards*; return how many."""
        names = {self._streams.get_key(shard): shard for shard in shards}
        try:
            # ">" is every entry that no worker of the group has read yet.
            with self._streams.servers.limits.limit_bytes(count * len(shards)):
                response = self._streams.get_client(shards[0]).xreadgroup(
                    *(GROUP, self.consumer, dict.fromkeys(names, ">")),
                    count=count,
                    block=block,
                )
        except ResponseTooLarge:
            unread = {
                shard: self._find_leased_entries(collector, shard) for shard in shards
            }
            self._handle_too_large(collector, unread, count * len(shards))
            return 0
        found = [
            LeasedMessage(parse_message(fields), names[name.decode()], entry_id)
            for name, entries in response or ()
            for entry_id, fields in entries
        ]
        self._add(collector, found)
        return len(found)

    def _add(self, collector: LeaseCollector, leased: Sequence[LeasedMessage]) -> None:
        """Add *leased*, and move those of other accounts to their streams."""
        foreign = [found for found in leased if self._streams.is_foreign(found)]
        collector.add([found for found in leased if found not in foreign])
        collector.skip(foreign)
        for found in foreign:
            # Added before it is deleted, and outside of MULTI, as when it is settled.
            alias, shard = found.message.alias, found.shard
            key = self._streams.get_account_key(alias, shard)
            self._streams.servers.get_client(key).xadd(
                key, encode_message(found.message)
            )
            client = self._streams.get_client(shard)
            client.xdel(self._streams.get_key(shard), found.entry_id)
            client.xack(self._streams.get_key(shard), GROUP, found.entry_id)

    def _claim(self, collector: LeaseCollector, max_deliveries: int) -> None:
        is_complete = True
        for shard in self._streams.shards:
            if collector.is_full:
                return
            is_complete &= self._claim_from_shard(collector, shard, max_deliveries)
        # Twice per lease is enough: an entry of a dead worker waits 1.5 leases at most.
        if is_complete:
            self._next_claim_at = self._clock() + self._lease_seconds / 2
            self._consumers.remove_idle()

    def _claim_from_shard(
        self, collector: LeaseCollector, shard: int, max_deliveries: int
    ) -> bool:
        """Claim entries of *shard*; return whether none is left to claim."""
        count = collector.limit
        idle_entries = self._list_idle(shard, count)
        # The bodies are read afterwards: those that may have killed their workers, for
        # example by their size, one at a time and with no other entry in memory.
        suspects = {
            entry_id: deliveries
            for entry_id, deliveries in idle_entries.items()
            if deliveries >= SINGLE_FROM_DELIVERY
        }
        safe = [entry_id for entry_id in idle_entries if entry_id not in suspects]
        while safe and not collector.is_full:
            chunk = safe[: collector.next_count]
            self._claim_entries(collector, shard, {n: idle_entries[n] for n in chunk})
            del safe[: len(chunk)]
        if suspects and collector.is_empty:
            entry_id, deliveries = next(iter(suspects.items()))
            if deliveries > max_deliveries:
                self._claim_without_body(collector, shard, entry_id, deliveries)
            else:
                self._claim_entries(collector, shard, {entry_id: deliveries})
            collector.close()
            return False
        is_rest = safe or suspects or collector.is_closed
        return not is_rest and len(idle_entries) < count

    def _list_idle(self, shard: int, count: int) -> dict[bytes, int]:
        """Return entries whose lease has ended, with the deliveries they will have."""
        # More than are needed: the first ones may be held by this worker.
        found = self._streams.get_client(shard).xpending_range(
            self._streams.get_key(shard),
            GROUP,
            "-",
            "+",
            count + len(self._leased),
            idle=self._lease_milliseconds,
        )
        own_ids = {
            message.entry_id for message in self._leased if message.shard == shard
        }
        return {
            entry["message_id"]: entry["times_delivered"] + 1
            for entry in found
            if entry["message_id"] not in own_ids
        }

    @property
    def _lease_milliseconds(self) -> int:
        return int(self._lease_seconds * 1000)

    def _claim_entries(
        self, collector: LeaseCollector, shard: int, deliveries: Mapping[bytes, int]
    ) -> None:
        """Lease abandoned entries to this worker, unless another one was faster."""
        client, key = self._streams.get_client(shard), self._streams.get_key(shard)
        try:
            # Counts a delivery before the bodies are read, which may kill this worker.
            with self._streams.servers.limits.limit_bytes(len(deliveries)):
                response = client.xclaim(
                    key, GROUP, self.consumer, self._lease_milliseconds, [*deliveries]
                )
        except ResponseTooLarge:
            self._handle_too_large(collector, {shard: deliveries}, len(deliveries))
            return
        entries = {
            entry_id: fields for entry_id, fields in response if entry_id is not None
        }
        found = [
            LeasedMessage(parse_message(fields), shard, entry_id, deliveries[entry_id])
            for entry_id, fields in entries.items()
        ]
        self._add(collector, found)
        for entry_id in deliveries.keys() - entries.keys():
            self._forget_if_deleted(shard, entry_id)

    def _forget_if_deleted(self, shard: int, entry_id: bytes) -> None:
        """Acknowledge an entry that was deleted by hand while it was leased."""
        client, key = self._streams.get_client(shard), self._streams.get_key(shard)
        if not client.xrange(key, entry_id, entry_id):
            client.xack(key, GROUP, entry_id)

    def _claim_without_body(
        self, collector: LeaseCollector, shard: int, entry_id: bytes, deliveries: int
    ) -> None:
        """Lease an entry that becomes a dead letter; reading it may kill a worker."""
        response = self._streams.get_client(shard).xclaim(
            self._streams.get_key(shard),
            GROUP,
            self.consumer,
            self._lease_milliseconds,
            [entry_id],
            retrycount=deliveries,
            justid=True,
        )
        if response:
            unread, reason = self._build_empty_message(), format_deliveries(deliveries)
            collector.add([LeasedMessage(unread, shard, entry_id, deliveries, reason)])

    def _find_leased_entries(
        self, collector: LeaseCollector, shard: int
    ) -> dict[bytes, int]:
        """Return entries that Redis leased in a response that was not read."""
        own_ids = {message.entry_id for message in (*self._leased, *collector.found)}
        return dict.fromkeys(self._list_pending_ids(shard) - own_ids, 1)

    def _handle_too_large(
        self,
        collector: LeaseCollector,
        unread: Mapping[int, Mapping[bytes, int]],
        limit: int,
    ) -> None:
        """
        Return entries that are too large together; one alone becomes a dead letter.

        Args:
            unread: The deliveries of each entry, by shard.
            limit: Number of entries that the response could have.
        """
        self._size_estimate.reset()
        messages = [
            LeasedMessage(
                self._build_empty_message(), shard, entry_id, deliveries, TOO_LARGE
            )
            for shard, entries in unread.items()
            for entry_id, deliveries in entries.items()
        ]
        if limit == len(messages) == 1:
            collector.add(messages)
        else:
            self._release(messages)
            self._next_claim_at = 0.0
        collector.close()

    def _build_empty_message(self) -> QueueMessage:
        return QueueMessage(b"", b"", self._streams.url.alias)

    def _list_pending_ids(self, shard: int) -> set[bytes]:
        """Return what Redis has as pending for this worker."""
        found = self._streams.get_client(shard).xpending_range(
            self._streams.get_key(shard),
            GROUP,
            "-",
            "+",
            _MAX_PENDING,
            consumername=self.consumer,
        )
        return {pending["message_id"] for pending in found}

    # Leases that go on, or end early.

    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Renew leases if it is time, and leave out what other workers claimed."""
        self._leased = leased
        now = self._clock()
        if not leased or now < self._next_renewal_at:
            return leased
        with self._streams.connect():
            kept = self._streams.retry_with_group(partial(self._renew, leased))
        # Four times per lease: a renewal that fails can be repeated in time.
        self._next_renewal_at = now + self._lease_seconds / 4
        return kept

    def _renew(self, leased: Sequence[LeasedMessage]) -> list[LeasedMessage]:
        kept: list[LeasedMessage] = []
        for shard, messages in group_by_shard(leased).items():
            # A worker that was suspended must not take back what others claimed.
            try:
                pending = self._list_pending_ids(shard)
            except Exception as error:
                if not self._streams.is_only_this_server(error):
                    raise
                kept += messages  # its server is down: no other worker can claim them
                continue
            own = [message for message in messages if message.entry_id in pending]
            kept += own
            if own:
                self._streams.get_client(shard).xclaim(
                    self._streams.get_key(shard),
                    GROUP,
                    self.consumer,
                    0,
                    [message.entry_id for message in own],
                    justid=True,  # counts no delivery
                )
        return kept

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        """Make *leased* claimable at once, and subtract this delivery."""
        if leased:
            with self._streams.connect():
                self._streams.retry_with_group(partial(self._release, leased))
            # The messages are claimable now, also for this worker.
            self._next_claim_at = 0.0

    def _release(self, leased: Sequence[LeasedMessage]) -> None:
        for shard, messages in group_by_shard(leased).items():
            pending = self._list_pending_ids(shard)
            pipeline = self._streams.get_client(shard).pipeline(transaction=False)
            for message in messages:
                if message.entry_id in pending:
                    pipeline.xclaim(
                        self._streams.get_key(shard),
                        GROUP,
                        self.consumer,
                        0,
                        [message.entry_id],
                        # Redis has no pending entry without an owner. One that is idle
                        # for longer than a lease can be claimed.
                        idle=self._lease_milliseconds + 1,
                        retrycount=max(0, message.deliveries - 1),
                        justid=True,
                    )
            pipeline.execute()
