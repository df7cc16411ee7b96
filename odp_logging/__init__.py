"""
Optimizely Data Platform (ODP) events from the log calls an application already has.

    import logging
    from odp_logging import OdpHandler, bound_identifiers, event

    logging.basicConfig(level="INFO", handlers=[OdpHandler()])  # key: ODP_API_KEY
    logger = logging.getLogger("shop")

    with bound_identifiers(fs_user_id="user123"):
        logger.info("purchase", extra=event("purchased", data={"price": 50.0}))

A record with ``odp_action`` becomes an event. The log call copies it into a buffer and
returns. One daemon thread for each client sends batches, on size, time, `flush` and
exit. `stats` tells what became of the events.

PYTEST_DONT_REWRITE: else pytest warns programs that import this before they run it.
"""

from __future__ import annotations

import logging as _logging

from ._version import VERSION as __version__

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
    "OutboxError",
    "Settings",
    "Stats",
    "__version__",
    "aflush",
    "bind_data",
    "bind_identifiers",
    "bound_data",
    "bound_identifiers",
    "clear_data",
    "clear_identifiers",
    "event",
    "flush",
    "flush_on_return",
    "outbox",
    "stats",
]

_HOMES = {
    "_client.client": ("OdpClient",),
    "_capture.context": (
        "bind_data",
        "bind_identifiers",
        "bound_data",
        "bound_identifiers",
        "clear_data",
        "clear_identifiers",
    ),
    "_events.event": ("OdpEvent",),
    "_inputs.event": ("event",),
    "_inputs.filters": ("ContextFilter", "HideOdpFields"),
    "_inputs.handler": ("OdpHandler",),
    "_inputs.processor": ("OdpProcessor",),
    "_client.flush_on_return": ("flush_on_return",),
    "_client.flushing": ("aflush", "flush"),
    "_client.stats": ("Stats",),
    "_client.totals": ("stats",),
    "_config.typed": ("Settings",),
    "_client.outbox.block": ("outbox",),
    "exceptions": (
        "ConfigurationError",
        "InvalidEventError",
        "OdpLoggingError",
        "OutboxError",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


TYPE_CHECKING = False  # as that of typing, which takes 2 ms to import
if TYPE_CHECKING:
    # Type checkers read __init__.pyi. PyInstaller finds modules by these statements.
    from ._capture.context import bind_identifiers
    from ._client.client import OdpClient
    from ._client.flush_on_return import flush_on_return
    from ._client.flushing import flush
    from ._client.outbox.block import outbox
    from ._client.stats import Stats
    from ._client.totals import stats
    from ._config.typed import Settings
    from ._events.event import OdpEvent
    from ._inputs.event import event
    from ._inputs.filters import ContextFilter
    from ._inputs.handler import OdpHandler
    from ._inputs.processor import OdpProcessor

_SUBMODULES = frozenset(
    {
        "asgi",
        "celery",
        "django",
        "emulator",
        "opentelemetry",
        "optimizely",
        "prometheus",
        "testing",
        "wsgi",
    }
)


def __getattr__(name: str) -> object:
    # Loaded at first use, so that an import costs only what is used.
    from importlib import import_module

    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# The rule for libraries in Python's logging HOWTO: no line on stderr by default.
_logging.getLogger("odp_logging").addHandler(_logging.NullHandler())
