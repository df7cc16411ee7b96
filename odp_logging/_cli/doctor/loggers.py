"""The doctor's checks of logging: which records reach ODP, and which do not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

from ..._client.client import OdpClient
from ..._inputs.filters import HideOdpFields
from ..._inputs.handler import OdpHandler
from ..._inputs.processor import OdpProcessor
from ..._runtime.text import format_count, format_names
from .check_result import CheckResult
from .logger_tree import (
    find_odp_handlers,
    format_logger,
    has_odp_handler,
    is_ignored,
    is_library,
    iter_handlers,
    list_handlers,
    list_loggers,
)
from .structlog import is_configured, list_processors


def find_clients() -> list[tuple[str, OdpClient]]:
    """Return each client that logging or structlog sends to, with its location."""
    # By identity: several handlers may share one client.
    found: dict[int, tuple[str, OdpClient]] = {}
    for logger, handler in find_odp_handlers():
        location = f"OdpHandler on {format_logger(logger)}"
        found.setdefault(id(handler.client), (location, handler.client))
    for processor in _list_odp_processors():
        location = "OdpProcessor of structlog"
        found.setdefault(id(processor.client), (location, processor.client))
    return list(found.values())


def check_logging(*, imported: bool) -> Iterator[CheckResult]:
    """
    Check loggers and handlers.

    Args:
        imported: Whether the application was imported, so that its handlers are set up.
    """
    handlers = find_odp_handlers()
    if not handlers and not _list_odp_processors():
        yield _report_missing_handler(imported=imported)
    for logger, handler in handlers:
        yield _check_levels(logger, handler)
    if handlers:
        yield from _check_console(handlers)
        yield from _check_disabled_loggers()
        yield from _check_propagation()
        yield from _check_duplicate_handlers()
        yield from _check_exported_fields()


def _list_odp_processors() -> list[OdpProcessor]:
    return [
        processor
        for processor in list_processors()
        if isinstance(processor, OdpProcessor)
    ]


def _report_missing_handler(*, imported: bool) -> CheckResult:
    if not imported:
        return CheckResult(
            "hint",
            "handlers",
            "no application was looked at: its handlers are set up in its own process",
            "name what sets up its logging: odp-logging doctor --import shop.settings",
        )
    # The handlers of a listener are known only through the attribute `listener`, which
    # dictConfig sets since Python 3.12.
    queued = [
        format_logger(logger)
        for logger in list_loggers()
        for handler in logger.handlers
        if hasattr(handler, "queue") and not getattr(handler, "listener", None)
    ]
    if queued:
        return CheckResult(
            "hint",
            "handlers",
            f"{format_names(queued)} leads to a queue; the handlers of its listener"
            " cannot be seen",
            "give the queue's listener an OdpHandler",
        )
    advice = (
        "logging.getLogger().addHandler(odp_logging.OdpHandler()), or put it into"
        " LOGGING"
    )
    if is_configured():
        advice = "put odp_logging.OdpProcessor() before structlog's renderer"
    return CheckResult(
        "problem",
        "handlers",
        "no logger has an OdpHandler, and structlog has no OdpProcessor",
        advice,
    )


# Records that are not sent.


def _check_levels(logger: logging.Logger, handler: OdpHandler) -> CheckResult:
    """Check that *handler* gets INFO, the level that events are usually logged with."""
    location = f"OdpHandler on {format_logger(logger)}"
    if handler.level > logging.INFO:
        return CheckResult(
            "problem",
            "levels",
            f"{location} has the level {logging.getLevelName(handler.level)}: a record"
            " of logger.info() is not sent",
            "leave out its level, or set INFO",
        )
    # logging.disable() applies to all loggers, whatever their levels.
    disabled_level = logging.root.manager.disable
    if disabled_level >= logging.INFO:
        return CheckResult(
            "problem",
            "levels",
            f"logging.disable({logging.getLevelName(disabled_level)})"
            " suppresses the records of all loggers",
            "call logging.disable(logging.NOTSET)",
        )
    sources = _list_info_sources(handler)
    if not sources:
        return _report_missing_info(logger, location)
    return CheckResult(
        "ok", "levels", f"{location} gets INFO from {format_names(sources)}"
    )


def _list_info_sources(handler: OdpHandler) -> list[str]:
    """Return the loggers whose records of level INFO reach *handler*."""
    return [
        format_logger(logger)
        for logger in list_loggers()
        if handler in list_handlers(logger)
        and logger.getEffectiveLevel() <= logging.INFO
    ]


def _report_missing_info(logger: logging.Logger, location: str) -> CheckResult:
    level = logging.getLevelName(logger.getEffectiveLevel())
    name = "" if logger is logging.root else repr(logger.name)
    return CheckResult(
        "problem",
        "levels",
        f"{location} gets records from {level} on: no logger that leads to it lets"
        " INFO through",
        f"set its level: logging.getLogger({name}).setLevel(logging.INFO)",
    )


def _check_disabled_loggers() -> Iterator[CheckResult]:
    names = [
        logger.name
        for logger in list_loggers()
        if logger.disabled and has_odp_handler(logger) and not is_ignored(logger)
    ]
    if names:
        yield CheckResult(
            "problem",
            "disabled",
            f"{format_count(len(names), 'logger')} disabled: {format_names(names)}",
            'set "disable_existing_loggers": False in dictConfig or fileConfig',
        )


def _check_propagation() -> Iterator[CheckResult]:
    loggers = [
        logger
        for logger in list_loggers()
        if not logger.propagate and not has_odp_handler(logger)
    ]
    names = [
        logger.name for logger in loggers if logger.handlers and not is_ignored(logger)
    ]
    if names:
        yield CheckResult(
            "hint",
            "propagation",
            f"{format_names(names)} leads to no OdpHandler: propagate is False there",
            "add the handler there as well, if events are logged with it",
        )
    # A library without handlers is silenced on purpose.
    names = [
        logger.name
        for logger in loggers
        if not logger.handlers and not is_library(logger) and not logger.disabled
    ]
    if names:
        yield CheckResult(
            "problem",
            "propagation",
            f"{format_names(names)} leads to no handler at all: propagate is False"
            " there, and its records are lost",
            "leave out propagate=False, or add the OdpHandler there as well",
        )


def _check_duplicate_handlers() -> Iterator[CheckResult]:
    reported = set()
    for logger in list_loggers():
        destinations = list(_iter_destinations(logger))
        counts = Counter(destination for _, destination in destinations)
        for destination, count in counts.items():
            # Loggers of one branch share the handlers: one result is enough.
            owners = tuple(
                format_logger(owner)
                for owner, candidate in destinations
                if candidate == destination
            )
            if count > 1 and owners not in reported:
                reported.add(owners)
                yield CheckResult(
                    "hint",
                    "double",
                    f"records of {format_logger(logger)} pass {count} OdpHandlers to"
                    f" the same destination, on {' and '.join(owners)}: each event is"
                    " sent once, with the first one's settings",
                    "keep one of them, best on the logger nearest to the root",
                )


def _iter_destinations(
    logger: logging.Logger,
) -> Iterator[tuple[logging.Logger, object]]:
    """Yield where the OdpHandlers that *logger* reaches send to, with their loggers."""
    for owner, handler in iter_handlers(logger):
        if isinstance(handler, OdpHandler):
            # Without a key there is no destination yet: each client is its own.
            yield owner, handler.client._config.target() or id(handler.client)


# Text that is printed.


def _check_console(
    odp_handlers: list[tuple[logging.Logger, OdpHandler]],
) -> Iterator[CheckResult]:
    # Once for each logger, which may have several OdpHandlers.
    loggers = dict.fromkeys(logger for logger, _ in odp_handlers)
    names = [
        format_logger(logger)
        for logger in loggers
        if not any(map(_is_output_handler, list_handlers(logger)))
    ]
    if names:
        yield CheckResult(
            "hint",
            "console",
            f"{format_names(names)} has no handler that prints: its warnings are shown"
            " nowhere, since Python prints them only where there is no handler at all",
            "add one: logging.getLogger().addHandler(logging.StreamHandler())",
        )


def _is_output_handler(handler: logging.Handler) -> bool:
    """Whether *handler* writes records itself, and not to ODP alone."""
    # A MemoryHandler has a target, which is checked in its place.
    is_silent = isinstance(handler, logging.NullHandler) or hasattr(handler, "target")
    return not is_silent and not getattr(handler, "_odp_only", False)


def _check_exported_fields() -> Iterator[CheckResult]:
    found: dict[str, list[str]] = {}
    for logger in list_loggers():
        # Elsewhere records have no fields for ODP.
        if not has_odp_handler(logger):
            continue
        for handler in logger.handlers:
            is_filtered = any(
                isinstance(item, HideOdpFields) for item in handler.filters
            )
            library = _find_exporting_library(handler)
            if library and not is_filtered:
                found.setdefault(library, []).append(format_logger(logger))
    for library, names in found.items():
        yield CheckResult(
            "hint",
            "privacy",
            f"{library} on {format_names(names)} prints odp_identifiers and odp_data",
            "add the filter odp_logging.HideOdpFields to that handler",
        )


def _find_exporting_library(handler: logging.Handler) -> str:
    """Return the library of *handler* if it prints all of ``extra``, else ""."""
    # Base classes count: applications derive from these libraries' formatters.
    bases = (*type(handler).__mro__, *type(handler.formatter).__mro__)
    modules = [base.__module__.partition(".")[0] for base in bases]
    return next(
        (
            _EXPORTING_LIBRARIES[name]
            for name in modules
            if name in _EXPORTING_LIBRARIES
        ),
        "",
    )


_EXPORTING_LIBRARIES = {
    "ecs_logging": "ecs-logging",
    "json_log_formatter": "json-log-formatter",
    "logfmter": "logfmter",
    "logstash_async": "python-logstash-async",
    "opentelemetry": "OpenTelemetry",
    "pythonjsonlogger": "python-json-logger",
}
"""Modules that print every field of a record, with the names of their packages."""
