"""Test helpers for applications: capture the events that code logs, without sending.

    from odp_logging.testing import capture

    with capture() as events:
        checkout(cart)
    events.assert_one(action="purchased", identifiers={"fs_user_id": "u1"})

The events of every handler, processor and client of the process are captured, wherever
it was configured. Nothing is patched, and no key is needed. In pytest the fixtures
``odp_events`` and ``odp_emulator`` do the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._capture import interception
from .._capture.network_block import NetworkBlock, block_if_testing, start_blocking
from .._client.client import OdpClient
from .._client.flushing import flush
from .._events.batch import Invalid as Rejected
from .._events.event import OdpEvent, make_event_from_parts
from .._runtime.lock import OwnedLock
from .events import Events
from .undelivered import UndeliveredEvents

if TYPE_CHECKING:
    from ..emulator import Emulator

__all__ = ["EmulatedOdp", "Events", "Rejected", "block_network", "capture", "emulated"]

_TIMES_IS_COUNT = "failing(times=...) is now failing(count=...), as over HTTP"

_TIMEOUT = 5.0
"""Longest wait of a test; an emulator on this machine answers in milliseconds."""


def block_network() -> None:
    """
    Block events for other machines until this process ends; also in child processes.

    Events for another host than a loopback one are rejected as ``network_blocked``, and
    the first one is reported on stderr. Call it under test runners that are not
    recognized: pytest, ``python -m unittest`` and Django's ``manage.py test`` need no
    call. ``ODP_BLOCK_NETWORK=1`` in the environment does the same; 0 lets those runs
    send.
    """
    start_blocking()


class _Capture:
    """An interceptor that fills a list. Thread-safe: it only calls list.append."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def intercept(self, captured: OdpEvent | Rejected, origin: str) -> bool:
        """Keep *captured*, whether it is an event or a rejection."""
        if isinstance(captured, OdpEvent):
            self._events.origins[captured] = origin
            self._events.append(captured)
        else:
            self._events.rejected.append(captured)
        return True


@contextmanager
def capture() -> Iterator[Events]:
    """
    Capture the events of all handlers, processors and clients instead of sending them.

    Each event is built within its log call, on the thread of that call. The settings of
    its client apply: defaults, ``redact`` and ``before_send``. ``on_delivery`` and
    ``on_drop`` are not called, and ``stats`` do not change. No event of a client with
    ``enabled=False`` is captured. Events logged before and after the block are sent.
    Nested and concurrent blocks each get all events that are logged while they are
    open.

    A forked child has its own list; a spawned process captures nothing.
    """
    events = Events()
    interceptor = _Capture(events)
    interception.add_capture(interceptor)
    try:
        yield events
    finally:
        interception.remove_capture(interceptor)


