"""A filter that keeps the fields of events from handlers that are not ours."""

from __future__ import annotations

import logging
from typing import Any

from ._mapping import FIELDS, HIDDEN


class HideOdpFields(logging.Filter):
    """
    Hides the ``odp_*`` fields of a record from all handlers but `OdpHandler`.

    Handlers that print or copy all of ``extra``, as python-json-logger and sentry-sdk
    do, would show whom an event is about. Add it to each of these handlers, in any
    order with an `OdpHandler`: what it moves to the attribute ``_odp``, that handler
    reads as well, and names with an underscore in front are left alone by others.

    On an `OdpHandler` it hides the fields from all that comes after: later handlers,
    and sentry-sdk's integration, which comes after all of them. On a logger it hides
    them from all handlers, in records logged by that very logger.

    structlog's event dict in ``record.msg`` and loguru's ``record.extra`` are replaced
    by copies without the fields.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Move the fields of *record* out of sight, and let it pass."""
        try:
            _hide(record)
        except Exception:  # nothing is raised into a log call; then nothing is printed
            return False
        return True


def _hide(record: logging.LogRecord) -> None:
    fields = record.__dict__
    hidden: dict[str, Any] = {}
    for name in ("extra", "msg"):
        inside: Any = fields.get(name)
        if issubclass(type(inside), dict) and _has_ours(inside):
            hidden.update(_part(inside, own=True))
            fields[name] = _part(inside, own=False)
    if _has_ours(fields):
        own = _part(fields, own=True)
        hidden.update(own)
        for name in own:
            del fields[name]
    if hidden:
        # Plain, since a record may be pickled on its way.
        earlier = fields.get(HIDDEN)
        fields[HIDDEN] = {**(earlier if type(earlier) is dict else {}), **hidden}


def _has_ours(fields: dict[str, Any]) -> bool:
    names: Any = dict.keys(fields)
    return not FIELDS.isdisjoint(names)


def _part(fields: dict[str, Any], *, own: bool) -> dict[str, Any]:
    """Return what of *fields* is ours, or what is not."""
    # dict's own methods: a subclass may lie in its overrides.
    return {
        name: value for name, value in dict.items(fields) if (name in FIELDS) is own
    }
