"""The keys of a queue in Redis, and the consumer group that all relays share.

There is one stream per shard (``odp:events:{0}`` and so on), and one for its dead
letters (``odp:events:dead:{0}``). An account with a name of its own has
``odp:events:account:shop:{0}`` instead. The hash ``odp:events:workers`` has the live
workers. ``odp:events:shards`` is the number of shards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ...._runtime.lock import monotonic
from ..messages import VERSION, LeasedMessage
from .errors import find_code, is_response_error

if TYPE_CHECKING:
    from ...._config.queue_url import QueueUrl
    from .connection import Servers

T = TypeVar("T")

GROUP = "odp-relay"
_DEFAULT_STREAM = "odp:events"
_DEFAULT_ALIAS = "default"
_PAUSE_PREFIX = "odp:relay:pause:"

# The option shards allows as many, so that no number means two streams.
_OTHER = 1024
"""Number of the first shard of the streams besides this account's."""

_MIN_SHARDS_TO_SCAN = 16
"""Number of shards in which a relay looks for entries at least."""

_REFRESH_SECONDS = 5.0
"""Seconds after which another process's number of shards is known here."""

_CREATE_GROUP = """
redis.call('XDEL', KEYS[1], '0-1')
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
"""
"""
Creates a group where Redis has reached its maxmemory, and refuses the plain command.

A script may allocate memory once it has carried out a write command that needs none;
this is documented with EVAL, and holds from Redis 6.2 on. A group takes about 200
bytes, and without it no relay can drain the stream.
"""


