"""OdpClient: events in, delivery out, and what became of them."""

from __future__ import annotations

import os
import sys
import time as _time
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _lifecycle, _tap
from ._assembly import connect, intake_of, make_now, new_flusher, privacy_of
from ._config import Config, Destination, load, sealed, without_secrets
from ._context import Bound, bound
from ._diagnostics import Diagnostics
from ._flusher import Flusher
from ._identifiers import canonical_identifiers
from ._ids import Identified
from ._lock import OwnedLock
from ._mapping import capture, sized
from ._plain import DEFAULT_TYPE, name_of
from ._stats import Stats, Total
from ._waiting import have_left
from .exceptions import ConfigurationError, InvalidEventError
from .stores._base import Invalid
from .stores._buffer import origin_of
from .stores._intake import SHUT

if TYPE_CHECKING:
    from ._event import OdpEvent
    from .stores._intake import Intake
    from .stores._url import QueueUrl

_REMEMBERED = 16
"""Earlier destinations whose flushers are kept."""

_NO_KEY = (
    "ODP_API_KEY is not set and no api_key= was given; up to {count} events are kept."
    " Find the public key in ODP under Account Settings > APIs, or run `odp-logging"
    " emulator` and set ODP_API_KEY=test ODP_API_HOST=http://127.0.0.1:8181"
)

_History = tuple[tuple[Flusher, ...], Total]
"""Earlier flushers, and the counts of those that are not even held any more."""


