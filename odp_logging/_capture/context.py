"""
Identifiers and data that are bound once for every tagged record of a task or thread.

The inputs read them in the log call with `read_context`. The names of the functions
follow `structlog.contextvars`. What structlog has bound as ``odp_identifiers`` or
``odp_data`` overrides what these functions bound; a record's own values override both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sized
from contextlib import ContextDecorator
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeVar

from .._events.normalize import freeze_identifier, freeze_mapping
from .._runtime.diagnostics import Diagnostics
from .._runtime.locations import find_caller, format_location
from ..exceptions import InvalidEventError

_Function = TypeVar("_Function", bound=Callable[..., Any])

_IDENTIFIERS, _DATA = 0, 1
"""Where each of them is in what `_read_layers` returns."""

_diagnostics = Diagnostics()

_NOTHING: Mapping[str, Any] = MappingProxyType({})

CONTEXT = "_odp_bound"
"""Attribute of a record to which a `ContextFilter` copies what is bound."""

Layers = tuple[Any, ...]
"""Bound mappings; later ones override earlier ones."""

Bound = tuple[Layers, Layers]
"""Layers of identifiers and layers of data."""

_bound: ContextVar[Bound | None] = ContextVar("odp_bound", default=None)
"""What the functions of this module bound; None if nothing is bound."""

read_own_context = _bound.get
"""Return what the functions of this module bound in the current context."""


def _read_layers() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    identifiers, data = _bound.get() or ((), ())
    return identifiers[0] if identifiers else _NOTHING, data[0] if data else _NOTHING


def _set(identifiers: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    layers = (identifiers,) if identifiers else (), (data,) if data else ()
    _bound.set(layers if identifiers or data else None)


def restore_context(bound: Bound | None) -> None:
    """Bind what `read_own_context` returned earlier, and nothing else."""
    _bound.set(bound)


def bind_identifiers(**identifiers: Any) -> None:
    """Add *identifiers* to those of every later event of this task or thread."""
    frozen = {name: freeze_identifier(value) for name, value in identifiers.items()}
    before, data = _read_layers()
    _set(MappingProxyType({**before, **frozen}), data)


def bound_identifiers(**identifiers: Any) -> BoundValues:
    """Bind *identifiers* within a ``with`` block, or as a decorator."""
    return BoundValues(bind_identifiers, identifiers, _IDENTIFIERS, find_caller())


class BoundValues(ContextDecorator):
    """
    Binds values within a ``with`` block, or within the calls of a decorated function.

    Without either it binds nothing, which is reported when it is collected.

    Args:
        bind: Binds *values*.
        index: The layer that is restored at the end, `_IDENTIFIERS` or `_DATA`.
        origin: File and line of the call that made it; None if it is known to be used.
    """

    def __init__(
        self,
        bind: Callable[..., None],
        values: Mapping[str, Any],
        index: int,
        origin: tuple[str, int] | None = None,
    ) -> None:
        self._bind = bind
        self._values = values
        self._index = index
        self._origin = origin
        self._previous: list[Mapping[str, Any]] = []

    def __enter__(self) -> None:
        self._origin = None
        before = _read_layers()[self._index]
        self._bind(**self._values)
        self._previous.append(before)

    def __exit__(self, *error: object) -> None:
        # The other layer keeps what was bound within the block.
        layers = list(_read_layers())
        layers[self._index] = self._previous.pop()
        _set(*layers)

    def __call__(self, function: _Function) -> _Function:
        """Return *function* with the values bound during each of its calls."""
        self._origin = None
        return super().__call__(function)

    def _recreate_cm(self) -> BoundValues:
        # Called by ContextDecorator for each call, since calls may overlap.
        return BoundValues(self._bind, self._values, self._index)

    # A default argument, because module globals may be gone at interpreter exit.
    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        origin = getattr(self, "_origin", None)  # __init__ may have failed
        if origin is None or is_finalizing():
            return
        kind = "identifiers" if self._index == _IDENTIFIERS else "data"
        _diagnostics.warn(
            f"unused:{kind}",
            f"{format_location(origin)}: bound_{kind}() was called without `with`; it"
            f" binds nothing. Write `with bound_{kind}(...):`, or call bind_{kind}()",
        )


def clear_identifiers() -> None:
    """Remove the identifiers bound in this task or thread."""
    _set(_NOTHING, _read_layers()[1])


def bind_data(**data: Any) -> None:
    """Add a copy of *data* to every later event of this task or thread."""
    identifiers, before = _read_layers()
    _set(identifiers, MappingProxyType({**before, **freeze_mapping(data)}))


def bound_data(**data: Any) -> BoundValues:
    """Bind *data* within a ``with`` block, or as a decorator."""
    return BoundValues(bind_data, data, _DATA, find_caller())


def clear_data() -> None:
    """Remove the data bound in this task or thread."""
    _set(_read_layers()[0], _NOTHING)


def read_context() -> Bound | None:
    """Return the bound identifiers and data, structlog's included; None if none are."""
    own = read_own_context()
    module = sys.modules.get("structlog.contextvars")
    structlog_bound = _NOTHING if module is None else _read_structlog(module)
    if not structlog_bound:
        return own
    identifiers, data = own or ((), ())
    # No test for emptiness: that may run code of the application.
    if structlog_bound.get("odp_identifiers") is not None:
        identifiers += (
            _freeze_or_ignore(structlog_bound["odp_identifiers"], shallow=True),
        )
    if structlog_bound.get("odp_data") is not None:
        data += (_freeze_or_ignore(structlog_bound["odp_data"], shallow=False),)
    return (identifiers, data) if identifiers or data else None


