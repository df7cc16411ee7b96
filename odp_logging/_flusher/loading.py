"""Imports what building and sending events needs: when, and on which thread.

The modules are imported when a client is created, not on the sending thread, for two
reasons. A thread that walks ``sys.modules`` would find half-initialized modules. A fork
in C, as uWSGI's, would copy import locks held by a thread that the child does not have.
References to the modules are kept, because nothing can be imported at the exit of the
interpreter, when finalizers run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from .._runtime.lock import OwnedLock, monotonic
from .._runtime.logging_lock import owns_logging_lock
from .reports import load_masking

if TYPE_CHECKING:
    from .._events.delivery import Delivery

T = TypeVar("T")


class SendingModules:
    """Holds the classes that building and sending events needs."""

    def __init__(self) -> None:
        from .._capture.build import Builder
        from .._events.body import load_encoder
        from .._transports.guard import GuardedTransport
        from .._transports.http import Http
        from .._transports.parallel import Parallel
        from .._transports.retry import Retry

        self.Builder = Builder
        self.GuardedTransport = GuardedTransport
        self.Http = Http
        self.Parallel = Parallel
        self.Retry = Retry
        load_encoder()


@cache
def load_sending_modules() -> SendingModules:
    """Import the modules at the first call, and return their classes."""
    return SendingModules()


@cache
def load_http() -> None:
    """Import what an HTTP request needs, including `requests`."""
    # socket imports encodings.idna with the first host name, and json imports
    # encodings.utf_8_sig with the first response.
    import encodings.idna
    import encodings.utf_8_sig  # noqa: F401

    from .._transports import session as _session  # noqa: F401


@cache
def build_empty_delivery() -> Delivery:
    """Return the outcome of a batch without events."""
    from .._events.delivery import Delivery

    return Delivery(0, requests=0)


class ModuleLoader:
    """
    Imports modules once, and never while another thread forks.

    Thread-safe. A child that is forked during an import would inherit an import lock
    held by a thread that does not exist there. It would deadlock when it imports the
    same module.

    Args:
        load_modules: Imports all modules. All at once, because nothing can be imported
            at interpreter exit.
    """

    def __init__(self, load_modules: Callable[[], object]) -> None:
        self._load_modules = load_modules
        self._is_loaded = False
        self._lock = OwnedLock()

    def load(self, wait: float = -1.0) -> bool:
        """
        Import the modules, unless it is done.

        Args:
            wait: Seconds to wait for another thread that imports them; -1 for no limit.
                A signal handler that interrupted an import has to pass a short time:
                the other thread may wait for that import.

        Returns:
            Whether the modules are imported.
        """
        if not self._is_loaded:
            self._lock.run(self._load, wait)
        return self._is_loaded

    def _load(self) -> None:
        self._load_modules()
        build_empty_delivery()
        load_masking()
        self._is_loaded = True

    def hold(self, work: Callable[[], T]) -> T:
        """Call *work*, which may import modules, while no other thread forks."""
        return self._lock.hold(work)

    def before_fork(self, deadline: float) -> None:
        """Keep other threads from importing; wait for them until *deadline*."""
        if not self._lock.is_owned():
            self._lock.acquire(max(0.0, deadline - monotonic()))

    def after_fork_in_parent(self) -> None:
        """Let other threads import again."""
        self._lock.release()

    def after_fork(self) -> None:
        """Replace the lock in a forked child: the parent's may be held for ever."""
        self._lock = OwnedLock()


def can_load_now() -> bool:
    """
    Whether the thread that creates a client can import what sending needs.

    Otherwise the sending thread imports it with the first event.
    """
    # dictConfig holds the lock of `logging`. Another thread that imports one of these
    # modules may call getLogger and wait for that lock, while this thread waits for the
    # import lock: a deadlock.
    if owns_logging_lock() and threading.active_count() > 1:
        return False
    return not _is_patch_pending()


def _is_patch_pending() -> bool:
    """
    Whether gevent or eventlet is imported and has not patched this process yet.

    If urllib3 is imported before the patch, each TLS request of this process then fails
    with a RecursionError, including those of the application.
    """
    if "urllib3.util.ssl_" in sys.modules:
        return False  # the application has imported it
    if getattr(threading.Lock, "__module__", None) != "_thread":
        return False
    uwsgi: Any = sys.modules.get("uwsgi")
    return (
        "gevent" in sys.modules
        or "eventlet" in sys.modules
        or any("gevent" in str(name) for name in getattr(uwsgi, "opt", ()))
    )