class OdpClient:
    """
    Sends events to ODP from a bounded buffer, on a thread of its own.

    No method but `flush`, `close` and their async forms waits for anything, unless
    ``overflow="block"`` or ``background=False`` asks for it; after construction none
    but `configure` raises.

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
        self._privacy = privacy_of(self._config)
        self._enabled = self._config.enabled
        self._crash_proof = self._config.durability == "crash"
        self._pid = os.getpid()
        self._turning = OwnedLock()
        self._destination: QueueUrl | Destination | None = self._config.target()
        self._account: tuple[QueueUrl | Destination | None, str] = (None, "")
        self._api_host = self._config.api_host
        self._waiting_for = _NO_KEY
        self._flusher = self._new_flusher(self._destination)
        _tap.enter(self)
        self.ask_taps()
        # One value: who reads it gets the one that belongs to the other.
        self._history: _History = ((), Total())
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
        if not issubclass(type(event), Identified):  # isinstance would ask the object
            self._refuse(
                "no_event",
                f"send takes an OdpEvent, not {name_of(event)}; use"
                " send_odp_event for its parts",
                _caller(),
            )
        elif self._enabled:
            # Here: what rests in the buffer may come to on_drop as it is.
            if self._privacy is not None:
                event = self._privacy.of(event)
            self._put(event, hurry=False)

    def put(
        self,
        fields: Mapping[str, Any],
        *,
        time: float,
        origin: tuple[str, int] | None,
        context: Bound | None = None,
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
        logged = capture(
            fields,
            time=time,
            origin=origin,
            bound=bound() if context is None else context,
            redact=self._redact,
        )
        self._put(logged, hurry=hurry)

    def _put(self, logged: Any, *, hurry: bool) -> None:
        if self._pid != os.getpid():
            self._after_silent_fork()
        flusher = self._flusher
        beyond = flusher.beyond
        if flusher.reports.is_mine() or (beyond and beyond.reports.is_mine()):
            # An event for each event would never end.
            self._refuse(
                "in_callback",
                "an event was put within a callback of its own client; it was not sent",
                getattr(logged, "origin", None),
            )
            return
        taps = self._taps  # read once: others come and go meanwhile
        if taps:
            self._divert(logged, taps)
            return
        if self._crash_proof and beyond is not None:
            due = beyond.store.try_put(logged)
            if due is not None:
                flusher = beyond
            else:
                due = flusher.store.put(logged)
        else:
            due = flusher.store.put(logged)
        if due:
            flusher.wake(due=True, hurry=hurry)
        elif flusher.idle or hurry:
            flusher.wake(hurry=hurry)
        if self._destination is None:
            count = str(self._config.max_queue_size)
            self._diagnostics.warn(
                "unconfigured", self._waiting_for.replace("{count}", count)
            )

    def arrived(self, intake: Intake) -> None:
        """Look at what a handler left at *intake*: somebody may have to send it."""
        flusher = self._flusher
        if flusher.intake is not intake:  # configured anew since it was looked up
            earlier = [each for each in self._history[0] if each.intake is intake]
            flusher = earlier[0] if earlier else flusher
        if flusher.store.look():
            flusher.wake(due=True)
        elif flusher.idle:
            flusher.wake()

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
        where = f"{origin[0]}:{origin[1]}" if origin else ""
        if _is_taken(Invalid(reason, message, where), where, self._taps):
            return
        self._flusher.store.refuse(reason)
        line = f"{where}: {message}" if where else message
        self._diagnostics.warn(f"refused:{reason}", line)

    # The tests of an application, see _tap.

    def ask_taps(self) -> None:
        """Find out who takes events in the place of the store: in tests alone."""
        while True:
            seen = _tap.current
            flusher = self._flusher
            host = self._destination.place if self._destination else None
            self._taps = _tap.takers(host)
            self.intake = SHUT if self._taps else self._intake_of(flusher)
            # Else another thread has changed one of them meanwhile.
            if seen is _tap.current and flusher is self._flusher:
                return

    def _divert(self, logged: Any, taps: tuple[_tap.Tap, ...]) -> None:
        made = make_now(self._config, self._flusher.reports, logged)
        origin = getattr(logged, "origin", None)
        if isinstance(made, Invalid):
            self._refuse(made.reason, made.message, origin)
        elif made is not None and not _is_taken(made, origin_of(logged), taps):
            self._flusher.store.refuse("network_blocked")

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

    def is_sending(self) -> bool:
        """Whether this thread is at work for this client right now."""
        flusher = self._flusher
        beyond = flusher.beyond
        return flusher.is_sending() or bool(beyond and beyond.is_sending())

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
            deadline = _time.monotonic() + bounded(seconds)
            for flusher in flushers:
                flusher.begin_drain(deadline)
            for flusher in flushers:
                flusher.end_drain(deadline)
        for flusher in flushers:
            flusher.finish()
        return all(flusher.is_empty() for flusher in flushers)

    async def aflush(self, timeout: float | None = None) -> bool:
        """
        Do as `flush`, without holding up the event loop of asyncio or trio.

        It can be cancelled: the events are sent all the same.
        """
        seconds = self._config.timeout if timeout is None else timeout
        return await _aflush(self._flushers(), seconds)

    async def aclose(self, timeout: float | None = None) -> bool:
        """Do as `close`, without holding up the event loop of asyncio or trio."""
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        try:
            return await self.aflush(seconds)
        finally:  # cancelled, perhaps: the thread still ends when it is done
            for flusher in self._flushers():
                flusher.finish()

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
        if self._config.queue_url is not None:
            api_key = datafile = None
            raise ConfigurationError(
                "this client hands its events to queue_url; give key and host to the"
                " relays"
            )
        given = {"api_host": api_host, "datafile": datafile}
        changed, api_key, datafile = sealed(api_key, given), None, None
        del given
        found = load(changed, warn=self._diagnostics.warn, ask_environment=False)
        if found.api_key is None and isinstance(self._destination, Destination):
            found = found.replaced(api_key=self._destination.api_key)
        if found.api_key is None:
            raise ConfigurationError(
                "configure() found no key; pass api_key= or a datafile with an odp"
                " integration"
            )
        # A new key does not move to another host by itself: one that was named stays.
        with self._own_turning().section():
            self._api_host = found.api_host or self._api_host
            destination = found.replaced(api_host=self._api_host).destination()
            assert destination is not None
            if destination == self._destination:
                return
            first, self._destination = self._destination is None, destination
            if first:
                connect(self._flusher, self._config, destination)
                self.ask_taps()
            else:
                self._turn_to(destination)

    def hold(self, why: str) -> None:
        """
        Have later events wait until `configure` says where they go.

        What is pending still goes where it was meant to go.

        Args:
            why: What to say when the first one waits, ``{count}`` for how many may.
        """
        with self._own_turning().section():
            self._waiting_for = why
            if self._destination is not None:
                self._destination = None
                self._turn_to(None)

    def _own_turning(self) -> OwnedLock:
        # Of two threads, the last says where events go: not one of them of the flusher,
        # and the other of the short way to it.
        if self._pid != os.getpid():
            self._after_silent_fork()
        return self._turning

    def _turn_to(self, destination: Destination | None) -> None:
        old, new = self._flusher, self._new_flusher(destination)
        self._history = _aged(self._history, old)
        self._flusher = new  # after it is in the history: nobody misses it
        self.ask_taps()
        for each in (old, old.beyond):
            if each is not None:
                each.hurry()
                each.finish()

    @property
    def config(self) -> Config:
        """The settings as they were read."""
        return self._config

    @property
    def destination(self) -> QueueUrl | Destination | None:
        """Where events put now go, secrets wrapped; None if that is not known yet."""
        return self._destination

    @property
    def account(self) -> str | None:
        """Tells where its events go, without naming the key; None if nowhere yet."""
        destination = self._destination
        if destination is None or not self._enabled:
            return None
        if self._account[0] is not destination:
            self._account = destination, destination.account
        return self._account[1]

    @property
    def stats(self) -> Stats:
        """What became of every event so far, in this process."""
        if self._pid != os.getpid():
            self._after_silent_fork()
        current = self._flusher
        earlier, total = self._history
        for flusher in dict.fromkeys((*earlier, current)):
            total = total.plus(flusher)
        return total.shown(state=self._state())

    def _state(self) -> str:
        if not self._enabled:
            return "disabled"
        if self._destination is None:
            return "unconfigured"
        beyond = self._flusher.beyond
        if beyond is not None and beyond.progress.state != "idle":
            return beyond.progress.state
        return self._flusher.progress.state

    def __repr__(self) -> str:
        # Shown half made in a traceback with local variables, it must not raise.
        if not hasattr(self, "_flusher"):
            return "<OdpClient>"
        where = self._destination.place if self._destination else "no destination"
        return f"<OdpClient {where} {self._state()}>"

    def __reduce__(self) -> Any:
        # Settings travel to a spawned process, the key does not: it has its own.
        return _rebuilt, (type(self), without_secrets(self._settings))

    # Parts.

    def _flushers(self) -> list[Flusher]:
        if self._pid != os.getpid():
            self._after_silent_fork()
        current = self._flusher
        found: list[Flusher] = []
        for flusher in dict.fromkeys((*self._history[0], current)):
            # In this order: what the first leaves in the spool, the second sends.
            found += [flusher, flusher.beyond] if flusher.beyond else [flusher]
        return found

    def _new_flusher(self, destination: QueueUrl | Destination | None) -> Flusher:
        flusher = new_flusher(self._config, destination, self._diagnostics)
        # Not an exit hook: _lifecycle drains what this lets go.
        # Weakly held: the flusher's callbacks may hold whoever holds this client.
        for each in (flusher, flusher.beyond):
            if each is not None:
                weakref.finalize(self, _release, weakref.ref(each)).atexit = False
        return flusher

    def _intake_of(self, flusher: Flusher) -> Intake:
        # Weakly held, as in _new_flusher.
        return intake_of(flusher, self._config, partial(_put_bare, weakref.ref(self)))

    def _after_silent_fork(self) -> None:
        # Also where os.register_at_fork was not called: a fork made in C, as uWSGI's.
        self._pid = os.getpid()
        self._turning = OwnedLock()  # the parent's may be held by a thread of its
        self._history = (self._history[0], Total())
        for flusher in self._flushers():
            flusher.after_fork_once()


def _is_taken(
    made: OdpEvent | Invalid, origin: str, taps: tuple[_tap.Tap, ...]
) -> bool:
    return any([tap.take(made, origin) for tap in taps])


def _put_bare(reference: weakref.ref[OdpClient], bare: tuple[Any, ...]) -> None:
    client = reference()
    if client is not None:
        client._put(sized(bare), hurry=False)


def _release(reference: weakref.ref[Flusher]) -> None:
    flusher = reference()
    if flusher is not None:
        flusher.release()


def _aged(history: _History, flusher: Flusher) -> _History:
    """Return *history* with one more, of the oldest that are done only the counts."""
    earlier, past = history
    # Not of all: who waits for room may still put into one that was done.
    for done in [each for each in earlier[:-_REMEMBERED] if each.is_done()]:
        past = past.plus(done)
        earlier = tuple(each for each in earlier if each is not done)
    return (*earlier, flusher), past


def bounded(seconds: float) -> float:
    """Return *seconds* within what a lock can wait for: 0 to a day."""
    return min(max(0.0, seconds), 86_400.0) if seconds == seconds else 0.0


def _caller() -> tuple[str, int] | None:
    """Return file and line of whoever called the method that asks."""
    try:
        frame = sys._getframe(2)
    except (AttributeError, ValueError):  # not CPython, or called from C
        return None
    return frame.f_code.co_filename, frame.f_lineno


def client_of(client: OdpClient | None, settings: Mapping[str, Any]) -> OdpClient:
    """
    Return *client*, or one made of *settings*.

    Raises:
        ConfigurationError: Both are given, or a setting cannot be used.
    """
    if client is None:
        return OdpClient(**settings)
    if not isinstance(client, OdpClient):
        client = None
        raise ConfigurationError(
            "client= takes an OdpClient; a key goes to api_key=, by its name"
        )
    if settings:
        raise ConfigurationError(
            f"client= was given together with {', '.join(sorted(settings))}; give the"
            " settings to the client"
        )
    return client


def _rebuilt(kind: type[OdpClient], settings: dict[str, Any]) -> OdpClient:
    return kind(**settings)


def _flush(flushers: list[Flusher], timeout: float) -> bool:
    if _lifecycle.owns_module_lock():
        for flusher in flushers:
            flusher.hurry()
        return all(flusher.is_empty() for flusher in flushers)
    if _lifecycle.is_ending():
        # logging.shutdown() comes after our last drain: the same deadline holds.
        _lifecycle.drain(list(flushers))
        return all(flusher.is_empty() for flusher in flushers)
    deadline = _time.monotonic() + bounded(timeout)
    for flusher in flushers:
        if not flusher.is_mine():
            flusher.hurry()
    return all(
        [flusher.flush(max(0.0, deadline - _time.monotonic())) for flusher in flushers]
    )


async def _aflush(flushers: list[Flusher], timeout: float) -> bool:
    return await have_left(flushers, bounded(timeout), partial(_flush, flushers))


def flush(timeout: float = 10.0) -> bool:
    """
    Flush every client, handler and processor of this process; see `OdpClient.flush`.

    Args:
        timeout: Seconds to wait at most, for all of them together.
    """
    return _flush(lines(), timeout)


async def aflush(timeout: float = 10.0) -> bool:
    """
    Do as `flush`, without holding up the event loop of asyncio or trio.

    Args:
        timeout: Seconds to wait at most, for all of them together.
    """
    return await _aflush(lines(), timeout)


def lines() -> list[Flusher]:
    """Return the flushers of every client of this process."""
    found = [line for line in _lifecycle.registered() if isinstance(line, Flusher)]
    # Last those that send what the others leave in a spool.
    last = [line.beyond for line in found if line.beyond is not None]
    return [line for line in found if line not in last] + last
