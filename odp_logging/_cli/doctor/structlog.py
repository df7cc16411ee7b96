"""The doctor's checks of structlog: the position of OdpProcessor, and switches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..._inputs.processor import OdpProcessor
from .check_result import CheckResult
from .logger_tree import find_odp_handlers, list_loggers, walk_handlers

_TEXT_RENDERERS = frozenset(
    {"JSONRenderer", "ConsoleRenderer", "KeyValueRenderer", "LogfmtRenderer"}
)
"""Processors that return text."""

_LOGGING_RENDERERS = frozenset(
    {"wrap_for_formatter", "render_to_log_kwargs", "render_to_log_args_and_kwargs"}
)
"""Processors that return arguments of plain logging, with the fields among them."""

_RENDERERS = _TEXT_RENDERERS | _LOGGING_RENDERERS
"""Processors that return text or arguments instead of an event dict."""

_MERGE = "merge_contextvars"
"""The processor that adds bound values to the event dict."""


def check_structlog() -> Iterator[CheckResult]:
    """Check structlog's configuration, if the application has made one."""
    processors = list_processors()
    indexes = [
        index
        for index, processor in enumerate(processors)
        if isinstance(processor, OdpProcessor)
    ]
    if not indexes:
        yield from _check_missing_processor(processors)
        return
    yield _check_position(indexes[0], [_read_name(item) for item in processors])
    if len(indexes) > 1:
        text = f"{len(indexes)} OdpProcessors stand in one chain"
        yield CheckResult("problem", "structlog", text, "keep one")
    yield from _check_options(_read_configuration())


def _check_missing_processor(processors: Sequence[Any]) -> Iterator[CheckResult]:
    """Report a chain whose tagged events reach no input of this library."""
    # Without an OdpHandler, check_logging() reports that there is no input at all.
    if not is_configured() or not find_odp_handlers():
        return
    names = [_read_name(item) for item in processors]
    to_logging = _leads_to_logging()
    if to_logging and (_has_odp_formatter() or _has_fields(names)):
        return
    renderer = next((name for name in names if name in _TEXT_RENDERERS), None)
    if to_logging and renderer is not None:
        text = f"{renderer} turns events into text before logging gets them"
    else:
        text = "structlog has no OdpProcessor"
    yield CheckResult(
        "hint",
        "structlog",
        f"{text}: odp_action in a call of structlog has no effect",
        f"put odp_logging.OdpProcessor() before {renderer or 'the renderer'}",
    )


def _has_odp_formatter() -> bool:
    """Whether a ProcessorFormatter of a handler has an OdpProcessor."""
    return any(
        isinstance(processor, OdpProcessor)
        for logger in list_loggers()
        for handler in walk_handlers(logger.handlers)
        for processor in getattr(handler.formatter, "processors", None) or ()
    )


def _leads_to_logging() -> bool:
    """Whether structlog's loggers are those of plain logging."""
    factory = _read_configuration().get("logger_factory")
    # By name: structlog.stdlib need not be imported.
    return factory is logging.getLogger or any(
        kind.__module__ == "structlog.stdlib" for kind in type(factory).__mro__
    )


def _has_fields(names: Sequence[str]) -> bool:
    """Whether a record has the fields of the event, for an OdpHandler."""
    return bool(names) and names[-1] in _LOGGING_RENDERERS


def list_processors() -> list[Any]:
    """Return the processors that structlog is configured with."""
    return list(_read_configuration().get("processors", ()))


def is_configured() -> bool:
    """Whether structlog.configure() was called; libraries alone only import it."""
    module = sys.modules.get("structlog")
    return module is not None and bool(module.is_configured())


def _read_configuration() -> dict[str, Any]:
    # Not imported here: a process that has not imported it has not configured it.
    module = sys.modules.get("structlog")
    return dict(module.get_config()) if module is not None else {}


def _read_name(processor: Any) -> str:
    """Return the name of a function, or of the class of an object."""
    return str(getattr(processor, "__name__", type(processor).__name__))


def _check_position(position: int, names: Sequence[str]) -> CheckResult:
    """Check that the processor at *position* sees complete events."""
    renderer = next((name for name in names[:position] if name in _RENDERERS), None)
    if renderer is not None:
        return CheckResult(
            "problem",
            "structlog",
            f"OdpProcessor stands after {renderer}, where no event is left to see",
            f"put it before {renderer}",
        )
    # Once is enough: a chain may call it again later.
    if _MERGE in names[position:] and _MERGE not in names[:position]:
        return CheckResult(
            "problem",
            "structlog",
            f"OdpProcessor stands before {_MERGE}: it does not see bound values",
            f"put it after {_MERGE}",
        )
    return CheckResult("ok", "structlog", "OdpProcessor stands where it sees events")


def _check_options(configuration: Mapping[str, Any]) -> Iterator[CheckResult]:
    # make_filtering_bound_logger() names its classes after the level.
    wrapper = getattr(configuration.get("wrapper_class"), "__name__", "")
    level = wrapper.removeprefix("BoundLoggerFilteringAt")
    if level in ("Warning", "Error", "Critical"):
        yield CheckResult(
            "problem",
            "structlog",
            f"its wrapper_class lets {level.upper()} and above through: log.info() is"
            " not seen",
            "use structlog.make_filtering_bound_logger(logging.INFO)",
        )
    if configuration.get("cache_logger_on_first_use"):
        yield CheckResult(
            "hint",
            "structlog",
            "cache_logger_on_first_use is on: a logger used before configure() keeps"
            " its older processors",
            "call structlog.configure() before anything logs",
        )
