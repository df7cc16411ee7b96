"""Redis Streams as a store: their names, their commands, what an entry holds.

One stream a shard, ``odp:events:{0}`` and so on, with one consumer group for all
relays; one entry an event: ``v=1``, ``e`` its JSON, ``a`` the alias of its account,
never a key. An entry is deleted once it is acknowledged, and never trimmed: ``MAXLEN``
deletes what somebody has on loan (measured: 5 of 5).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from ._parcels import (
    Depth,
    Leased,
    Parcel,
    QueueError,
    Refusal,
    by_shard,
    shard_of,
)
from ._servers import Servers
from ._servers import load as load
from ._shared import Shared
from ._url import QueueUrl

T = TypeVar("T")

GROUP = "odp-relay"
PAUSE = "odp:relay:pause:"

_GONE = 3600.0
_SWEEP_EVERY = 300.0
_MOST_PENDING = 10_000
_PART = 1_000
"""Dead letters that are read at once."""


class DeadLetter(NamedTuple):
    """An event that was buried; *id* is its shard and its number there."""

    id: str
    parcel: Parcel
    reason: str
    deliveries: int
    source: str
    buried: float


class Consumer(NamedTuple):
    """A worker as Redis knows it; *idle* in seconds since it last asked for events."""

    name: str
    pending: int
    idle: float


class Stream(Shared):
    """
    A `Store` in Redis.

    Args:
        url: Where it is, and how it is cut.
        consumer: Names this worker in the group; one of its own if None.
        gone_after: Seconds after which a worker without a word is forgotten.
        shared: See `Shared`.
    """

    def __init__(
        self,
        url: QueueUrl,
        *,
        consumer: str | None = None,
        gone_after: float = _GONE,
        **shared: Any,
    ) -> None:
        self.url = url
        self._given = consumer
        self._gone_after = gone_after
        self._servers = Servers(url)
        super().__init__(alias=url.alias, **shared)

    def _reset(self) -> None:
        super()._reset()
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.consumer = self._given or name
        self._turn = 0
        self._cursors: dict[int, bytes] = {}
        self._claim_at = self._sweep_at = self._extend_at = 0.0

    # Names.

    def key(self, shard: int) -> str:
        """Return the name of a stream; the braces keep it and its dead in one slot."""
        return f"{self.url.stream}:{{{shard}}}"

    def dead_key(self, shard: int) -> str:
        """Return the name of the stream that keeps a shard's dead letters."""
        return f"{self.url.stream}:dead:{{{shard}}}"

    @property
    def _shards(self) -> range:
        return range(self.url.shards)

    # Events in.

    def publish(
        self, parcels: Sequence[Parcel], deadline: float | None = None
    ) -> Mapping[int, Refusal]:
        """Add *parcels* to their streams, within the high-water mark."""
        places: dict[int, list[int]] = {}
        for place, parcel in enumerate(parcels):
            places.setdefault(shard_of(parcel.key, self.url.shards), []).append(place)
        refused: dict[int, Refusal] = {}
        with self._asking(deadline):
            nodes = self._servers.groups({n: self.key(n) for n in places})
        for shards in nodes:
            mine = {shard: places[shard] for shard in shards}
            try:
                with self._asking(deadline):
                    refused.update(self._publish(parcels, mine))
            except QueueError as error:
                for place in [each for many in mine.values() for each in many]:
                    refused[place] = Refusal(str(error), in_doubt=True)
        if parcels and all(
            place in refused and refused[place].in_doubt
            for place in range(len(parcels))
        ):
            raise QueueError(refused[0].message)
        return refused

    def _publish(
        self, parcels: Sequence[Parcel], mine: Mapping[int, Sequence[int]]
    ) -> dict[int, Refusal]:
        redis = self._at(next(iter(mine)))
        asked = redis.pipeline(transaction=False)
        for shard in mine:
            asked.xlen(self.key(shard))
        refused: dict[int, Refusal] = {}
        added = redis.pipeline(transaction=False)
        sent: list[int] = []
        bound = max(1, self.url.high_water // self.url.shards)
        for (shard, places), length in zip(mine.items(), asked.execute()):
            room = max(0, bound - length)
            for place in places[:room]:
                added.xadd(self.key(shard), _entry(parcels[place]))
                sent.append(place)
            for place in places[room:]:
                message = f"the queue {self.url.place} is full: high_water is reached"
                refused[place] = Refusal(message, in_doubt=False)
        answers = added.execute(raise_on_error=False) if sent else []
        for place, answer in zip(sent, answers):
            if isinstance(answer, Exception):
                refused[place] = Refusal(self._servers.said(answer), in_doubt=False)
        return refused

    # Events out.

    def lease(self, limit: int, wait: float) -> Sequence[Leased]:
        """Claim what dead workers had, then read what is new."""
        found: list[Leased] = []
        try:
            with self._asking():
                self._grouped(partial(self._lease_now, found, limit, wait))
        except QueueError:
            # What one shard gave is ours, whatever became of the next one.
            if not found:
                raise
        return found

    def _lease_now(self, found: list[Leased], limit: int, wait: float) -> None:
        if self._clock() >= self._claim_at:
            self._claim(found, limit)
        failed: Exception | None = None
        for _ in self._shards:
            if len(found) >= limit:
                break
            self._turn = (self._turn + 1) % self.url.shards
            try:
                found += self._read([self._turn], limit - len(found), None)
            except Exception as error:
                if not self._servers.is_cluster or "NOGROUP" in str(error):
                    raise
                failed = error  # one server of several
        if failed is not None:
            raise failed
        if not found and wait > 0:
            found += self._listen(limit, wait)

    def _listen(self, limit: int, wait: float) -> list[Leased]:
        milliseconds = max(1, int(wait * 1000))
        if not self._servers.is_cluster:
            count = -(-limit // self.url.shards)
            return self._read(list(self._shards), count, milliseconds)
        for shard in self._shards:
            each = max(1, milliseconds // self.url.shards)
            found = self._read([shard], limit, each)
            if found:
                return found
        return []

    def _read(
        self, shards: Sequence[int], count: int, block: int | None
    ) -> list[Leased]:
        names = {self.key(shard): shard for shard in shards}
        answer = self._at(shards[0]).xreadgroup(
            GROUP, self.consumer, dict.fromkeys(names, ">"), count=count, block=block
        )
        return [
            Leased(_parcel(fields), names[name.decode()], number)
            for name, entries in answer or ()
            for number, fields in entries
        ]

    def _claim(self, found: list[Leased], limit: int) -> None:
        idle = int(self.lease_seconds * 1000)
        for shard in self._shards:
            if len(found) >= limit:
                return
            start = self._cursors.get(shard, b"0-0")
            # Two parts from Redis 6.2, where what was deleted is None; three from 7.
            answer = self._at(shard).xautoclaim(
                self.key(shard),
                GROUP,
                self.consumer,
                idle,
                start,
                count=limit - len(found),
            )
            self._cursors[shard] = answer[0]
            entries = [(n, fields) for n, fields in answer[1] if n is not None]
            found += self._counted(shard, entries)
            if len(entries) < len(answer[1]):
                self._forget_deleted(shard, {number for number, _ in entries})
        if all(cursor == b"0-0" for cursor in self._cursors.values()):
            self._claim_at = self._clock() + self.lease_seconds / 2
            self._sweep()

    def _counted(
        self, shard: int, entries: Sequence[tuple[bytes, Any]]
    ) -> list[Leased]:
        if not entries:
            return []
        counts = {
            each["message_id"]: each["times_delivered"] for each in self._pending(shard)
        }
        return [
            Leased(_parcel(fields), shard, number, counts.get(number, 1))
            for number, fields in entries
        ]

    def _pending(self, shard: int) -> Any:
        """Return what Redis thinks we have on loan."""
        return self._at(shard).xpending_range(
            self.key(shard), GROUP, "-", "+", _MOST_PENDING, consumername=self.consumer
        )

    def _forget_deleted(self, shard: int, there: set[bytes]) -> None:
        """Acknowledge what is on loan to us and was deleted by somebody."""
        held = {each.leased.number for each in self._held if each.leased.shard == shard}
        ours = {each["message_id"] for each in self._pending(shard)}
        redis = self._at(shard)
        for number in ours - held - there:
            # Asked one by one: what we were given in an answer that never came is here.
            if not redis.xrange(self.key(shard), number, number):
                redis.xack(self.key(shard), GROUP, number)

    def extend(self, leased: Sequence[Leased]) -> Sequence[Leased]:
        """Start the lease anew where there is need, and see what others took over."""
        now = self._clock()
        if now < self._extend_at:
            return leased
        with self._asking():
            kept = self._grouped(partial(self._extend, leased))
        self._extend_at = now + self.lease_seconds / 4
        return kept

    def _extend(self, leased: Sequence[Leased]) -> list[Leased]:
        kept: list[Leased] = []
        for shard, mine in by_shard(leased).items():
            # Not blindly: who was suspended for a while must not take it back.
            try:
                ours = {each["message_id"] for each in self._pending(shard)}
            except Exception as error:
                if not self._servers.is_cluster or "NOGROUP" in str(error):
                    raise
                kept += mine  # nobody can reach its server, and claim it
                continue
            still = [each for each in mine if each.number in ours]
            kept += still
            if still:
                numbers = [each.number for each in still]
                self._at(shard).xclaim(
                    self.key(shard), GROUP, self.consumer, 0, numbers, justid=True
                )
        return kept

    def give_back(self, leased: Sequence[Leased]) -> None:
        """Make *leased* look long abandoned, and take our delivery off its count."""
        if leased:
            with self._asking():
                self._grouped(partial(self._give_back, leased))
            self._claim_at = 0.0

    def _give_back(self, leased: Sequence[Leased]) -> None:
        for shard, mine in by_shard(leased).items():
            ours = {each["message_id"] for each in self._pending(shard)}
            pipe = self._at(shard).pipeline(transaction=False)
            for each in [each for each in mine if each.number in ours]:
                pipe.xclaim(
                    self.key(shard),
                    GROUP,
                    self.consumer,
                    0,
                    [each.number],
                    idle=int(self.lease_seconds * 1000) + 1,
                    retrycount=max(0, each.deliveries - 1),
                    justid=True,
                )
            pipe.execute()

    def finish(
        self, done: Sequence[Leased], dead: Sequence[tuple[Leased, str]]
    ) -> None:
        """Bury, acknowledge and delete: for each shard all of it, or nothing."""
        reasons = {each[1:3]: reason for each, reason in dead}
        with self._asking():
            for shard, mine in by_shard([*done, *(each for each, _ in dead)]).items():
                numbers = [each.number for each in mine]
                pipe = self._at(shard).pipeline(transaction=True)
                for each in mine:
                    if each[1:3] in reasons:
                        pipe.xadd(
                            self.dead_key(shard), _buried(each, reasons[each[1:3]])
                        )
                pipe.xack(self.key(shard), GROUP, *numbers)
                pipe.xdel(self.key(shard), *numbers)
                pipe.execute()

    # The fleet.

    def pause(self, seconds: float) -> None:
        """Have all relays of this account send nothing for so long."""
        milliseconds = int(seconds * 1000)
        if milliseconds <= 0:
            return
        with self._asking():
            # Not shorter than somebody else's.
            if self._pausing() < milliseconds:
                self._anywhere().set(PAUSE + self.url.alias, 1, px=milliseconds)

    def paused(self) -> float:
        """Return for how many seconds nothing is to be sent."""
        with self._asking():
            return max(0, self._pausing()) / 1000

    def _pausing(self) -> int:
        left: int = self._anywhere().pttl(PAUSE + self.url.alias)
        return left

    def _sweep(self) -> None:
        """Forget workers that are long gone and hold nothing."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + min(_SWEEP_EVERY, self._gone_after)
        for shard in self._shards:
            for each in self._consumers(shard):
                if each.idle > self._gone_after and not each.pending:
                    self._at(shard).xgroup_delconsumer(
                        self.key(shard), GROUP, each.name
                    )

    def _consumers(self, shard: int) -> list[Consumer]:
        found = self._at(shard).xinfo_consumers(self.key(shard), GROUP)
        return [
            Consumer(each["name"].decode(), each["pending"], each["idle"] / 1000)
            for each in found
        ]

    def consumers(self) -> list[Consumer]:
        """Return the workers, each with what it holds over all shards."""
        merged: dict[str, Consumer] = {}
        with self._asking():
            for each in self._grouped(self._all_consumers):
                was = merged.get(each.name, Consumer(each.name, 0, each.idle))
                merged[each.name] = Consumer(
                    each.name,
                    was.pending + each.pending,
                    min(was.idle, each.idle),
                )
        return list(merged.values())

    def _all_consumers(self) -> list[Consumer]:
        return [each for shard in self._shards for each in self._consumers(shard)]

    def depth(self) -> Depth:
        """Return how much there is, over all shards."""
        with self._asking():
            return self._grouped(self._depth)

    def _depth(self) -> Depth:
        ready = leased = dead = 0
        oldest = 0.0
        for shard in self._shards:
            pipe = self._at(shard).pipeline(transaction=False)
            pipe.xlen(self.key(shard))
            pipe.xpending(self.key(shard), GROUP)
            pipe.xlen(self.dead_key(shard))
            pipe.xrange(self.key(shard), count=1)
            pipe.time()
            length, pending, buried, first, now = pipe.execute()
            leased += pending["pending"]
            ready += max(0, length - pending["pending"])
            dead += buried
            if first:
                age = now[0] + now[1] / 1e6 - _moment(first[0][0])
                oldest = max(oldest, age)
        return Depth(ready, leased, dead, oldest)

    # Dead letters.

    def dead_letters(self) -> list[DeadLetter]:
        """Return all of them, the oldest first."""
        found: list[DeadLetter] = []
        with self._asking():
            for shard in self._shards:
                found += self._dead(shard)
        return sorted(found, key=lambda each: each.buried)

    def _dead(self, shard: int) -> Iterator[DeadLetter]:
        # In parts: while Redis makes an answer it does nothing else.
        start = b"-"
        while True:
            entries = self._at(shard).xrange(
                self.dead_key(shard), min=start, count=_PART
            )
            for number, fields in entries:
                yield _letter(shard, number, fields)
            if len(entries) < _PART:
                return
            start = b"(" + entries[-1][0]

    def exhume(self, letters: Sequence[DeadLetter], *, retry: bool) -> None:
        """Delete *letters*; with *retry* put their events back into the queue."""
        with self._asking():
            for letter in letters:
                shard, _, number = letter.id.partition(".")
                pipe = self._at(int(shard)).pipeline(transaction=True)
                if retry:
                    pipe.xadd(self.key(int(shard)), _entry(letter.parcel))
                pipe.xdel(self.dead_key(int(shard)), number)
                pipe.execute()

    # The connection.

    def disconnect(self, *, forked: bool = False) -> None:
        """Let go of connections; a fork's are the parent's, and only forgotten."""
        self._servers.disconnect(forked=forked)

    def _asking(self, deadline: float | None = None) -> AbstractContextManager[None]:
        return self._servers.asking(deadline)

    def _at(self, shard: int) -> Any:
        """Return a client of the server that has *shard*."""
        return self._servers.of(self.key(shard))

    def _anywhere(self) -> Any:
        return self._servers.of(PAUSE + self.url.alias)

    def _grouped(self, work: Callable[[], T]) -> T:
        """Return what *work* does, once the group is there: Redis may be empty."""
        try:
            return work()
        except Exception as error:
            if "NOGROUP" not in str(error):
                raise
        self._make_group()
        return work()

    def _make_group(self) -> None:
        for shard in self._shards:
            try:
                self._at(shard).xgroup_create(
                    self.key(shard), GROUP, id="0", mkstream=True
                )
            except Exception as error:
                if "BUSYGROUP" not in str(error):
                    raise


def _entry(parcel: Parcel) -> dict[Any, Any]:
    return {"v": parcel.version, "e": parcel.body, "a": parcel.alias}


def _parcel(fields: Mapping[bytes, bytes]) -> Parcel:
    body, alias = fields.get(b"e", b""), _text(fields.get(b"a"))
    return Parcel(b"", body, alias, _text(fields.get(b"v")))


def _text(field: bytes | None) -> str:
    return (field or b"").decode("utf-8", "replace")


def _buried(leased: Leased, reason: str) -> dict[Any, Any]:
    return {
        **_entry(leased.parcel),
        "reason": reason,
        "deliveries": leased.deliveries,
        "from": leased.number,
    }


def _letter(shard: int, number: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=f"{shard}.{number.decode()}",
        parcel=_parcel(fields),
        reason=_text(fields.get(b"reason")),
        deliveries=int(fields.get(b"deliveries", b"0")),
        source=_text(fields.get(b"from")),
        buried=_moment(number),
    )


def _moment(number: bytes) -> float:
    """Return when Redis made an entry, epoch seconds."""
    return int(number.partition(b"-")[0]) / 1000
