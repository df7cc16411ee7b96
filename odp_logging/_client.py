"""OdpClient: a store, a transport and a flusher put together from the settings."""

from __future__ import annotations

import asyncio
import os
import sys
import time as _time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from . import _lifecycle
from ._config import Config, Destination, load, sealed
from ._context import bound
from ._diagnostics import Diagnostics
from ._event import DEFAULT_TYPE, OdpEvent, canonical_identifiers
from ._flusher import Flusher
from ._mapping import build, capture
from .exceptions import ConfigurationError, InvalidEventError
from .stores._base import Counts
from .stores._buffer import Buffer
from .transports._http import Http
from .transports._retry import Retry

_PID_CHECK = 0.1
"""Seconds between looks at the process id, for forks without hooks (uWSGI's)."""

_Bound = tuple[tuple[Any, ...], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Stats:
    """
    What became of every event of a client, read at one moment.

    ``accepted == delivered + sum(rejected.values()) + sum(dropped.values()) + pending``
    holds at every moment.

    Args:
        accepted: Events logged or sent through this client in this process.
        delivered: Events that ODP took.
        rejected: Events that ODP refuses or could not take, by reason.
        dropped: Events given up, by reason; ``in_doubt`` are those that were sent and
            never answered.
        pending: Events waiting or on their way.
        queue_bytes: About how many bytes of JSON are waiting.
        retried: Events that were sent again, counted each time.
        adjusted: Values changed to fit ODP's limits, by kind.
        requests: HTTP requests made.
        batches: Requests that delivered something.
        last_error: The last answer that left events pending, for people.
        last_success: When ODP last took an event, epoch seconds.
        state: ``idle``, ``sending``, ``retrying``, ``misconfigured``,
            ``unconfigured`` (no key yet) or ``disabled``.
    """

    accepted: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    queue_bytes: int = 0
    retried: int = 0
    adjusted: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    batches: int = 0
    last_error: str | None = None
    last_success: float | None = None
    state: str = "idle"


class OdpClient:
    """
    Sends events to ODP from a bounded buffer, on a thread of its own.

    No method but `flush`, `close` and their async forms waits for anything, and none
    raises after construction.

    Args:
        api_key: ODP's public key; else ``ODP_API_KEY``, else the datafile's. Without
            one, events are kept within the buffer's bounds until `configure` is called.
        settings: See the table of settings in README.

    Raises:
        ConfigurationError: A setting is unknown, or its value cannot be used.
    """

    def __init__(self, api_key: str | None = None, **settings: Any) -> None:
        settings, api_key = sealed(api_key, settings), None
        self._diagnostics = Diagnostics()
        self._settings = settings
        self._config = load(settings, warn=self._diagnostics.warn)
        self._redact = self._config.redact
        self._enabled = self._config.enabled
        self._pid = os.getpid()
        self._look_at_pid = 0.0
        self._destination = self._config.destination()
        self._flusher = self._new_flusher(self._destination)
        self._earlier: list[Flusher] = []
        if self._config.handle_sigterm:
            _lifecycle.handle_sigterm()

    # Events in.

    def send_odp_event(
        self,
        action: str,
        identifiers: Mapping[str, Any],
        type: str | None = DEFAULT_TYPE,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Send an event, as the Feature Experimentation SDK for Python does.

        An event that ODP could not store is rejected, counted in `stats` and reported
        on the logger ``odp_logging`` with the place of this call.

        Args:
            action: What happened, for example ``"purchased"``.
            identifiers: Who did it; at least one non-empty value.
            type: The kind of event.
            data: More about it.
        """
        self.put(
            {
                "odp_action": action,
                "odp_identifiers": identifiers,
                "odp_type": type,
                "odp_data": data,
            },
            time=_time.time(),
            origin=_caller(),
        )

    def identify(self, identifiers: Mapping[str, Any]) -> None:
        """
        Tell ODP that *identifiers* are one person's (``fullstack`` / ``identified``).

        Needs two non-empty ones, bound and default ones included, as in the SDKs: with
        a single one there is nothing to connect.
        """
        if not self._enabled:
            return
        named: dict[str, str] = {}
        context = bound() or ((), ())
        try:
            for layer in (self._config.default_identifiers, *context[0], identifiers):
                named.update(canonical_identifiers(layer))
        except InvalidEventError:
            named = {}
        if len(named) < 2:
            self._refuse(
                "identify",
                "identify needs two identifiers that are not empty; nothing was sent,"
                ' pass for example {"fs_user_id": ..., "email": ...}',
                _caller(),
            )
            return
        self.put(
            {"odp_action": "identified", "odp_identifiers": named},
            time=_time.time(),
            origin=_caller(),
        )

    def send(self, event: OdpEvent) -> None:
        """Send *event*; what is no `OdpEvent` is rejected and counted."""
        if not isinstance(event, OdpEvent):
            self._refuse(
                "no_event",
                f"send takes an OdpEvent, not {type(event).__name__}; use"
                " send_odp_event for its parts",
                _caller(),
            )
        elif self._enabled:
            self._put(event, hurry=False)

    def put(
        self,
        fields: Mapping[str, Any],
        *,
        time: float,
        origin: tuple[str, int] | None,
        context: _Bound | None = None,
        hurry: bool = False,
    ) -> None:
        """
        Capture the event that logged *fields* describe; the handler's way in.

        Args:
            time: When it was logged, epoch seconds.
            origin: File and line of the log call.
            context: What was bound where it was logged; read here and now if None.
            hurry: Whether to send it at once.
        """
        if not self._enabled:
            return
        if time > self._look_at_pid:
            self._look_at_pid = time + _PID_CHECK
            if self._pid != os.getpid():
                self._after_silent_fork()
        if self._flusher.is_sending():
            # From one of our callbacks, or our own HTTP stack's records: an event for
            # each event would never end.
            self._refuse(
                "own_thread",
                "an event was logged by a callback of this client; it was not sent",
                origin,
            )
            return
        logged = capture(
            fields,
            time=time,
            origin=origin,
            bound=bound() if context is None else context,
            redact=self._redact,
        )
        self._put(logged, hurry=hurry)

    def _put(self, logged: Any, *, hurry: bool) -> None:
        flusher = self._flusher
        if flusher.store.put(logged) or hurry:
            flusher.wake(due=True)
        elif flusher.idle:
            flusher.wake()
        if self._destination is None:
            self._diagnostics.warn(
                "unconfigured",
                "ODP_API_KEY is not set and no api_key= was given; up to"
                f" {self._config.max_queue_size} events are kept. Find the public key"
                " in ODP under Account Settings > APIs, or run `odp-logging emulator`"
                " and set ODP_API_KEY=test ODP_API_HOST=http://127.0.0.1:8181",
            )

    def failed(self, error: BaseException, origin: tuple[str, int] | None) -> None:
        """Report that capturing an event failed; the log call goes on without it."""
        self._refuse(
            "not_capturable",
            f"capturing an event raised {type(error).__name__}; it was not sent",
            origin,
        )

    def _refuse(
        self, reason: str, message: str, origin: tuple[str, int] | None
    ) -> None:
        self._flusher.store.refuse(reason)
        where = f"{origin[0]}:{origin[1]}: " if origin else ""
        self._diagnostics.warn(f"refused:{reason}", where + message)

    # Waiting for delivery.

    def flush(self, timeout: float | None = None) -> bool:
        """
        Send all events put before this call, and wait until they have left.

        Args:
            timeout: Seconds to wait at most; None for the setting ``timeout``.

        Returns:
            Whether all of them were delivered, rejected or dropped in that time. False
            at once within dictConfig and within this client's callbacks, where waiting
            would not end; the events are sent all the same.
        """
        timeout = self._config.timeout if timeout is None else timeout
        return _flush(self._flushers(), timeout)

    def close(self, timeout: float | None = None) -> bool:
        """
        Deliver what is pending and let the thread end; a later event starts another.

        Args:
            timeout: Seconds to wait at most; None for ``shutdown_timeout``.

        Returns:
            Whether nothing is pending any more. What is stays here, is tried again,
            and is reported when the process ends.
        """
        flushers = self._flushers()
        if _lifecycle.owns_module_lock() or any(each.is_mine() for each in flushers):
            for flusher in flushers:
                flusher.hurry()
        elif _lifecycle.is_ending():
            _lifecycle.drain(list(flushers))
        else:
            seconds = self._config.shutdown_timeout if timeout is None else timeout
            deadline = _time.monotonic() + seconds
            for flusher in flushers:
                flusher.begin_drain(deadline)
            for flusher in flushers:
                flusher.end_drain(deadline)
        for flusher in flushers:
            flusher.finish()
        return all(flusher.is_empty() for flusher in flushers)

    async def aflush(self, timeout: float | None = None) -> bool:
        """Do as `flush`, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        seconds = self._config.timeout if timeout is None else timeout
        if not self._config.background or _lifecycle.is_ending():
            return await loop.run_in_executor(None, self.flush, seconds)
        done = [self._when_flushed(flusher, loop) for flusher in self._flushers()]
        _, late = await asyncio.wait(done, timeout=seconds)
        for future in late:
            future.cancel()
        return not late

    async def aclose(self, timeout: float | None = None) -> bool:
        """Do as `close`, without holding up the event loop."""
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        done = await self.aflush(seconds)
        for flusher in self._flushers():
            flusher.finish()
        return done

    @staticmethod
    def _when_flushed(
        flusher: Flusher, loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        target = flusher.hurry()
        flusher.notify(target, partial(loop.call_soon_threadsafe, settle))
        return future

    def __enter__(self) -> OdpClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # What it is.

    def configure(
        self,
        api_key: str | None = None,
        *,
        api_host: str | None = None,
        datafile: object = None,
    ) -> None:
        """
        Set or change where events go.

        Events put before any destination was known go to the first one. Later changes
        hold for later events: what is pending still goes where it was meant to go.

        Raises:
            ConfigurationError: A value cannot be used, or there is no key in them.
        """
        given = {"api_host": api_host, "datafile": datafile}
        changed, api_key, datafile = sealed(api_key, given), None, None
        del given
        destination = load(changed, warn=self._diagnostics.warn).destination()
        if destination is None:
            raise ConfigurationError(
                "configure() found no key; pass api_key= or a datafile with an odp"
                " integration"
            )
        if destination == self._destination:
            return
        first, self._destination = self._destination is None, destination
        if first:
            self._flusher.connect(self._new_transport(destination))
            return
        old, self._flusher = self._flusher, self._new_flusher(destination)
        self._earlier.append(old)
        old.hurry()
        old.finish()

    @property
    def config(self) -> Config:
        """The settings as they were read."""
        return self._config

    @property
    def stats(self) -> Stats:
        """What became of every event so far."""
        flushers = self._flushers()
        total = Stats(state=self._state())
        for flusher in flushers:
            total = _plus(total, flusher.store.counts(), flusher)
        return total

    def _state(self) -> str:
        if not self._enabled:
            return "disabled"
        if self._destination is None:
            return "unconfigured"
        return self._flusher.progress.state

    def __repr__(self) -> str:
        where = self._destination.api_host if self._destination else "no destination"
        return f"<OdpClient {where} {self._state()}>"

    def __reduce__(self) -> Any:
        # Settings travel to a spawned process, the key does not: it has its own.
        return _rebuilt, (type(self), without_secrets(self._settings))

    # Parts.

    def _flushers(self) -> list[Flusher]:
        return [*self._earlier, self._flusher]

    def _new_flusher(self, destination: Destination | None) -> Flusher:
        config = self._config
        store = Buffer(
            partial(
                build,
                default_identifiers=config.default_identifiers,
                default_data=config.default_data,
                redact=config.redact,
                before_send=config.before_send,
            ),
            batch_size=config.max_batch_size,
            batch_bytes=config.max_batch_bytes,
            max_size=config.max_queue_size,
            max_bytes=config.max_queue_bytes,
            overflow=config.overflow,
            block_timeout=config.block_timeout,
            keep_dropped=config.on_drop is not None,
        )
        flusher = Flusher(
            store,
            self._new_transport(destination) if destination else None,
            batch_size=config.max_batch_size,
            interval=config.flush_interval,
            background=config.background,
            shutdown_timeout=config.shutdown_timeout,
            on_delivery=config.on_delivery,
            on_drop=config.on_drop,
            before_thread=_lifecycle.enter_process,
            diagnostics=self._diagnostics,
        )
        _lifecycle.register(flusher)
        # Not an exit hook: _lifecycle drains what this lets go.
        weakref.finalize(self, flusher.release).atexit = False
        return flusher

    def _new_transport(self, destination: Destination) -> Retry:
        http = Http(
            destination.api_host,
            destination.api_key,
            timeout=self._config.timeout,
            direct=destination.is_loopback,
        )
        return Retry(http, max_delay=self._config.max_retry_delay)

    def _after_silent_fork(self) -> None:
        # os.register_at_fork was not called: a fork made in C.
        self._pid = os.getpid()
        for flusher in self._flushers():
            flusher.after_fork_once()


def _plus(total: Stats, counts: Counts, flusher: Flusher) -> Stats:
    progress = flusher.progress
    return replace(
        total,
        accepted=total.accepted + counts.accepted,
        delivered=total.delivered + counts.delivered,
        rejected=_summed(total.rejected, counts.rejected),
        dropped=_summed(total.dropped, counts.dropped),
        pending=total.pending + counts.pending,
        queue_bytes=total.queue_bytes + counts.queue_bytes,
        retried=total.retried + counts.retried,
        adjusted=_summed(total.adjusted, counts.adjusted),
        requests=total.requests + progress.requests,
        batches=total.batches + progress.batches,
        last_error=progress.last_error or total.last_error,
        last_success=progress.last_success or total.last_success,
    )


def _summed(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, int]:
    return {
        reason: one.get(reason, 0) + two.get(reason, 0) for reason in {**one, **two}
    }


def _caller() -> tuple[str, int] | None:
    """Return file and line of whoever called the method that asks."""
    try:
        frame = sys._getframe(2)
    except (AttributeError, ValueError):  # not CPython, or called from C
        return None
    return frame.f_code.co_filename, frame.f_lineno


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* without those that hold a key."""
    return {
        name: value
        for name, value in settings.items()
        if name not in ("api_key", "datafile")
    }


def _rebuilt(kind: type[OdpClient], settings: dict[str, Any]) -> OdpClient:
    return kind(**settings)


def _flush(flushers: list[Flusher], timeout: float) -> bool:
    if _lifecycle.owns_module_lock():
        for flusher in flushers:
            flusher.hurry()
        return all(flusher.is_empty() for flusher in flushers)
    deadline = _time.monotonic() + timeout
    for flusher in flushers:
        if not flusher.is_mine():
            flusher.hurry()
    return all(
        [flusher.flush(max(0.0, deadline - _time.monotonic())) for flusher in flushers]
    )


def flush(timeout: float = 10.0) -> bool:
    """
    Flush every client, handler and processor of this process; see `OdpClient.flush`.

    Args:
        timeout: Seconds to wait at most, for all of them together.
    """
    lines = [line for line in _lifecycle.registered() if isinstance(line, Flusher)]
    return _flush(lines, timeout)
