"""Where the tests of an application step in: before an event comes to rest.

Outside of tests nothing is here. `odp_logging.testing` opens captures, the pytest
plugin builds a wall around this machine; each client is told, and asks who takes its
events in the place of its store.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ._event import OdpEvent
    from .stores._base import Invalid


class Tap(Protocol):
    """Takes events in the place of a client's store, on the thread of the log call."""

    def take(self, made: OdpEvent | Invalid, origin: str) -> bool:
        """
        Take an event, or why there is none; return whether nobody need count it.

        Args:
            origin: File and line of the log call, empty if they are not known.
        """


class Wall(Tap, Protocol):
    """Takes what is meant for a host that tests do not send to, so that nobody does."""

    def stops(self, host: str | None) -> bool:
        """Whether nothing is to be sent to *host*; None while a client has no key."""

    def hold(self, host: str) -> str:
        """Note that a batch for *host* is kept where it is; say why, on one line."""


class Tapped(Protocol):
    """What a client does for those who step in."""

    def ask_taps(self) -> None:
        """Find out anew who takes its events."""


class _Taps(NamedTuple):
    captures: tuple[Tap, ...] = ()
    wall: Wall | None = None
    observers: tuple[Tap, ...] = ()


current = _Taps()
"""Replaced as a whole, so that who read it can tell whether it has changed."""

_lock = threading.Lock()
_clients: dict[int, weakref.ref[Tapped]] = {}


def enter(client: Tapped) -> None:
    """Tell *client* of every change from now on, as long as somebody holds it."""
    key = id(client)
    _clients[key] = weakref.ref(client, lambda _: _forget(key))


def _forget(key: int) -> None:
    _clients.pop(key, None)


def takers(host: str | None) -> tuple[Tap, ...]:
    """Return who takes the events for *host*, None if unknown; nobody, but in tests."""
    taps = current
    if taps.captures:
        return (*taps.captures, *taps.observers)
    if taps.wall is not None and taps.wall.stops(host):
        return (taps.wall, *taps.observers)
    return ()


def held(host: str) -> str | None:
    """Return why nothing may be sent to *host* now; None, outside of tests."""
    wall = current.wall
    return wall.hold(host) if wall is not None and wall.stops(host) else None


def open_capture(tap: Tap) -> None:
    """Have *tap* take every event of this process."""
    with _lock:
        _set(current._replace(captures=(*current.captures, tap)))


def close_capture(tap: Tap) -> None:
    """Have *tap* take no more."""
    with _lock:
        left = tuple(each for each in current.captures if each is not tap)
        _set(current._replace(captures=left))


def set_wall(wall: Wall | None) -> Wall | None:
    """Put *wall* in the place of the one there is, or none; return that one."""
    with _lock:
        before = current.wall
        _set(current._replace(wall=wall))
    return before


def observe(tap: Tap) -> None:
    """Have *tap* see what others take."""
    with _lock:
        _set(current._replace(observers=(*current.observers, tap)))


def overlook(tap: Tap) -> None:
    """Have *tap* see no more."""
    with _lock:
        left = tuple(each for each in current.observers if each is not tap)
        _set(current._replace(observers=left))


def _set(taps: _Taps) -> None:
    global current
    current = taps
    for reference in list(_clients.values()):
        client = reference()
        if client is not None:
            client.ask_taps()
