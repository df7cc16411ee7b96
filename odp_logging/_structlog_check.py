"""What the doctor sees of structlog: where its processor stands, what holds it back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ._finding import Finding
from ._processor import OdpProcessor

_RENDERERS = frozenset(
    {"JSONRenderer", "ConsoleRenderer", "KeyValueRenderer", "LogfmtRenderer"}
    | {"wrap_for_formatter", "render_to_log_kwargs", "render_to_log_args_and_kwargs"}
)
"""After any of these, what passes is no event dict with our fields any more."""


def of_structlog() -> Iterator[Finding]:
    """Look at structlog's processors, if the application uses it."""
    chain = processors()
    places = [n for n, each in enumerate(chain) if isinstance(each, OdpProcessor)]
    if not places:
        return
    names = [getattr(each, "__name__", type(each).__name__) for each in chain]
    first = min((n for n, each in enumerate(names) if each in _RENDERERS), default=99)
    context = names.index("merge_contextvars") if "merge_contextvars" in names else -1
    place = places[0]
    if place > first:
        yield Finding(
            "problem",
            "structlog",
            f"OdpProcessor stands after {names[first]}, where no event is left to see",
            f"put it before {names[first]}",
        )
    elif place < context:
        yield Finding(
            "problem",
            "structlog",
            "OdpProcessor stands before merge_contextvars: what is bound is missing",
            "put it after merge_contextvars",
        )
    else:
        yield Finding("ok", "structlog", "OdpProcessor stands where it sees events")
    if len(places) > 1:
        text = f"{len(places)} OdpProcessors stand in one chain"
        yield Finding("problem", "structlog", text, "keep one")
    settings = _structlog()
    level = getattr(settings.get("wrapper_class"), "__name__", "")
    least = level.removeprefix("BoundLoggerFilteringAt")
    if least in ("Warning", "Error", "Critical"):
        yield Finding(
            "problem",
            "structlog",
            f"its wrapper_class lets {least.upper()} and above through: log.info() is"
            " not seen",
            "use structlog.make_filtering_bound_logger(logging.INFO)",
        )
    if settings.get("cache_logger_on_first_use"):
        yield Finding(
            "hint",
            "structlog",
            "cache_logger_on_first_use is on: a logger used before configure() keeps"
            " its older processors",
            "call structlog.configure() before anything logs",
        )


def _structlog() -> dict[str, Any]:
    # Not imported here: who has not imported it has not configured it either.
    module = sys.modules.get("structlog")
    return dict(module.get_config()) if module is not None else {}


def processors() -> list[Any]:
    """Return the processors that structlog is configured with."""
    return list(_structlog().get("processors", ()))