class Streams:
    """
    The streams of one queue.

    The largest number of shards that a process has named holds for all: it is kept in
    Redis. Relays with a smaller one would not read the others, and applications with
    another one would not keep the order of a customer's events.

    Args:
        url: Name and number of the streams.
        servers: Connections to the servers that hold them.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        url: QueueUrl,
        servers: Servers,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.url = url
        self.servers = servers
        self._clock = clock
        self._own_path, self._other_path = _find_paths(url)
        self._other_shards: list[int] = []
        self._unknown_shards: list[int] = []
        self._next_refresh_at = 0.0
        self._stream: str = url.get_option("stream")
        self._own_count: int = url.get_option("shards")
        self.replicas: int = url.get_option("replicas")
        """Number of replicas that confirm an event before it counts as stored."""
        self.count: int = self._own_count
        """Number of shards."""

    @property
    def shards(self) -> list[int]:
        """The numbers of all streams that a relay of this account reads."""
        return [*range(self.count), *self._unknown_shards, *self._other_shards]

    @property
    def dead_shards(self) -> list[int]:
        """The numbers of all streams that may have dead letters of this account."""
        other = range(_OTHER, _OTHER + self.count)
        return [*range(self.count), *self._unknown_shards, *other]

    @property
    def pause_key(self) -> str:
        """The key that exists while the relays of this account pause."""
        return _PAUSE_PREFIX + self.url.alias

    @property
    def worker_key(self) -> str:
        """The key of the hash with the live workers."""
        return f"{self._stream}{self._own_path}:workers"

    @property
    def shards_key(self) -> str:
        """The key that has the number of shards."""
        return f"{self._stream}:shards"

    def get_key(self, shard: int) -> str:
        """Return the name of a shard's stream."""
        return f"{self._stream}{self._get_path(shard)}:{{{shard % _OTHER}}}"

    def get_dead_key(self, shard: int) -> str:
        """Return the name of the stream that keeps a shard's dead letters."""
        # A cluster hashes only what is in braces: both streams of a shard are on one
        # server.
        return f"{self._stream}:dead{self._get_path(shard)}:{{{shard % _OTHER}}}"

    def get_account_key(self, alias: str, shard: int) -> str:
        """Return the stream for *alias* beside a shard's, which its relays read."""
        return f"{self._stream}{_build_path(alias)}:{{{shard % _OTHER}}}"

    def _get_path(self, shard: int) -> str:
        return self._other_path if shard >= _OTHER else self._own_path

    def is_shared(self, shard: int) -> bool:
        """Whether a stream is that of other accounts, where earlier versions wrote."""
        return shard >= _OTHER and not self._other_path

    def is_foreign(self, leased: LeasedMessage) -> bool:
        """Whether another account's relays can deliver *leased*, and not this one."""
        message = leased.message
        return (
            message.alias != self.url.alias
            and message.version == VERSION
            and re.fullmatch(r"[\w.:-]{1,100}", message.alias) is not None
        )

    def connect(self, deadline: float | None = None) -> AbstractContextManager[None]:
        """Connect, as `Servers.connect`; the methods below are called within it."""
        return self.servers.connect(deadline)

    def get_client(self, shard: int) -> Any:
        """Return a client of the server that holds *shard*."""
        return self.servers.get_client(self.get_key(shard))

    def get_pause_client(self) -> Any:
        """Return a client of the server that holds the pause."""
        return self.servers.get_client(self.pause_key)

    def get_worker_client(self) -> Any:
        """Return a client of the server that holds the live workers."""
        return self.servers.get_client(self.worker_key)

    # The number of shards, and the streams besides this account's.

    def refresh(self, *, reading: bool) -> None:
        """
        Look for more shards if it is time; with *reading* for other streams, too.

        A Redis that does not permit this leaves all as the URL says.
        """
        if self._clock() < self._next_refresh_at:
            return
        self._try(self._sync_shard_count)
        if reading:
            self._other_shards = self._find_other_shards()
            self._unknown_shards = self._find_unknown_shards()
        self._next_refresh_at = self._clock() + _REFRESH_SECONDS

    def _try(self, work: Callable[[], T]) -> T | None:
        """Return what *work* does, or None if Redis or one server of many refuses."""
        try:
            return work()
        except Exception as error:
            if not (is_response_error(error) or self.is_only_this_server(error)):
                raise
        return None

    def _sync_shard_count(self) -> None:
        client = self.servers.get_client(self.shards_key)
        text = client.get(self.shards_key) or b"0"
        recorded = int(text) if text.isdigit() and len(text) < 5 else 0
        # No transaction: where a smaller number wins a race, the next refresh corrects
        # it.
        if recorded < self.count:
            client.set(self.shards_key, self.count)
        self.count = max(self.count, min(recorded, _OTHER))

    def _find_unknown_shards(self) -> list[int]:
        """Return the shards beyond the known number that have entries."""
        # Applications of earlier versions do not name their number of shards.
        last = min(_OTHER, max(_MIN_SHARDS_TO_SCAN, 2 * self.count))
        keys = {shard: self.get_key(shard) for shard in range(self.count, last)}
        found: list[int] = []
        for shards in self.servers.group_by_server(keys) if keys else ():
            found += self._try(partial(self._select_non_empty, shards)) or ()
        return sorted(found)

    def _select_non_empty(self, shards: Sequence[int]) -> list[int]:
        """Return those of *shards* with entries; all are on one server."""
        pipeline = self.get_client(shards[0]).pipeline(transaction=False)
        for shard in shards:
            pipeline.xlen(self.get_key(shard))
            pipeline.xlen(self.get_dead_key(shard))
        responses = pipeline.execute(raise_on_error=False)
        return [
            shard
            for shard, waiting, dead in zip(shards, responses[::2], responses[1::2])
            if any(isinstance(length, int) and length for length in (waiting, dead))
        ]

    def _find_other_shards(self) -> list[int]:
        candidates = range(_OTHER, _OTHER + self.count)
        return [
            shard for shard in candidates if self._try(partial(self._is_read, shard))
        ]

    def _is_read(self, shard: int) -> bool:
        """Whether a stream besides this account's has entries to read."""
        client, key = self.get_client(shard), self.get_key(shard)
        if not self.is_shared(shard):
            return bool(client.xlen(key))
        # Earlier versions put the events of all accounts there. Those of the default
        # account are left to its relays, which find the others behind them.
        first = client.xrange(key, count=1)
        return bool(first) and first[0][1].get(b"a") != _DEFAULT_ALIAS.encode()

    # What an operator should know.

    def find_problems(self) -> list[str]:
        """Return what in the setup endangers events; without rights, what is known."""
        problems = []
        policies = {self._try(partial(self._read_policy, n)) for n in self.shards}
        unsafe = sorted(p for p in policies if p and p.startswith("allkeys"))
        if unsafe:
            problems.append(
                f"the queue {self.url.display_url} loses events when it is full:"
                f" maxmemory-policy is {unsafe[0]}, with which Redis deletes streams."
                " Set it to noeviction"
            )
        if self.count > self._own_count:
            problems.append(
                f"the queue {self.url.display_url} has {self.count} shards, which are"
                f" used; the URL of this process says shards={self._own_count}"
            )
        return problems

    def _read_policy(self, shard: int) -> str:
        # Permitted more often than CONFIG, also where Redis is a service.
        policy: str = self.get_client(shard).info("memory").get("maxmemory_policy", "")
        return policy

    # The group.

    def retry_with_group(self, work: Callable[[], T]) -> T:
        """Call *work*, again after creating the group if Redis was empty."""
        try:
            return work()
        except Exception as error:
            if not is_group_missing(error):
                raise
        # Not at the start of a relay: an operator may empty Redis later, which removes
        # the group.
        self.create_groups(self.shards)
        return work()

    def create_groups(self, shards: Sequence[int]) -> None:
        """Create the group, and the stream, of each of *shards* that has none."""
        for shard in shards:
            try:
                self._create_group(shard)
            except Exception as error:
                if "BUSYGROUP" not in str(error):  # another relay was faster
                    raise

    def _create_group(self, shard: int) -> None:
        client, key = self.get_client(shard), self.get_key(shard)
        try:
            # id="0": the entries that applications added before are new.
            client.xgroup_create(key, GROUP, id="0", mkstream=True)
        except Exception as error:
            if find_code(error) != "OOM":
                raise
            client.eval(_CREATE_GROUP, 1, key, GROUP)

    def is_only_this_server(self, error: Exception) -> bool:
        """Whether one server of several failed with *error*, and the rest may work."""
        return self.servers.is_cluster and not is_group_missing(error)


def _find_paths(url: QueueUrl) -> tuple[str, str]:
    """
    Return what is in the names of this account's streams, and of others it reads.

    Others are those in which earlier versions kept all accounts; or that to which
    relays of other accounts move what they find of this one.
    """
    path = _build_path(url.alias)
    if url.get_option("stream") == _DEFAULT_STREAM and url.alias != _DEFAULT_ALIAS:
        return path, ""
    return "", path


def _build_path(alias: str) -> str:
    return f":account:{alias}"


def is_group_missing(error: Exception) -> bool:
    """Whether *error* says that there is no stream or no group: Redis was emptied."""
    # XINFO says "no such key" where the other commands say NOGROUP.
    return "NOGROUP" in str(error) or "no such key" in str(error)
