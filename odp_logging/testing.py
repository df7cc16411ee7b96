"""For the tests of those who log: what was logged, as events, and nothing sent.

    from odp_logging.testing import capture

    with capture() as events:
        checkout(cart)
    events.assert_one(action="purchased", identifiers={"fs_user_id": "u1"})

Every handler, processor and client of the process is captured, wherever it was
configured; there is nothing to patch, and no key is needed. pytest has the same as the
fixtures ``odp_events`` and ``odp_emulator``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import _tap
from ._captured import Events
from ._client import OdpClient, flush
from ._event import OdpEvent, made_of
from ._undelivered import Undelivered
from ._wall import NetworkWall
from .stores._base import Invalid as Rejected

if TYPE_CHECKING:
    from .emulator import Emulator

__all__ = ["EmulatedOdp", "Events", "Rejected", "capture", "emulated"]

_TIMEOUT = 5.0
"""Seconds for what a test waits for; an emulator on this machine takes milliseconds."""


class _Capture:
    """The tap that fills a list; on many threads, each step of it is one of list's."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def take(self, made: OdpEvent | Rejected, origin: str) -> bool:
        """Keep *made*; nobody else need count it."""
        if isinstance(made, OdpEvent):
            self._events.places[made] = origin
            self._events.append(made)
        else:
            self._events.rejected.append(made)
        return True


@contextmanager
def capture() -> Iterator[Events]:
    """
    Capture what handlers, processors and clients would send, instead of sending it.

    Each event is made within its log call, on the thread of that call, by the settings
    of its client: defaults, ``redact`` and ``before_send`` hold; ``on_delivery`` and
    ``on_drop`` are not called, and ``stats`` stay as they are. A client with
    ``enabled=False`` sends nothing, and nothing of it is captured. What was logged
    before the block is still sent, and what is logged after it is sent again. Of blocks
    within each other, or side by side, each gets all that is logged while it is open.

    A forked child captures for itself; a spawned process is another one and does not.
    """
    events = Events()
    tap = _Capture(events)
    _tap.open_capture(tap)
    try:
        yield events
    finally:
        _tap.close_capture(tap)


class EmulatedOdp:
    """
    A stand-in for ODP on a free port of this machine, and what it got.

    Questions about events first have every client of this process send what it holds;
    what another process sends has to be waited for with `wait_for`.
    """

    def __init__(self, emulator: Emulator, api_key: str = "test") -> None:
        self.emulator = emulator
        self.api_key = api_key
        self._undelivered = Undelivered()

    @property
    def url(self) -> str:
        """Its address, for ``api_host``."""
        return self.emulator.url

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point clients, and child processes, to it."""
        return {
            "ODP_API_KEY": self.api_key,
            "ODP_API_HOST": self.url,
            "ODP_ENABLED": "true",
        }

    @property
    def events(self) -> Events:
        """What it took so far, each once, and what it rejected."""
        found = Events()
        for entry in self.emulator.events():
            if entry["status"] == "rejected":
                found.rejected.append(Rejected("refused", entry["reason"], ""))
            elif entry["status"] == "accepted":
                found.append(_event_of(entry["event"]))
        return found

    @property
    def duplicates(self) -> int:
        """How many events came once more than they should."""
        return int(self.emulator.stats()["duplicates"])

    def wait_for(self, count: int, timeout: float = _TIMEOUT) -> bool:
        """Have all sent at once; return whether *count* came within *timeout*."""
        flush(0)
        return self.emulator.wait_for(count, timeout)

    def undelivered(self, timeout: float = _TIMEOUT) -> str:
        """
        Have all sent; return what was not delivered since the start, on one line.

        Events that wait, were rejected or were dropped count, of every client of this
        process; "" if there are none.
        """
        return self._undelivered.told(timeout)

    @contextmanager
    def failing(
        self,
        status: int = 503,
        *,
        times: int | None = None,
        retry_after: float | None = None,
        **fields: Any,
    ) -> Iterator[None]:
        """
        Answer with *status* within the block; at its end all is well again.

        Args:
            times: Requests that fail; None for all in the block.
            retry_after: Seconds that the answer asks to wait.
            fields: More of a fault, as ``POST /_emulator/faults`` takes it:
                ``latency=0.5``, ``drop="before"``, ``match="bad"``.
        """
        self.emulator.fault(
            status=status, count=times, retry_after=retry_after, **fields
        )
        try:
            yield
        finally:
            self.emulator.clear_faults()

    def find(self, **asked: Any) -> Events:
        """Do as `Events.find`, with what has come when all is sent."""
        return self._settled().find(**asked)

    def assert_one(self, **asked: Any) -> OdpEvent:
        """Do as `Events.assert_one`, with what has come when all is sent."""
        __tracebackhide__ = True
        return self._settled().assert_one(**asked)

    def assert_none(self, **asked: Any) -> None:
        """Do as `Events.assert_none`, with what has come when all is sent."""
        __tracebackhide__ = True
        self._settled().assert_none(**asked)

    def assert_count(self, count: int, **asked: Any) -> Events:
        """Do as `Events.assert_count`, with what has come when all is sent."""
        __tracebackhide__ = True
        return self._settled().assert_count(count, **asked)

    def _settled(self) -> Events:
        flush(_TIMEOUT)
        return self.events

    def __repr__(self) -> str:
        return f"<EmulatedOdp {self.url}>"


def _event_of(body: Mapping[str, Any]) -> OdpEvent:
    import json

    parts = body["type"], body["action"], body["identifiers"], body.get("data") or {}
    return made_of(*parts, json.dumps(body).encode())


@contextmanager
def emulated() -> Iterator[EmulatedOdp]:
    """
    Run a stand-in for ODP for the time of the block.

    What clients log within the block that have no key, or whose host is another
    machine, goes there; give its `url` and `api_key` to those that you make, and its
    `environment` to a process. What was not delivered by the end of the block is
    dropped, and counted as ``emulator_stopped``.
    """
    from .emulator import Emulator

    with Emulator() as running:
        odp = EmulatedOdp(running)
        before = _tap.set_wall(_Redirection(odp))
        try:
            yield odp
        finally:
            _tap.set_wall(before)
            odp._undelivered.give_up("emulator_stopped")


class _Redirection(NetworkWall):
    """A wall that has what it stops sent to the emulator, by a client of its own."""

    def __init__(self, odp: EmulatedOdp) -> None:
        super().__init__()
        self._odp = odp
        self._lock = threading.Lock()
        self._client: OdpClient | None = None

    def stops(self, host: str | None) -> bool:
        """Whether *host* is not known yet, or is another machine."""
        return host is None or super().stops(host)

    def take(self, made: OdpEvent | Rejected, origin: str) -> bool:
        """Send an event; one that is rejected is its client's to count."""
        if not isinstance(made, OdpEvent):
            return False
        with self._lock:
            if self._client is None:  # when the environment is that of the test
                self._client = OdpClient(
                    self._odp.api_key,
                    api_host=self._odp.url,
                    enabled=True,
                    handle_sigterm=False,
                )
        self._client.send(made)
        return True
