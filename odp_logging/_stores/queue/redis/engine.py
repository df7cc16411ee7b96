"""The engine for Redis Streams: one stream per shard, one group for all relays.

An entry is deleted once it is acknowledged, and never trimmed: ``MAXLEN`` deletes
leased entries, too (measured: 5 of 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ...._runtime.lock import monotonic
from ..base import LEASE_SECONDS, QueueEngine
from ..messages import (
    Consumer,
    DeadLetter,
    Depth,
    LeasedMessage,
    PublishFailure,
    QueueMessage,
)
from ..url_options import UrlOption, parse_name, parse_number
from .connection import Servers, load
from .consumers import Consumers
from .dead_letters import DeadLetters
from .entries import parse_time
from .leases import Leases
from .publishing import Publisher
from .registry import Registry
from .settling import Settler
from .streams import GROUP, Streams

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl

_FORGET_AFTER_SECONDS = 3600.0

_NO_EXPIRY = -1
"""What PTTL answers for a key that does not expire."""


class RedisEngine(QueueEngine):
    """
    Keeps messages in Redis, one server or a cluster.

    Args:
        url: Servers, stream and number of shards.
        lease_seconds: Seconds for which a worker has a message to itself.
        consumer: Name of this worker in the group; a unique one if None.
        forget_after: Seconds after which an idle worker is removed from the group.
        clock: Monotonic time in seconds.
    """

    url_options: ClassVar = {
        "stream": UrlOption("odp:events", parse_name),
        "shards": UrlOption(1, parse_number(1, 1024)),
        "replicas": UrlOption(0, parse_number(0, 16)),
    }

    def __init__(
        self,
        url: QueueUrl,
        *,
        lease_seconds: float = LEASE_SECONDS,
        consumer: str | None = None,
        forget_after: float = _FORGET_AFTER_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(url, lease_seconds=lease_seconds)
        self._consumer_name = consumer
        self._forget_after = forget_after
        self._clock = clock
        self._servers = Servers(url)
        self._streams = Streams(url, self._servers, clock)
        self._publisher = Publisher(self._streams, clock=clock)
        self._dead_letters = DeadLetters(self._streams)
        self._settler = Settler(self._streams)
        self._start_worker()

    @classmethod
    def load(cls) -> None:
        """Import `redis`, or raise ImportError."""
        load()

    def _start_worker(self) -> None:
        name = self._consumer_name or self.build_worker_name()
        self._registry = Registry(self._streams, name, clock=self._clock)
        self._consumers = Consumers(
            self._streams, forget_after=self._forget_after, clock=self._clock
        )
        self._leases = Leases(
            self._streams,
            name,
            lease_seconds=self.lease_seconds,
            consumers=self._consumers,
            clock=self._clock,
        )

    @property
    def consumer(self) -> str:
        """The name of this worker in the group."""
        return self._leases.consumer

    def publish(
        self, messages: Sequence[QueueMessage], deadline: float | None = None
    ) -> Mapping[int, PublishFailure]:
        """Add *messages* to their streams, within the high-water mark."""
        return self._publisher.publish(messages, deadline)

    def lease(self, limit: int, wait: float, max_bytes: int) -> Sequence[LeasedMessage]:
        """Claim the messages of dead workers, then read new ones."""
        return self._leases.lease(
            limit, wait, max_bytes, max_deliveries=self.max_deliveries
        )

    def renew(self, leased: Sequence[LeasedMessage]) -> Sequence[LeasedMessage]:
        """Renew leases if it is time, and leave out what other workers took over."""
        return self._leases.renew(leased)

    def release(self, leased: Sequence[LeasedMessage]) -> None:
        """Make *leased* claimable at once, and subtract this delivery."""
        self._leases.release(leased)

    def acknowledge(
        self, done: Sequence[LeasedMessage], dead: Sequence[tuple[LeasedMessage, str]]
    ) -> None:
        """Store dead letters, then delete and acknowledge."""
        self._settler.settle(done, dead)

    def start_pause(self, seconds: float) -> None:
        """Stop all relays of this account from sending for *seconds*."""
        milliseconds = int(seconds * 1000)
        if milliseconds <= 0:
            return
        with self._streams.connect():
            # A longer pause of another relay stays. If two relays do this at the same
            # time, either pause may win; both are what ODP asked for.
            if self._read_pause() < milliseconds:
                self._streams.get_pause_client().set(
                    self._streams.pause_key, 1, px=milliseconds
                )

    def read_pause(self) -> float:
        """Return the remaining seconds of a pause; infinite if it does not end."""
        with self._streams.connect():
            return max(0.0, self._read_pause()) / 1000

    def limit_pause(self, seconds: float) -> None:
        """Let the pause end after *seconds*."""
        with self._streams.connect():
            self._streams.get_pause_client().pexpire(
                self._streams.pause_key, int(seconds * 1000)
            )

    def _read_pause(self) -> float:
        """Return the remaining milliseconds; negative if there is no pause."""
        left: int = self._streams.get_pause_client().pttl(self._streams.pause_key)
        return math.inf if left == _NO_EXPIRY else left

    def find_problems(self, deadline: float | None = None) -> Sequence[str]:
        """Return the settings of the servers that delete events."""
        with self._streams.connect(deadline):
            self._streams.refresh(reading=False)
            return self._streams.find_problems()

    def register_worker(self, seconds: float) -> None:
        """Let this worker count as alive for *seconds*."""
        self._registry.register(seconds)

    def unregister_worker(self) -> None:
        """Remove the registration of this worker."""
        self._registry.unregister()

    def read_depth(self) -> Depth:
        """Return the number of messages over all shards."""
        with self._streams.connect():
            self._streams.refresh(reading=True)
            return self._streams.retry_with_group(self._read_depth)

    def _read_depth(self) -> Depth:
        ready = leased = dead = 0
        oldest = 0.0
        for shard in self._streams.shards:
            depth = self._read_shard_depth(shard)
            ready, leased = ready + depth.ready, leased + depth.leased
            oldest = max(oldest, depth.oldest)
            # Dead letters of earlier versions are those of all accounts.
            dead += 0 if self._streams.is_shared(shard) else depth.dead
        return Depth(ready, leased, dead, oldest)

    def _read_shard_depth(self, shard: int) -> Depth:
        key = self._streams.get_key(shard)
        pipeline = self._streams.get_client(shard).pipeline(transaction=False)
        # XLEN counts leased entries, too: they stay until they are acknowledged.
        pipeline.xlen(key)
        pipeline.xpending(key, GROUP)
        pipeline.xlen(self._streams.get_dead_key(shard))
        # The age by the clock of the server, which numbered the entry.
        pipeline.time()
        length, pending, dead, now = pipeline.execute()
        leased, first = pending["pending"], pending["min"]
        if not leased and length:
            # Only then, because it reads the body, too. Entries are leased in their
            # order: the oldest leased one is older than all others.
            entries = self._streams.get_client(shard).xrange(key, count=1)
            first = entries[0][0] if entries else None
        oldest = 0.0
        if first:
            oldest = max(0.0, now[0] + now[1] / 1e6 - parse_time(first))
        return Depth(max(0, length - leased), leased, dead, oldest)

    def list_consumers(self) -> Sequence[Consumer]:
        """Return live workers and ended ones with entries, over all shards."""
        return self._registry.list_live(self._consumers.list_all())

    def list_dead_letters(self) -> Sequence[DeadLetter]:
        """Return all dead letters, the oldest first."""
        return self._dead_letters.list()

    def retry_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Move *letters* to the ends of their streams."""
        self._dead_letters.retry(letters)

    def delete_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Delete *letters*."""
        self._dead_letters.delete(letters)

    def close(self) -> None:
        """Close connections; they are opened again when needed."""
        self._servers.disconnect()

    def after_fork(self) -> None:
        """Drop the parent's connections unused, and take another name."""
        self._servers.detach()
        self._start_worker()
