"""Identifiers and data bound once, for every tagged record of a task or thread.

The names follow `structlog.contextvars`. What structlog itself has bound as
``odp_identifiers`` or ``odp_data`` counts too, above ours; a record's own wins.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from ._plain import freeze, freeze_mapping
from .exceptions import InvalidEventError

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_identifiers: ContextVar[Mapping[str, Any]] = ContextVar(
    "odp_identifiers", default=_NOTHING
)
_data: ContextVar[Mapping[str, Any]] = ContextVar("odp_data", default=_NOTHING)


def bind_identifiers(**identifiers: Any) -> None:
    """Add *identifiers* to those of every later event of this task or thread."""
    _identifiers.set(_with(identifiers))


def _with(identifiers: Mapping[str, Any]) -> Mapping[str, Any]:
    lasting = {
        name: freeze(value, only_known=True) for name, value in identifiers.items()
    }
    return MappingProxyType({**_identifiers.get(), **lasting})


@contextmanager
def bound_identifiers(**identifiers: Any) -> Generator[None, None, None]:
    """Bind *identifiers* within a ``with`` block, or as a decorator."""
    token = _identifiers.set(_with(identifiers))
    try:
        yield
    finally:
        _identifiers.reset(token)


def clear_identifiers() -> None:
    """Forget the identifiers bound in this task or thread."""
    _identifiers.set(_NOTHING)


def bind_data(**data: Any) -> None:
    """Add *data*, as it is now, to that of every later event of this task or thread."""
    _data.set(MappingProxyType({**_data.get(), **freeze_mapping(data)}))


@contextmanager
def bound_data(**data: Any) -> Generator[None, None, None]:
    """Bind *data* within a ``with`` block, or as a decorator."""
    token = _data.set(MappingProxyType({**_data.get(), **freeze_mapping(data)}))
    try:
        yield
    finally:
        _data.reset(token)


def clear_data() -> None:
    """Forget the data bound in this task or thread."""
    _data.set(_NOTHING)


Bound = tuple[Any, ...]
"""Mappings bound in the context, the weakest first."""


def bound() -> tuple[Bound, Bound] | None:
    """Return the identifiers and data bound here and now; None if there are none."""
    identifiers: Bound = ()
    data: Bound = ()
    ours, our_data = _identifiers.get(), _data.get()
    if ours:
        identifiers = (ours,)
    if our_data:
        data = (our_data,)
    module = sys.modules.get("structlog.contextvars")
    if module is not None:
        theirs = _of_structlog(module)
        if theirs:
            # Not asked whether they are empty: that may be the application's code.
            if theirs.get("odp_identifiers") is not None:
                identifiers += (_copied(theirs["odp_identifiers"], shallow=True),)
            if theirs.get("odp_data") is not None:
                data += (_copied(theirs["odp_data"], shallow=False),)
    return (identifiers, data) if identifiers or data else None


def _copied(mapping: Any, *, shallow: bool) -> Any:
    try:
        return freeze_mapping(mapping, shallow=shallow)
    except (TypeError, InvalidEventError):
        return _NOTHING  # what the record itself says is not harmed by it


def _of_structlog(module: Any) -> Mapping[str, Any]:
    # get_contextvars() copies the whole context; its own registry answers "no" at once.
    variables = getattr(module, "_CONTEXT_VARS", None)
    if (
        variables is not None
        and "structlog_odp_identifiers" not in variables
        and "structlog_odp_data" not in variables
    ):
        return _NOTHING
    found: Mapping[str, Any] = module.get_contextvars()
    return found
