"""The mover as a process of its own: from a queue to ODP, in the foreground.

Each worker is a thread with a store, a flusher and connections of its own; the main
thread waits for a signal, or for a worker that finds the key refused.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._assembly import retried_http
from ._diagnostics import Diagnostics
from ._flusher import Flusher
from ._loading import loaded
from ._reports import Reports
from .stores._url import engine_of

if TYPE_CHECKING:
    from ._config import Config, Destination
    from ._delivery import Delivery
    from .stores._base import Batch
    from .stores._parcels import Depth
    from .stores._shared import Shared
    from .stores._url import QueueUrl
    from .transports._base import Transport

UNHEALTHY = 3
"""Exit status where ODP refuses the key: to start again does not help."""

UNFINISHED = 1
"""Exit status where a request took longer than the grace: others send it again."""

_PART = 2 / 3
"""Of a lease, in which all requests for a batch must end."""

_FAILED_PAUSE = 1.0
_WAIT = 1.0
_SOON = 0.2


class Worker:
    """
    Takes batches from *store*, sends them to *destination* and settles them.

    `run` belongs to one thread; the rest may be called on any.

    Args:
        ended: Set by others to have `run` return; and by `run`, if the key is refused.
    """

    def __init__(
        self,
        store: Shared,
        config: Config,
        destination: Destination,
        *,
        ended: threading.Event,
        diagnostics: Diagnostics,
    ) -> None:
        self.store = store
        self.refused = ""
        """Why ODP takes nothing from us, once it is known."""
        self._ended = ended
        self._diagnostics = diagnostics
        self._in_vain = False
        self.transport = _Timed(retried_http(config, destination))
        self._budget = store.lease_seconds * _PART
        self.flusher = Flusher(
            store,
            self.transport,
            batch_size=config.max_batch_size,
            interval=0.0,
            background=False,
            reports=Reports(diagnostics),
            on_loading=loaded,
        )

    def run(self) -> None:
        """Move events until it is ended; give back what is not settled then."""
        try:
            while not self._ended.is_set():
                self._survive()
        finally:
            self.store.give_up("exit")
            self.store.close()
            self.transport.close()

    def is_failing(self) -> bool:
        """Whether the queue or ODP did nothing of what they were asked to last."""
        return self.store.is_lost or self._in_vain

    def _survive(self) -> None:
        try:
            self._step()
        except Exception as error:  # a worker that died would leave the others alone
            self._diagnostics.warn(
                "failed",
                f"a worker failed with {type(error).__name__}; it goes on with what is"
                " left; please report this",
            )
            self._ended.wait(_FAILED_PAUSE)

    def _step(self) -> None:
        # Within the lease: else another worker would send the same.
        delivery = self.flusher.step(time.monotonic() + self._budget)
        if delivery is None:
            return
        if delivery.size:
            self._in_vain = len(delivery.pending) == delivery.size
        if delivery.is_misconfigured:
            self.refused = delivery.message
            self._ended.set()
        elif delivery.pending:
            self._pause(delivery)

    def _pause(self, delivery: Delivery) -> None:
        """Wait before the next attempt, and keep what is held meanwhile."""
        end = time.monotonic() + max(delivery.backoff, delivery.retry_after)
        while (left := end - time.monotonic()) > 0:
            if self._ended.wait(min(left, self.store.lease_seconds / 4)):
                return
            self.store.keep()


class Relay:
    """
    Delivers what is in the queue *url* to *destination*, with so many *workers*.

    Args:
        grace: Seconds that an end may take.
        lease: Seconds a worker has events to itself.
        max_deliveries: Workers that may have an event, one after the other.
        say: Writes a line for people.

    Raises:
        ImportError: What the queue needs is not installed.
        ValueError: The queue's URL says what it cannot mean.
    """

    def __init__(
        self,
        url: QueueUrl,
        config: Config,
        destination: Destination,
        *,
        workers: int = 1,
        grace: float = 25.0,
        lease: float = 30.0,
        max_deliveries: int = 10,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._grace = grace
        self._say = say
        self._ended = threading.Event()
        self._diagnostics = _Lines()
        store = engine_of(url)
        self.workers = [
            Worker(
                store(
                    url,
                    batch_size=config.max_batch_size,
                    batch_bytes=config.max_batch_bytes,
                    max_deliveries=max_deliveries,
                    wait=_WAIT,
                    lease=lease,
                    warn=self._diagnostics.warn,
                ),
                config,
                destination,
                ended=self._ended,
                diagnostics=self._diagnostics,
            )
            for _ in range(workers)
        ]

    def run(self) -> int:
        """Deliver until SIGTERM or Ctrl-C; return the exit status."""
        self._listen()
        loaded()  # once, before several threads import the same
        threads = [
            threading.Thread(target=worker.run, name=f"odp-relay-{n}", daemon=True)
            for n, worker in enumerate(self.workers)
        ]
        for thread in threads:
            thread.start()
        # In short waits: not every platform lets a signal interrupt a long one.
        while not self._ended.wait(_SOON):
            pass
        return self._end(threads)

    def stop(self, *_: Any) -> None:
        """Have `run` return once what is under way has its answer."""
        self._ended.set()
        for worker in self.workers:
            worker.store.hurry()

    def is_healthy(self) -> bool:
        """Whether events can be delivered, as far as is known."""
        if any(worker.refused for worker in self.workers):
            return False
        return not all(worker.is_failing() for worker in self.workers)

    def depth(self) -> Depth:
        """Return how much was in the queue when a worker looked last."""
        return self.workers[0].store.last_depth

    def _listen(self) -> None:
        try:
            signal.signal(signal.SIGTERM, self.stop)
            signal.signal(signal.SIGINT, self.stop)
        except ValueError:  # not the main thread: who started us ends us
            pass

    def _end(self, threads: list[threading.Thread]) -> int:
        self.stop()
        deadline = time.monotonic() + self._grace
        for worker in self.workers:
            worker.flusher.begin_drain(deadline)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        delivered = sum(worker.store.counts().delivered for worker in self.workers)
        busy = sum(thread.is_alive() for thread in threads)
        refused = [worker.refused for worker in self.workers if worker.refused]
        if refused:
            self._say(
                f"{refused[0]}; nothing of it was acknowledged, the queue keeps it;"
                " set ODP_API_KEY and ODP_API_HOST to what ODP takes, and start again"
            )
            return UNHEALTHY
        if busy:
            self._say(
                f"{delivered} events delivered; {busy} requests had no answer within"
                f" --grace {self._grace:g}; their events are left to other relays"
            )
            return UNFINISHED
        self._say(f"{delivered} events delivered")
        return 0


class _Lines(Diagnostics):
    """Lines of a relay, which does not go on where ODP refuses the key."""

    def warn(self, kind: str, message: str, level: int = logging.WARNING) -> None:
        """Say *message*; but not that probes follow: the relay's last line says why."""
        if kind != "configuration":
            super().warn(kind, message, level)


class _Timed:
    """A `Transport` that notes how long *inner* takes."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.seconds = 0.0
        self.requests = 0

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* and report what became of each event."""
        start = time.monotonic()
        delivery = self._inner.send(batch, deadline=deadline)
        self.seconds += time.monotonic() - start
        self.requests += delivery.requests
        return delivery

    def prepare(self) -> None:
        """Load what the first request will need."""
        self._inner.prepare()

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._inner.after_fork()
