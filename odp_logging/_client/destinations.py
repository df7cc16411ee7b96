"""
The destinations of one client: the current one, and earlier ones with pending events.

Each destination has a flusher of its own, which `pipeline` builds. `OdpClient` changes
the destination here; `Router` puts events into the current flusher.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from .._config.destination import Destination
from .._flusher.flusher import Flusher
from .._runtime.lock import OwnedLock
from ..exceptions import ConfigurationError
from .pipeline import build_flusher, connect
from .stats import Snapshot, Stats, Total, measure_oldest

if TYPE_CHECKING:
    from .._config.queue_url import QueueUrl
    from .._config.settings import Config
    from .._runtime.diagnostics import Diagnostics
    from .._stores.inbox import EventHolder

_KEPT_FLUSHERS = 16
"""Number of earlier destinations whose flushers are kept."""

_NO_KEY = (
    "ODP_API_KEY is not set and no api_key= was given; up to {bound} are kept."
    " Find the public key in ODP under Account Settings > APIs, or run `odp-logging"
    " emulator` and set ODP_API_KEY=test ODP_API_HOST=http://127.0.0.1:8181"
)

_History = tuple[tuple[Flusher, ...], Total]
"""The earlier flushers that are kept, and the counts of those that are not."""


class NoDestination(NamedTuple):
    """What happens to events while there is no destination."""

    warning: str
    """``{bound}`` in it stands for the buffer's limit."""
    drop_reason: str = ""
    """The reason in the stats for dropping events; empty to keep them."""


