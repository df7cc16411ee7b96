"""The relay: a process that takes events from a queue and sends them to ODP.

Each worker is a thread with its own store, flusher and connections. The main thread
waits for a signal, or for a worker that finds that ODP rejects the key.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._capture.network_block import block_if_testing
from .._runtime.diagnostics import Diagnostics
from .._runtime.lock import Flag, monotonic
from .._runtime.text import format_count, pluralize
from .._stores.queue.engines import find_engine
from .._stores.queue.store import QueueStore
from .._transports.retry import get_random_fraction
from .flusher import Flusher
from .loading import load_sending_modules
from .reports import Reports
from .senders import build_http_sender

if TYPE_CHECKING:
    from .._config.destination import Destination
    from .._config.queue_url import QueueUrl
    from .._config.settings import Config
    from .._events.delivery import Delivery
    from .._stores.queue.messages import Depth

UNHEALTHY = 3
"""Exit status when ODP rejects the key; a restart does not help."""

UNFINISHED = 1
"""Exit status when a request exceeded the grace; another relay sends its events."""

_LEASE_FRACTION = 2 / 3
"""Part of the lease within which all requests for a batch have to end."""

_FAILURE_PAUSE_SECONDS = 1.0
_TAKE_WAIT_SECONDS = 1.0
_SIGNAL_POLL_SECONDS = 0.2


class Worker:
    """
    Takes batches from *store*, sends them to *destination* and settles them.

    One thread calls `run`. The other methods are thread-safe.

    Args:
        stop_flag: Ends `run` when it is set. `run` sets it if ODP rejects the key.
    """

    def __init__(
        self,
        store: QueueStore,
        config: Config,
        destination: Destination,
        *,
        stop_flag: Flag,
        diagnostics: Diagnostics,
    ) -> None:
        self.store = store
        self.config_error = ""
        """Why ODP rejects all requests, usually for the key; empty if it does not."""
        self._stop_flag = stop_flag
        self._diagnostics = diagnostics
        self._all_failed = False
        self.transport = transport = build_http_sender(config, destination)
        self._batch_seconds = store.engine.lease_seconds * _LEASE_FRACTION
        self.flusher = Flusher(
            store,
            lambda: transport,
            batch_size=config.max_batch_size,
            interval=0.0,
            background=False,  # `run` calls its steps, on the worker's own thread
            reports=Reports(diagnostics),
            load_modules=load_sending_modules,
        )

    def run(self) -> None:
        """Deliver events until `stop_flag` is set; then release the unsettled ones."""
        try:
            while not self._stop_flag.is_set():
                self._try_run_once()
        finally:
            # Other relays can lease the events now, and not when the leases end.
            self.store.discard("exit")
            self.store.close()
            self.transport.close()

    def has_failure(self) -> bool:
        """Whether the last request to the queue or to ODP failed."""
        return self.store.is_unavailable or self._all_failed

    def _try_run_once(self) -> None:
        try:
            self._run_once()
        except Exception as error:  # the other workers need this one
            self._diagnostics.warn(
                "failed",
                f"a worker failed: {type(error).__name__}. It continues with the"
                " remaining events. Please report this",
            )
            self._stop_flag.wait(_FAILURE_PAUSE_SECONDS)

    def _run_once(self) -> None:
        # The response has to come within the lease. After it, another worker takes the
        # same events and sends them again.
        delivery = self.flusher.step(monotonic() + self._batch_seconds)
        if delivery is None:
            return
        if delivery.size:
            self._all_failed = len(delivery.pending) == delivery.size
        if delivery.is_misconfigured:
            self.config_error = delivery.message
            self._stop_flag.set()
        elif delivery.pending:
            self._wait_before_retry(delivery)

    def _wait_before_retry(self, delivery: Delivery) -> None:
        """Wait before the next attempt, and renew the lease meanwhile."""
        end = monotonic() + max(delivery.backoff, delivery.retry_after)
        while (left := end - monotonic()) > 0:
            # Four times per lease: a renewal that fails can be repeated in time.
            if self._stop_flag.wait(min(left, self.store.engine.lease_seconds / 4)):
                return
            self.store.renew_leases()


class Relay:
    """
    Delivers the events of the queue *url* to *destination*.

    Args:
        workers: Number of threads.
        grace: Longest time in seconds for the end, after a signal.
        lease: Seconds for which a worker has the events it took to itself.
        max_deliveries: How often an event is taken before it becomes a dead letter.
        report: Writes a line of human-readable text.

    Raises:
        ImportError: The client library of the queue is not installed.
        ValueError: The URL of the queue is not valid.
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
        report: Callable[[str], object] = lambda line: None,
    ) -> None:
        block_if_testing()
        self._grace = grace
        self._report = report
        self._stop_flag = Flag()
        self._diagnostics = _RelayDiagnostics()
        engine = find_engine(url)
        self.workers = [
            Worker(
                QueueStore(
                    engine(url, lease_seconds=lease),
                    batch_size=config.max_batch_size,
                    batch_bytes=config.max_batch_bytes,
                    max_deliveries=max_deliveries,
                    wait=_TAKE_WAIT_SECONDS,
                    max_pause=config.max_retry_delay,
                    random_fraction=get_random_fraction,
                    warn=self._diagnostics.warn,
                ),
                config,
                destination,
                stop_flag=self._stop_flag,
                diagnostics=self._diagnostics,
            )
            for _ in range(workers)
        ]

    def run(self) -> int:
        """Deliver until SIGTERM or Ctrl-C; return the exit status."""
        self._connect_signals()
        load_sending_modules()  # once, before the threads import the same modules
        # Daemons: a request that exceeds the grace must not keep the process alive.
        threads = [
            threading.Thread(target=worker.run, name=f"odp-relay-{index}", daemon=True)
            for index, worker in enumerate(self.workers)
        ]
        for thread in threads:
            thread.start()
        # Short waits: on some platforms a signal does not interrupt a long one.
        while not self._stop_flag.wait(_SIGNAL_POLL_SECONDS):
            pass
        return self._drain(threads)

    def stop(self, *_: Any) -> None:
        """
        End `run` once the requests under way are answered.

        Also a signal handler. Async-signal context: must not block.
        """
        self._stop_flag.set()
        for worker in self.workers:
            worker.store.interrupt_wait()

    def is_healthy(self) -> bool:
        """Whether the last known requests to the queue and to ODP succeeded."""
        if any(worker.config_error for worker in self.workers):
            return False
        # One worker that succeeds is proof that queue and ODP work.
        return not all(worker.has_failure() for worker in self.workers)

    @property
    def last_depth(self) -> Depth:
        """The depth of the queue at the last measurement by a worker."""
        # Each worker measures the whole queue.
        return self.workers[0].store.last_depth

    def _connect_signals(self) -> None:
        try:
            signal.signal(signal.SIGTERM, self.stop)
            signal.signal(signal.SIGINT, self.stop)
        except ValueError:  # not the main thread: the caller has to call `stop`
            pass

    def _drain(self, threads: list[threading.Thread]) -> int:
        self.stop()
        deadline = monotonic() + self._grace
        for worker in self.workers:
            # Shortens the timeout of a request that begins now; a late response would
            # be lost.
            worker.flusher.start_drain(deadline)
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        unfinished = sum(thread.is_alive() for thread in threads)
        return self._report_end(unfinished)

    def _report_end(self, unfinished: int) -> int:
        """Report what was delivered; return the exit status."""
        total = sum(worker.store.counts().delivered for worker in self.workers)
        delivered = f"{total} {pluralize('event', total)} delivered"
        config_errors = [
            worker.config_error for worker in self.workers if worker.config_error
        ]
        if config_errors:
            self._report(
                f"{config_errors[0]}. The events stay in the queue. Set ODP_API_KEY and"
                " ODP_API_HOST to values that ODP accepts, and restart"
            )
            return UNHEALTHY
        if unfinished:
            self._report(
                f"{delivered}; {format_count(unfinished, 'request')} had no answer"
                f" within --grace {self._grace:g}. Their events are left to"
                " other relays"
            )
            return UNFINISHED
        self._report(delivered)
        return 0


class _RelayDiagnostics(Diagnostics):
    """Log lines of a relay, which stops when ODP rejects the key."""

    def warn(
        self,
        kind: str,
        message: str,
        level: int = logging.WARNING,
        *,
        location: str = "",
    ) -> bool:
        """Write *message*, except that probes follow: a relay sends no probes."""
        if kind == "configuration":
            return False
        return super().warn(kind, message, level, location=location)
