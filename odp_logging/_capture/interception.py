"""
The place where an application's tests intercept events, before a store gets them.

`odp_logging.testing` adds captures, and the pytest plugin sets a network block. A
client calls `find_interceptors` on every change. `GuardedTransport` reads `current`
before it sends. Outside of tests there are no interceptors.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .._events.batch import Invalid
    from .._events.event import OdpEvent


class Interceptor(Protocol):
    """Gets events instead of a client's store, on the thread of the log call."""

    def intercept(self, captured: OdpEvent | Invalid, origin: str) -> bool:
        """
        Handle an event, or the reason why a log call made none.

        Args:
            origin: File and line of the log call, empty if they are not known.

        Returns:
            Whether it is handled: the client then does not count it as rejected.
        """


class HostBlock(Interceptor, Protocol):
    """Intercepts events for hosts to which tests must not send."""

    def blocks(self, host: str | None) -> bool:
        """
        Return whether nothing may be sent to *host*.

        Args:
            host: None for a client that has no key yet.
        """

    def defer(self, host: str) -> str:
        """Record that a batch for *host* stays in its store; return the reason."""


class InterceptedClient(Protocol):
    """The method of a client that this module calls."""

    def refresh_interceptors(self) -> None:
        """Call `find_interceptors` again and use its result."""


class _State(NamedTuple):
    captures: tuple[Interceptor, ...] = ()
    block: HostBlock | None = None


near_miss_listeners: list[Callable[[str, str], object]] = []
"""Get file and line of a log call that was meant to be an event, and what is wrong."""

NOTHING = _State()
"""The state outside of tests."""

current = NOTHING
"""Replaced as a whole: a reader compares it by identity to detect a change."""

# Not an OwnedLock: only tests and their runners take it, never a signal handler.
_lock = threading.Lock()
_clients: dict[int, weakref.ref[InterceptedClient]] = {}


def register_client(client: InterceptedClient) -> None:
    """Notify *client* of every later change; only a weak reference is kept."""
    key = id(client)
    _clients[key] = weakref.ref(client, lambda _: _unregister(key))


def _unregister(key: int) -> None:
    _clients.pop(key, None)


def find_interceptors(host: str | None) -> tuple[Interceptor, ...]:
    """
    Return the interceptors of events for *host*; empty outside of tests.

    Args:
        host: None for a client that has no key yet.
    """
    state = current  # read once: another thread may replace it
    if state.captures:
        return state.captures
    if state.block is not None and state.block.blocks(host):
        return (state.block,)
    return ()


def add_capture(capture: Interceptor) -> None:
    """Let *capture* intercept every event of this process."""
    with _lock:
        _replace(current._replace(captures=(*current.captures, capture)))


def remove_capture(capture: Interceptor) -> None:
    """Undo `add_capture`."""
    with _lock:
        captures = tuple(other for other in current.captures if other is not capture)
        _replace(current._replace(captures=captures))


def set_block(block: HostBlock | None) -> HostBlock | None:
    """Replace the network block, or remove it with None; return the previous one."""
    with _lock:
        before = current.block
        _replace(current._replace(block=block))
    return before


def _replace(state: _State) -> None:
    global current
    current = state
    # A copy: a client may be collected, and removed from the dict, meanwhile.
    for reference in list(_clients.values()):
        client = reference()
        if client is not None:
            client.refresh_interceptors()
