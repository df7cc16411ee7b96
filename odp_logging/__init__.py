"""
Optimizely Data Platform (ODP) events from the log calls an application already has.

    log call -> OdpHandler, OdpProcessor    what carries odp_action is captured
             -> a Store                     events rest, within bounds
             -> a Flusher                   takes batches on size, time, request and end
             -> a Transport                 sends them, retries, and reports back
             -> ODP

The caller's thread copies what was logged and returns. Everything else happens on one
daemon thread a client, and at the end of the process.

PYTEST_DONT_REWRITE: else pytest warns programs that import this before they run it.
"""

from __future__ import annotations

import logging as _logging

from ._version import VERSION as __version__

TYPE_CHECKING = False  # what type checkers take for true: typing takes 2 ms to load
if TYPE_CHECKING:
    from typing import Any

    from ._client import OdpClient, aflush, flush
    from ._context import (
        bind_data,
        bind_identifiers,
        bound_data,
        bound_identifiers,
        clear_data,
        clear_identifiers,
    )
    from ._event import OdpEvent
    from ._filters import HideOdpFields
    from ._handler import ContextFilter, OdpHandler
    from ._processor import OdpProcessor
    from ._returning import flush_on_return
    from ._stats import Stats
    from .exceptions import ConfigurationError, InvalidEventError, OdpLoggingError

__all__ = [
    "ConfigurationError",
    "ContextFilter",
    "HideOdpFields",
    "InvalidEventError",
    "OdpClient",
    "OdpEvent",
    "OdpHandler",
    "OdpLoggingError",
    "OdpProcessor",
    "Stats",
    "__version__",
    "aflush",
    "bind_data",
    "bind_identifiers",
    "bound_data",
    "bound_identifiers",
    "clear_data",
    "clear_identifiers",
    "flush",
    "flush_on_return",
]

_HOMES = {
    "_client": ("OdpClient", "aflush", "flush"),
    "_context": (
        "bind_data",
        "bind_identifiers",
        "bound_data",
        "bound_identifiers",
        "clear_data",
        "clear_identifiers",
    ),
    "_event": ("OdpEvent",),
    "_filters": ("HideOdpFields",),
    "_handler": ("ContextFilter", "OdpHandler"),
    "_processor": ("OdpProcessor",),
    "_returning": ("flush_on_return",),
    "_stats": ("Stats",),
    "exceptions": ("ConfigurationError", "InvalidEventError", "OdpLoggingError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: an import must not cost what nobody uses.
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_logging.getLogger("odp_logging").addHandler(_logging.NullHandler())
