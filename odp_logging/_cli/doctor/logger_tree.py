"""The loggers of this process, and the handlers that their records reach."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..._inputs.handler import OdpHandler
from .application import is_installed

_IGNORED = frozenset(
    {"odp_logging", "urllib3", "requests", "charset_normalizer", "asyncio", "rich"}
    | {"concurrent", "py", "socks"}
)
"""Libraries with loggers of their own, which no application logs an event with."""


def list_loggers() -> list[logging.Logger]:
    """Return the root logger, those of the application, then libraries', by name."""
    # loggerDict also holds placeholders for names between two loggers.
    named = [
        logger
        for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    # Messages show the first few: those that an application logs events with.
    named.sort(key=lambda logger: (is_library(logger), logger.name))
    return [logging.root, *named]


def is_library(logger: logging.Logger) -> bool:
    """Whether *logger* has the name of an installed library or of Python's."""
    name = _read_top_name(logger)
    return name in _IGNORED or is_installed(name)


def is_ignored(logger: logging.Logger) -> bool:
    """Whether *logger* is that of a library which no application logs events with."""
    return _read_top_name(logger) in _IGNORED


def _read_top_name(logger: logging.Logger) -> str:
    return logger.name.partition(".")[0]


def format_logger(logger: logging.Logger) -> str:
    """Return the name of *logger* for messages."""
    return "the root logger" if logger is logging.root else logger.name


def walk_handlers(handlers: list[logging.Handler]) -> Iterator[logging.Handler]:
    """Yield *handlers*, and those that they pass records on to."""
    for handler in handlers:
        yield handler
        # MemoryHandler has a target, QueueHandler of Python 3.12 a listener.
        target = getattr(handler, "target", None)
        listener = getattr(handler, "listener", None)
        for inner in (target, *getattr(listener, "handlers", ())):
            if isinstance(inner, logging.Handler):
                yield inner


def iter_handlers(
    logger: logging.Logger,
) -> Iterator[tuple[logging.Logger, logging.Handler]]:
    """Yield each handler that a record of *logger* reaches, with its own logger."""
    owner: logging.Logger | None = logger
    while owner is not None:
        for handler in walk_handlers(owner.handlers):
            yield owner, handler
        owner = owner.parent if owner.propagate else None


def list_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers that a record of *logger* reaches."""
    return [handler for _, handler in iter_handlers(logger)]


def has_odp_handler(logger: logging.Logger) -> bool:
    """Whether a record of *logger* reaches an OdpHandler."""
    return any(isinstance(handler, OdpHandler) for handler in list_handlers(logger))


def find_odp_handlers() -> list[tuple[logging.Logger, OdpHandler]]:
    """Return the OdpHandlers of all loggers, each with its own logger."""
    return [
        (logger, handler)
        for logger in list_loggers()
        for handler in walk_handlers(logger.handlers)
        if isinstance(handler, OdpHandler)
    ]
