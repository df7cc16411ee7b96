"""
Two filters: one hides ``odp_*`` fields from other handlers, one adds the context.

Both change a record before an `OdpHandler` reads it with `records.find_odp_fields`.
"""

from __future__ import annotations

import logging
from typing import Any

from .._capture.context import CONTEXT, read_context
from .._capture.fields import (
    ACTION,
    FIELDS,
    HIDDEN,
    Carrier,
    PicklableCarrier,
    read_hidden,
)
from .._runtime.diagnostics import Diagnostics
from .duplicates import CapturedAction
from .records import find_odp_fields, has_nested_tag


class HideOdpFields(logging.Filter):
    """
    Hides the ``odp_*`` fields of a record from all handlers but `OdpHandler`.

    Handlers that print or copy all of ``extra``, as python-json-logger and sentry-sdk
    do, would show identifiers of customers. Add the filter to each of these handlers,
    before or after an `OdpHandler`. It moves the fields to the attribute ``_odp``: an
    `OdpHandler` reads them there, all other code sees an empty text.

    A pickled record does not contain the hidden fields. If the `OdpHandler` runs in
    another process, add the filter to the handlers of that process.

    On an `OdpHandler` it hides the fields from all later handlers and from sentry-sdk's
    integration, which runs after all handlers. On a logger it hides them from all
    handlers, but only in records logged by that very logger.

    structlog's event dict in ``record.msg`` and loguru's ``record.extra`` are replaced
    by copies without the fields.
    """

    __module__ = "odp_logging"

    def filter(self, record: logging.LogRecord) -> bool:
        """Hide the fields of *record* and let it pass."""
        try:
            _hide_fields(record)
        except (
            Exception
        ):  # must not raise into a log call; print nothing rather than a field
            return False
        return True


def _hide_fields(record: logging.LogRecord) -> None:
    fields = record.__dict__
    hidden: dict[str, Any] = {}
    for name in ("extra", "msg"):
        nested: Any = fields.get(name)
        if issubclass(type(nested), dict) and _has_odp_fields(nested):
            hidden.update(_select_fields(nested, odp=True))
            fields[name] = _select_fields(nested, odp=False)
    if _has_odp_fields(fields):
        moved = _select_fields(fields, odp=True)
        hidden.update(moved)
        for name in moved:
            del fields[name]
    if hidden:
        fields[HIDDEN] = _HiddenFields({**read_hidden(fields), **hidden})
    context = fields.get(CONTEXT)
    if type(context) is tuple:  # unpickled
        fields[CONTEXT] = PicklableCarrier(context)


class _HiddenFields(Carrier):
    """Hidden fields of an event, which are left out of a pickle."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        action = self.content.get(ACTION)
        if action is not None and not issubclass(type(action), CapturedAction):
            _diagnostics.warn(
                "hidden",
                "a record with hidden odp_* fields was pickled: the fields are not in"
                " the pickle. If the OdpHandler is in another process, add"
                " HideOdpFields to the handlers there, and not here",
            )
        return super().__reduce_ex__(protocol)


_diagnostics = Diagnostics()


def _has_odp_fields(fields: dict[str, Any]) -> bool:
    names: Any = dict.keys(fields)
    return not FIELDS.isdisjoint(names)


def _select_fields(fields: dict[str, Any], *, odp: bool) -> dict[str, Any]:
    """Return the ``odp_*`` fields of *fields*, or all others."""
    # dict's own methods: overrides of a subclass may return anything.
    return {
        name: value for name, value in dict.items(fields) if (name in FIELDS) is odp
    }


class ContextFilter(logging.Filter):
    """
    Copies the bound identifiers and data to tagged records.

    For a ``QueueHandler``: its listener emits records on another thread, where nothing
    is bound, and structlog's event dict has become text by then. Add the filter to the
    queue's handler: ``queue_handler.addFilter(ContextFilter())``.
    """

    __module__ = "odp_logging"

    def filter(self, record: logging.LogRecord) -> bool:
        """Copy the context to *record* and let it pass."""
        try:
            if ACTION in record.__dict__ or has_nested_tag(record):
                _copy_context(record)
        except Exception:  # must not raise into a log call; the handler reports it
            pass
        return True


def _copy_context(record: logging.LogRecord) -> None:
    fields = find_odp_fields(record) or {}
    if fields is record.msg:
        for name in FIELDS:
            if dict.__contains__(fields, name):
                record.__dict__.setdefault(name, dict.__getitem__(fields, name))
    context = read_context()
    if context is not None:
        # Plain dicts, since the record may be pickled later.
        record.__dict__[CONTEXT] = PicklableCarrier(
            tuple(tuple(dict(layer) for layer in layers) for layers in context)
        )
