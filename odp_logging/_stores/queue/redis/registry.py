"""The workers that are alive, in a hash beside the streams.

The consumer group cannot tell: before Redis 7.2 it knows a worker only from its first
entry on, and it keeps ended workers. Times are those of the server, because the clocks
of the hosts may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..messages import Consumer
from .streams import Streams

_KEEP_SECONDS = 86_400
"""Seconds without any worker after which Redis deletes the hash."""


class _Registration(NamedTuple):
    """When a worker was last seen, and until when it counts; in server milliseconds."""

    seen: int
    expiry: int


class Registry:
    """
    Registers the worker *consumer* of *streams*, and lists all that are alive.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, streams: Streams, consumer: str, *, clock: Callable[[], float]
    ) -> None:
        self._streams = streams
        self._consumer = consumer
        self._clock = clock
        self._next_register_at = 0.0
        self._is_registered = False

    def register(self, seconds: float) -> None:
        """Let this worker count as alive for *seconds*, if it is time to renew that."""
        now = self._clock()
        if self._is_registered and now < self._next_register_at:
            return
        with self._streams.connect():
            seen = self._read_server_time()
            pipeline = self._streams.get_worker_client().pipeline(transaction=False)
            text = f"{seen} {seen + int(seconds * 1000)}"
            pipeline.hset(self._streams.worker_key, self._consumer, text)
            pipeline.expire(self._streams.worker_key, _KEEP_SECONDS)
            pipeline.execute()
            self._remove_stale(seen)
        self._is_registered = True
        # Several times per registration: one that fails can be repeated in time.
        self._next_register_at = now + seconds / 6

    def unregister(self) -> None:
        """Remove this worker, unless it was never registered."""
        if self._is_registered:
            self._is_registered = False
            with self._streams.connect():
                self._streams.get_worker_client().hdel(
                    self._streams.worker_key, self._consumer
                )

    def list_live(self, consumers: Sequence[Consumer]) -> list[Consumer]:
        """Return live workers, and those of *consumers* that ended and hold events."""
        group = {consumer.name: consumer for consumer in consumers}
        with self._streams.connect():
            now = self._read_server_time()
            live = {
                name: (now - registration.seen) / 1000
                for name, registration in self._read_workers()
                if registration.expiry > now
            }
        found = []
        for name, seconds in live.items():
            known = group.pop(name, Consumer(name, 0, seconds))
            idle = max(0.0, min(known.idle, seconds))
            found.append(known._replace(idle=idle, is_alive=True))
        return found + [consumer for consumer in group.values() if consumer.pending]

    def _remove_stale(self, now: int) -> None:
        """Delete the registrations of killed workers."""
        stale = [
            name
            for name, registration in self._read_workers()
            if registration.expiry <= now
        ]
        if stale:
            self._streams.get_worker_client().hdel(self._streams.worker_key, *stale)

    def _read_workers(self) -> Iterator[tuple[str, _Registration]]:
        key = self._streams.worker_key
        for name, text in self._streams.get_worker_client().hgetall(key).items():
            try:
                seen, expiry = map(int, text.split())
            except ValueError:  # not written by this library
                continue
            yield name.decode(errors="replace"), _Registration(seen, expiry)

    def _read_server_time(self) -> int:
        seconds, microseconds = self._streams.get_worker_client().time()
        return int(seconds * 1000 + microseconds // 1000)
