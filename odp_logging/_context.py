"""Identifiers and data bound once, for every tagged record of a task or thread.

The names follow `structlog.contextvars`. What structlog itself has bound as
``odp_identifiers`` or ``odp_data`` counts too, above ours; a record's own wins.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Generator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from ._plain import freeze, freeze_mapping
from .exceptions import InvalidEventError

_NOTHING: Mapping[str, Any] = MappingProxyType({})

Layers = tuple[Any, ...]
"""Mappings bound in the context, the weakest first."""

Bound = tuple[Layers, Layers]
"""Identifiers and data."""

_bound: ContextVar[Bound | None] = ContextVar("odp_bound", default=None)
"""What our own functions bound; None if that is nothing."""

ours = _bound.get
"""Return what our own functions bound here and now."""


def _ours() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    identifiers, data = _bound.get() or ((), ())
    return identifiers[0] if identifiers else _NOTHING, data[0] if data else _NOTHING


def _set(identifiers: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    layers = (identifiers,) if identifiers else (), (data,) if data else ()
    _bound.set(layers if identifiers or data else None)


def bind_identifiers(**identifiers: Any) -> None:
    """Add *identifiers* to those of every later event of this task or thread."""
    lasting = {
        name: freeze(value, only_known=True) for name, value in identifiers.items()
    }
    before, data = _ours()
    _set(MappingProxyType({**before, **lasting}), data)


@contextmanager
def bound_identifiers(**identifiers: Any) -> Generator[None, None, None]:
    """Bind *identifiers* within a ``with`` block, or as a decorator."""
    before = _ours()[0]
    bind_identifiers(**identifiers)
    try:
        yield
    finally:
        _set(before, _ours()[1])  # data that was bound in the block stays


def clear_identifiers() -> None:
    """Forget the identifiers bound in this task or thread."""
    _set(_NOTHING, _ours()[1])


def bind_data(**data: Any) -> None:
    """Add *data*, as it is now, to that of every later event of this task or thread."""
    identifiers, before = _ours()
    _set(identifiers, MappingProxyType({**before, **freeze_mapping(data)}))


@contextmanager
def bound_data(**data: Any) -> Generator[None, None, None]:
    """Bind *data* within a ``with`` block, or as a decorator."""
    before = _ours()[1]
    bind_data(**data)
    try:
        yield
    finally:
        _set(_ours()[0], before)


def clear_data() -> None:
    """Forget the data bound in this task or thread."""
    _set(_ours()[0], _NOTHING)


def bound() -> Bound | None:
    """Return the identifiers and data bound here and now; None if there are none."""
    mine = ours()
    module = sys.modules.get("structlog.contextvars")
    theirs = _NOTHING if module is None else _of_structlog(module)
    if not theirs:
        return mine
    identifiers, data = mine or ((), ())
    # Not asked whether they are empty: that may be the application's code.
    if theirs.get("odp_identifiers") is not None:
        identifiers += (_copied(theirs["odp_identifiers"], shallow=True),)
    if theirs.get("odp_data") is not None:
        data += (_copied(theirs["odp_data"], shallow=False),)
    return (identifiers, data) if identifiers or data else None


class Watch:
    """
    Whether structlog may have bound what is ours, for the price of a length.

    As long as `watched` holds `expected` entries, it has not: no ``odp_*`` name has
    come into structlog's registry, or else structlog is not even imported.
    """

    __slots__ = ("expected", "watched")

    def __init__(self) -> None:
        self.watched: Sized = ()
        self.expected = -1

    def look_again(self) -> None:
        """Find out what to watch, and how much of it there is now."""
        self.expected = -1  # for other threads, until both fit together again
        watched: Sized = sys.modules
        count = len(watched)  # first: what comes meanwhile is then seen as new
        module = sys.modules.get("structlog.contextvars")
        if module is not None:
            names = getattr(module, "_CONTEXT_VARS", None)
            if names is None:  # a structlog without a registry has to be asked
                return
            watched, count = names, len(names)
            if _names_ours(names):
                return
        self.watched = watched
        self.expected = count


def _names_ours(registry: Container[str]) -> bool:
    """Whether structlog's *registry* has names that are ours."""
    return "structlog_odp_identifiers" in registry or "structlog_odp_data" in registry


def _copied(mapping: Any, *, shallow: bool) -> Any:
    try:
        return freeze_mapping(mapping, shallow=shallow)
    except (TypeError, InvalidEventError):
        return _NOTHING  # what the record itself says is not harmed by it


def _of_structlog(module: Any) -> Mapping[str, Any]:
    # get_contextvars() copies the whole context; its own registry answers "no" at once.
    variables = getattr(module, "_CONTEXT_VARS", None)
    if variables is not None and not _names_ours(variables):
        return _NOTHING
    found: Mapping[str, Any] = module.get_contextvars()
    return found
