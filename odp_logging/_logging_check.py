"""What the doctor sees of logging: whose records reach ODP, and whose do not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

from ._client import OdpClient
from ._filters import HideOdpFields
from ._finding import Finding, counted, named
from ._handler import OdpHandler
from ._processor import OdpProcessor
from ._structlog_check import processors

_NOT_THEIRS = frozenset(
    {"odp_logging", "urllib3", "requests", "charset_normalizer", "asyncio", "rich"}
    | {"concurrent", "py", "socks"}
)
"""Loggers that hardly anybody logs an event with."""


def clients() -> list[tuple[str, OdpClient]]:
    """Return each client that logging or structlog sends to, with where it is."""
    found: dict[int, tuple[str, OdpClient]] = {}
    for logger in _loggers():
        for handler in _opened(logger.handlers):
            if isinstance(handler, OdpHandler):
                where = f"OdpHandler on {_name(logger)}"
                found.setdefault(id(handler.client), (where, handler.client))
    for processor in processors():
        if isinstance(processor, OdpProcessor):
            where = "OdpProcessor of structlog"
            found.setdefault(id(processor.client), (where, processor.client))
    return list(found.values())


def of_logging(*, imported: bool) -> Iterator[Finding]:
    """
    Look at loggers and handlers.

    Args:
        imported: Whether the application was, so that its handlers must be there.
    """
    carriers = [
        (logger, handler)
        for logger in _loggers()
        for handler in _opened(logger.handlers)
        if isinstance(handler, OdpHandler)
    ]
    others = [each for each in processors() if isinstance(each, OdpProcessor)]
    if not carriers and not others:
        yield _nobody(imported=imported)
    for logger, handler in carriers:
        yield _levels(logger, handler)
    if carriers:
        yield from _switched_off()
        yield from _doubles()
        yield from _shown()


def _nobody(*, imported: bool) -> Finding:
    if not imported:
        return Finding(
            "hint",
            "handlers",
            "no application was looked at: its handlers are set up in its own process",
            "name what sets up its logging: odp-logging doctor --import shop.settings",
        )
    queues = [
        _name(logger)
        for logger in _loggers()
        for each in logger.handlers
        if hasattr(each, "queue") and not getattr(each, "listener", None)
    ]
    if queues:
        return Finding(
            "hint",
            "handlers",
            f"{named(queues)} leads to a queue; who listens cannot be seen",
            "the queue's listener needs an OdpHandler",
        )
    return Finding(
        "problem",
        "handlers",
        "no logger carries an OdpHandler, and structlog has no OdpProcessor",
        "logging.getLogger().addHandler(odp_logging.OdpHandler()), or put it into"
        " LOGGING",
    )


def _levels(logger: logging.Logger, handler: OdpHandler) -> Finding:
    what = f"OdpHandler on {_name(logger)}"
    if handler.level > logging.INFO:
        return Finding(
            "problem",
            "levels",
            f"{what} has the level {logging.getLevelName(handler.level)}: what"
            " logger.info() says is not sent",
            "leave out its level, or set INFO",
        )
    if logging.root.manager.disable >= logging.INFO:
        return Finding(
            "problem",
            "levels",
            f"logging.disable({logging.getLevelName(logging.root.manager.disable)})"
            " keeps records from all loggers",
            "call logging.disable(logging.NOTSET)",
        )
    reaching = [each for each in _loggers() if handler in _path(each)]
    open_ = [each for each in reaching if each.getEffectiveLevel() <= logging.INFO]
    if not open_:
        level = logging.getLevelName(logger.getEffectiveLevel())
        return Finding(
            "problem",
            "levels",
            f"{what} sees records from {level} on: no logger that leads to it lets"
            " INFO through",
            f"set its level: {_code(logger)}.setLevel(logging.INFO)",
        )
    names = [_name(each) for each in open_]
    return Finding("ok", "levels", f"{what} gets INFO from {named(names)}")


def _switched_off() -> Iterator[Finding]:
    off = [each for each in _loggers() if each.disabled and _odp_handlers(each)]
    theirs = [each.name for each in off if not _is_librarys(each.name)]
    if theirs:
        yield Finding(
            "problem",
            "disabled",
            f"{counted(len(theirs), 'logger')} disabled: {named(theirs)}",
            'set "disable_existing_loggers": False in dictConfig or fileConfig',
        )
    cut = [
        each.name
        for each in _loggers()
        if not each.propagate and not _odp_handlers(each) and each.handlers
    ]
    theirs = [name for name in cut if not _is_librarys(name)]
    if theirs:
        yield Finding(
            "hint",
            "propagation",
            f"{named(theirs)} leads to no OdpHandler: propagate is False there",
            "add the handler there as well, if events are logged with it",
        )


def _doubles() -> Iterator[Finding]:
    told = set()
    for logger in _loggers():
        places = list(_carriers(logger))
        for account, times in Counter(each for _, each in places).items():
            where = tuple(_name(on) for on, each in places if each == account)
            if times > 1 and where not in told:
                told.add(where)
                yield Finding(
                    "hint",
                    "double",
                    f"records of {_name(logger)} pass {times} OdpHandlers to the same"
                    f" destination, on {' and '.join(where)}: each event is sent once,"
                    " with the first one's settings",
                    "keep one of them, best on the logger nearest to the root",
                )


def _shown() -> Iterator[Finding]:
    names = []
    for logger in _loggers():
        if not _odp_handlers(logger):
            continue
        for handler in logger.handlers:
            kind = type(handler.formatter).__module__.partition(".")[0]
            hidden = any(isinstance(each, HideOdpFields) for each in handler.filters)
            if kind == "pythonjsonlogger" and not hidden:
                names.append(_name(logger))
    if names:
        yield Finding(
            "hint",
            "privacy",
            f"python-json-logger on {named(names)} prints odp_identifiers and odp_data",
            "add the filter odp_logging.HideOdpFields to that handler",
        )


# Loggers.


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    named = [each for each in known if isinstance(each, logging.Logger)]
    return [logging.root, *sorted(named, key=lambda each: each.name)]


def _name(logger: logging.Logger) -> str:
    return "the root logger" if logger is logging.root else logger.name


def _code(logger: logging.Logger) -> str:
    name = "" if logger is logging.root else repr(logger.name)
    return f"logging.getLogger({name})"


def _is_librarys(name: str) -> bool:
    return name.partition(".")[0] in _NOT_THEIRS


def _opened(handlers: list[logging.Handler]) -> Iterator[logging.Handler]:
    """Yield *handlers*, and those that they pass records on to."""
    for handler in handlers:
        yield handler
        target = getattr(handler, "target", None)
        listener = getattr(handler, "listener", None)
        for inner in (target, *getattr(listener, "handlers", ())):
            if isinstance(inner, logging.Handler):
                yield inner


def _steps(logger: logging.Logger) -> Iterator[tuple[logging.Logger, logging.Handler]]:
    """Yield each handler that a record of *logger* comes to, with whose it is."""
    here: logging.Logger | None = logger
    while here is not None:
        for handler in _opened(here.handlers):
            yield here, handler
        here = here.parent if here.propagate else None


def _path(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for _, handler in _steps(logger)]


def _odp_handlers(logger: logging.Logger) -> list[logging.Handler]:
    return [each for each in _path(logger) if isinstance(each, OdpHandler)]


def _carriers(logger: logging.Logger) -> Iterator[tuple[logging.Logger, object]]:
    for where, handler in _steps(logger):
        if isinstance(handler, OdpHandler):
            destination = handler.client.config.target()
            yield where, destination or id(handler.client)
