"""
Reads the ``odp_*`` fields, the origin and the context that a log record holds.

`OdpHandler` and the filters find the same fields with these functions: in the record
itself, hidden by `HideOdpFields`, in structlog's event dict or in loguru's ``extra``.
"""

from __future__ import annotations

import logging
from typing import Any

from .._capture.context import CONTEXT
from .._capture.fields import ACTION, Carrier, read_hidden
from .duplicates import ConsumedAction


def read_origin(record: logging.LogRecord) -> tuple[str, int] | None:
    # An unpickled record may hold any type; the flusher's thread formats this.
    path = record.__dict__.get("pathname")
    line = record.__dict__.get("lineno")
    return (path, line) if type(path) is str and type(line) is int else None


def read_record_context(record: logging.LogRecord) -> Any:
    """Return the context that a `ContextFilter` copied to *record*, or None."""
    context: Any = record.__dict__.get(CONTEXT)
    return context.content if issubclass(type(context), Carrier) else context


def has_nested_tag(record: logging.LogRecord) -> bool:
    """Return whether a dict in *record* is tagged: hidden, structlog's or loguru's."""
    return _find_nested_fields(record) is not None


def _find_nested_fields(record: logging.LogRecord) -> dict[str, Any] | None:
    fields = record.__dict__
    candidates: tuple[Any, ...] = (read_hidden(fields), record.msg, fields.get("extra"))
    for found in candidates:
        # Not isinstance(), which reads __class__ and may run the application's code.
        if type(found) is str or not issubclass(type(found), dict):
            continue
        if dict.__contains__(found, ACTION):
            return found  # type: ignore[no-any-return]
    return None


def find_odp_fields(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return the dict that holds the ``odp_*`` fields; None if there are none."""
    fields: dict[str, Any] = record.__dict__
    if ACTION not in fields:
        nested = _find_nested_fields(record)
        if nested is None:
            return None
        fields = nested
    # ConsumedAction by a processor before us?
    return None if type(dict.__getitem__(fields, ACTION)) is ConsumedAction else fields