class EmulatedOdp:
    """
    An emulator of ODP on a free port of this machine, and the events that it received.

    `find` and the assertions flush every client of this process first; use `wait_for`
    for events that another process sends.
    """

    def __init__(self, emulator: Emulator, api_key: str = "test") -> None:
        self.emulator = emulator
        self.api_key = api_key
        self._undelivered = UndeliveredEvents()

    @property
    def url(self) -> str:
        """The URL of the emulator, for ``api_host``."""
        return self.emulator.url

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that direct clients and child processes to it."""
        return {
            "ODP_API_KEY": self.api_key,
            "ODP_API_HOST": self.url,
            "ODP_ENABLED": "true",
        }

    @property
    def events(self) -> Events:
        """The events accepted so far, without duplicates, and the rejected ones."""
        found = Events()
        for entry in self.emulator.events():
            if entry["status"] == "rejected":
                found.rejected.append(Rejected("refused", entry["reason"], ""))
            elif entry["status"] == "accepted":
                found.append(_build_event(entry["event"]))
        return found

    @property
    def duplicates(self) -> int:
        """The number of events that were received again."""
        return int(self.emulator.stats()["duplicates"])

    def wait_for(self, count: int, timeout: float = _TIMEOUT) -> bool:
        """Flush; return whether *count* events arrive within *timeout* seconds."""
        # Only wakes the flushers: the wait is for the emulator.
        flush(0)
        return self.emulator.wait_for(count, timeout)

    def undelivered(self, timeout: float = _TIMEOUT) -> str:
        """
        Flush; return a line with the events not delivered since the start, "" for none.

        It counts waiting, rejected and dropped events of every client of this process.
        """
        return self._undelivered.format_report(timeout)

    @contextmanager
    def failing(
        self,
        status: int = 503,
        *,
        count: int | None = None,
        retry_after: float | None = None,
        times: int | None = None,
        **fields: Any,
    ) -> Iterator[None]:
        """
        Answer with *status* within the block; clear all faults at its end.

        Args:
            count: Number of requests that fail; None for all in the block.
            retry_after: Seconds, for the header Retry-After.
            times: The old name of *count*; it gives a DeprecationWarning.
            fields: More fields of a fault, as ``POST /_emulator/faults`` takes it:
                ``latency=0.5``, ``drop="before"``, ``match="bad"``.
        """
        if times is not None:
            warnings.warn(_TIMES_IS_COUNT, DeprecationWarning, stacklevel=3)
            count = times if count is None else count
        self.emulator.fault(
            status=status, count=count, retry_after=retry_after, **fields
        )
        try:
            yield
        finally:
            self.emulator.clear_faults()

    def find(self, **expected: Any) -> Events:
        """Flush, then return the events that match, as `Events.find` does."""
        return self._flush_events().find(**expected)

    def assert_one(self, **expected: Any) -> OdpEvent:
        """Flush, then return the one event that matches; see `Events.assert_one`."""
        __tracebackhide__ = True
        return self._flush_events().assert_one(**expected)

    def assert_none(self, **expected: Any) -> None:
        """Flush, then assert that no event matches; see `Events.assert_none`."""
        __tracebackhide__ = True
        self._flush_events().assert_none(**expected)

    def assert_count(self, count: int, **expected: Any) -> Events:
        """Flush, then return *count* events that match; see `Events.assert_count`."""
        __tracebackhide__ = True
        return self._flush_events().assert_count(count, **expected)

    def _flush_events(self) -> Events:
        flush(_TIMEOUT)
        return self.events

    def __repr__(self) -> str:
        return f"<EmulatedOdp {self.url}>"


def _build_event(body: Mapping[str, Any]) -> OdpEvent:
    import json

    parts = body["type"], body["action"], body["identifiers"], body.get("data") or {}
    return make_event_from_parts(*parts, json.dumps(body).encode())


@contextmanager
def emulated() -> Iterator[EmulatedOdp]:
    """
    Run an emulator of ODP while the block lasts.

    It receives the events of clients without a key, and of those with another host.
    Pass its `url` and `api_key` to clients that the test creates, and its `environment`
    to a process. Events that are undelivered at the end of the block are dropped, and
    counted as ``emulator_stopped``.
    """
    from ..emulator import Emulator

    block_if_testing()  # not undone at the end of this block
    with Emulator() as running:
        odp = EmulatedOdp(running)
        before = interception.set_block(_Redirect(odp))
        try:
            yield odp
        finally:
            interception.set_block(before)
            odp._undelivered.drop("emulator_stopped")


class _Redirect(NetworkBlock):
    """Sends blocked events to the emulator, with a client of its own."""

    def __init__(self, odp: EmulatedOdp) -> None:
        super().__init__()
        self._odp = odp
        self._lock = OwnedLock()
        self._client: OdpClient | None = None

    def blocks(self, host: str | None) -> bool:
        """Return whether *host* is not known yet, or is another machine."""
        return host is None or super().blocks(host)

    def intercept(self, captured: OdpEvent | Rejected, origin: str) -> bool:
        """Send an event; a rejected one is counted by its own client."""
        if not isinstance(captured, OdpEvent):
            return False
        self._lock.hold(self._get_client).send(captured)
        return True

    def _get_client(self) -> OdpClient:
        # Created with the first event, because a client reads the environment, which
        # the test may change first.
        if self._client is None:
            self._client = OdpClient(
                self._odp.api_key,
                api_host=self._odp.url,
                # Whatever ODP_ENABLED says for the clients of the application.
                enabled=True,
                handle_sigterm=False,
            )
        return self._client