class StructlogWatch:
    """
    Detects whether structlog may have bound ``odp_*`` names, at the cost of one len().

    It has not as long as `watched` has `expected` entries: then no name was added to
    structlog's registry or, if structlog is not imported, no module to sys.modules.
    """

    __slots__ = ("expected", "watched")

    def __init__(self) -> None:
        self.watched: Sized = ()
        self.expected = -1

    def refresh(self) -> None:
        """Choose what to watch, and record its present length."""
        self.expected = -1  # no match for other threads until both are set
        watched: Sized = sys.modules
        count = len(watched)  # first: an entry added meanwhile then counts as new
        module = sys.modules.get("structlog.contextvars")
        if module is not None:
            names = getattr(module, "_CONTEXT_VARS", None)
            if names is None:  # a structlog without a registry: never a match
                return
            watched, count = names, len(names)
            if _has_odp_names(names):
                return
        self.watched = watched
        self.expected = count


STRUCTLOG_WATCH = StructlogWatch()
"""For all log calls; the inputs refresh it on their general path."""


def _has_odp_names(registry: Container[str]) -> bool:
    """Return whether structlog's *registry* has ``odp_*`` names."""
    return "structlog_odp_identifiers" in registry or "structlog_odp_data" in registry


def _freeze_or_ignore(mapping: Any, *, shallow: bool) -> Any:
    try:
        return freeze_mapping(mapping, shallow=shallow)
    except (TypeError, InvalidEventError):
        return _NOTHING  # the record's own values are still used


def _read_structlog(module: Any) -> Mapping[str, Any]:
    # get_contextvars() copies the whole context; a look at the registry is cheaper.
    variables = getattr(module, "_CONTEXT_VARS", None)
    if variables is not None and not _has_odp_names(variables):
        return _NOTHING
    values: Mapping[str, Any] = module.get_contextvars()
    return values


for _function in (
    bind_identifiers,
    bound_identifiers,
    clear_identifiers,
    bind_data,
    bound_data,
    clear_data,
):
    # The public name, in tracebacks and in the API reference.
    _function.__module__ = "odp_logging"