class Destinations:
    """
    Holds where the events of one client go now, and where they went earlier.

    Thread-safe. Changes hold a lock, so that the last of two threads decides for both
    the flusher and the inbox that leads to it.

    Args:
        config: The settings of the client.
        diagnostics: Gets the warnings about events without a destination.
    """

    def __init__(self, config: Config, diagnostics: Diagnostics) -> None:
        self._config = config
        self._diagnostics = diagnostics
        self._lock = OwnedLock()
        self._is_enabled = config.enabled
        self._api_host = config.api_host
        self._fingerprint: tuple[QueueUrl | Destination | None, str] = (None, "")
        self._warned: NoDestination | None = None
        self.pid = os.getpid()
        """The process that uses this object: another one calls `reset_after_fork`."""
        self.no_destination = NoDestination(_NO_KEY)
        self.current: QueueUrl | Destination | None = config.target()
        """Where new events go, with secrets wrapped; None if not known yet."""
        self.flusher = self._build_flusher(self.current)
        """The flusher to `current`."""
        # One tuple, so that readers in other threads get two values that agree.
        self.history: _History = ((), Total())

    # Changes. Each takes a function that is called with the lock held, after another
    # flusher has become the current one and before the earlier one is told to finish.

    def configure(self, found: Config, on_change: Callable[[], None]) -> None:
        """
        Use key and host of *found* from now on; keep the present key if it has none.

        Raises:
            ConfigurationError: There is no key.
        """
        if found.api_key is None and isinstance(self.current, Destination):
            found = found.copy_with(api_key=self.current.api_key)
        if found.api_key is None:
            raise ConfigurationError(
                "configure() found no key; pass api_key= or a datafile with an odp"
                " integration"
            )
        self._get_lock().hold(partial(self._change_destination, found, on_change))

    def _change_destination(self, found: Config, on_change: Callable[[], None]) -> None:
        # A new key alone does not change the host: a host that was set stays.
        self._api_host = found.api_host or self._api_host
        destination = found.copy_with(api_host=self._api_host).destination()
        assert destination is not None
        self.no_destination = NoDestination(_NO_KEY)
        if destination == self.current:
            return
        is_first, self.current = self.current is None, destination
        if is_first:
            connect(self.flusher, self._config, destination)
            on_change()
        else:
            self._replace_flusher(destination, on_change)

    def keep_events(self, warning: str, on_change: Callable[[], None]) -> None:
        """Keep later events in the buffer; see `OdpClient._keep_until_configured`."""
        self._get_lock().hold(
            partial(self._keep_events_locked, NoDestination(warning), on_change)
        )

    def _keep_events_locked(
        self, policy: NoDestination, on_change: Callable[[], None]
    ) -> None:
        self.no_destination = policy
        if self.current is not None:
            self.current = None
            self._replace_flusher(None, on_change)

    def drop_events(
        self, reason: str, warning: str, on_change: Callable[[], None]
    ) -> None:
        """Drop events without a destination; see `OdpClient._drop_until_configured`."""
        policy = NoDestination(warning, reason)
        flusher = self._get_lock().hold(
            partial(self._drop_events_locked, policy, on_change)
        )
        # Not the current flusher: another thread may give it a destination meanwhile.
        if flusher is not None and flusher.abandon(reason):
            self._warn_dropped(policy)

    def _drop_events_locked(
        self, policy: NoDestination, on_change: Callable[[], None]
    ) -> Flusher | None:
        """Switch to *policy*; return the flusher that holds events to be dropped."""
        if self.no_destination.drop_reason:
            return None
        self.no_destination = policy
        flusher = self.flusher if self.current is None else None
        self.current = None
        self._replace_flusher(None, on_change)
        return flusher

    def _get_lock(self) -> OwnedLock:
        if self.pid != os.getpid():
            self.reset_after_fork()
        return self._lock

    def _replace_flusher(
        self, destination: Destination | None, on_change: Callable[[], None]
    ) -> None:
        old, new = self.flusher, self._build_flusher(destination)
        self.history = _add_to_history(self.history, old)
        self.flusher = new  # last: readers find the old one in the history
        on_change()
        for flusher in (old, old.spool_flusher):
            if flusher is not None:
                flusher.request_flush()
                flusher.finish()

    def _build_flusher(self, destination: QueueUrl | Destination | None) -> Flusher:
        flusher = build_flusher(self._config, destination, self._diagnostics)
        # Not at exit: the process drains every flusher that is released here.
        # A weak reference: the flusher's callbacks may hold objects that hold the
        # client and this object, which would then never be collected.
        for part in (flusher, flusher.spool_flusher):
            if part is not None:
                weakref.finalize(self, _release, weakref.ref(part)).atexit = False
        return flusher

    # Events without a destination.

    def drop(self, holder: EventHolder, policy: NoDestination) -> None:
        """Count the event in *holder* as dropped, for lack of a destination."""
        self.flusher.store.reject_early(policy.drop_reason, holder)
        self._warn_dropped(policy)

    def _warn_dropped(self, policy: NoDestination) -> None:
        # Once for each policy: a later `drop_events` has a reason of its own.
        if self._warned is not policy:
            self._warned = policy
            self._diagnostics.warn(policy.drop_reason, policy.warning)

    def warn_unknown(self) -> None:
        """Warn that events are kept because no destination is known."""
        bound = self._config.queue_bound
        warning = self.no_destination.warning.replace("{bound}", bound)
        self._diagnostics.warn("unconfigured", warning)

    # Readers.

    def list_flushers(self) -> list[Flusher]:
        """Return the flushers of all destinations, the earliest first."""
        if self.pid != os.getpid():
            self.reset_after_fork()
        current = self.flusher
        found: list[Flusher] = []
        for flusher in dict.fromkeys((*self.history[0], current)):
            # In this order: the second sends what the first leaves in the spool.
            found += (
                [flusher, flusher.spool_flusher] if flusher.spool_flusher else [flusher]
            )
        return found

    def read_stats(self) -> Stats:
        """Return the counts over all destinations."""
        return self._sum_up()[1].to_stats(state=self.read_state())

    def read_snapshot(self) -> Snapshot:
        """Return what the metrics show, over all destinations."""
        flushers, total = self._sum_up()
        stats = total.to_stats(state=self.read_state())
        return Snapshot(stats, measure_oldest(flushers), total.durations)

    def _sum_up(self) -> tuple[list[Flusher], Total]:
        if self.pid != os.getpid():
            self.reset_after_fork()
        current = self.flusher
        previous, total = self.history
        flushers = list(dict.fromkeys((*previous, current)))
        for flusher in flushers:
            total = total.add_flusher(flusher)
        return flushers, total

    def read_state(self) -> str:
        """Return the state of the current flusher; see `Stats`."""
        if not self._is_enabled:
            return "disabled"
        if self.current is None:
            return "unconfigured"
        spool_flusher = self.flusher.spool_flusher
        if spool_flusher is not None and spool_flusher.status.state != "idle":
            return spool_flusher.status.state
        return self.flusher.status.state

    def compute_fingerprint(self) -> str | None:
        """Return the fingerprint of the current destination; None without one."""
        destination = self.current
        if destination is None or not self._is_enabled:
            return None
        if self._fingerprint[0] is not destination:
            # Kept: the hash takes longer than the log call that needs it.
            self._fingerprint = destination, destination.fingerprint
        return self._fingerprint[1]

    def reset_after_fork(self) -> None:
        """Start anew in a child of a fork that ran no hook of os.register_at_fork."""
        # uWSGI forks in C.
        self.pid = os.getpid()
        self._lock = OwnedLock()  # the parent's may be held by another thread
        self.history = (self.history[0], Total())
        for flusher in self.list_flushers():
            flusher.after_fork_once()


def _release(reference: weakref.ref[Flusher]) -> None:
    flusher = reference()
    if flusher is not None:
        flusher.release()


def _add_to_history(history: _History, flusher: Flusher) -> _History:
    """Return *history* with *flusher*, and only the counts of old finished ones."""
    previous, total = history
    # Recent ones are kept: a thread that waits for room may still put an event into one
    # that was done.
    for done in [old for old in previous[:-_KEPT_FLUSHERS] if old.is_done()]:
        total = total.add_flusher(done)
        previous = tuple(old for old in previous if old is not done)
    return (*previous, flusher), total
