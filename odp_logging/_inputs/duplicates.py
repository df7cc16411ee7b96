"""
Prevents that two inputs send the same record to the same account.

Two handlers see one record if, for example, a notebook's cell ran twice and left the
first handler on the logger. Records are marked only while a process has more than one
handler. A handler and a processor on the same path mark the action instead.
"""

from __future__ import annotations

import weakref
from typing import Any

from .._capture.fields import CAPTURED_BY
from .._events.normalize import freeze_text

OTHER_HANDLERS: list[int] = []
"""The ids of all handlers but the first: empty in most processes."""

_handlers: dict[int, weakref.ref[Any]] = {}


def register_handler(handler: Any) -> None:
    """Count *handler* until it is garbage-collected."""
    key = id(handler)
    _handlers[key] = weakref.ref(handler, lambda _: _unregister(key))
    OTHER_HANDLERS[:] = list(_handlers)[1:]


def _unregister(key: int) -> None:
    _handlers.pop(key, None)
    OTHER_HANDLERS[:] = list(_handlers)[1:]


def mark_captured(fields: dict[str, Any], account: str | None, handler: object) -> None:
    """Mark a record's *fields* as captured by *handler* for *account*."""
    if account is not None:
        # A plain dict, since the record may be pickled later.
        fields[CAPTURED_BY] = {**_read_captures(fields), account: id(handler)}


def is_captured_by_other(
    fields: dict[str, Any], account: str | None, handler: object
) -> bool:
    """Return whether a handler other than *handler* captured it for *account*."""
    # A record passed to the same handler twice is sent twice, as logging does.
    handler_id: object = _read_captures(fields).get(account)
    return handler_id is not None and handler_id != id(handler)


def _read_captures(fields: dict[str, Any]) -> dict[Any, Any]:
    captures = fields.get(CAPTURED_BY)
    return captures if type(captures) is dict else {}  # unpickled: any type


class CapturedAction(str):
    """
    The action of an event that a handler has captured; otherwise the same text.

    It replaces the action in structlog's event dict, so that a processor further down
    the same path ignores the event. Other handlers still capture it.
    """

    __slots__ = ()


class ConsumedAction(CapturedAction):
    """The action of an event that a processor has captured: handlers ignore it."""

    __slots__ = ()


def mark_action(action: Any, kind: type[CapturedAction]) -> Any:
    """Return *action* as an instance of *kind* if it is text, else unchanged."""
    text = freeze_text(action)
    return kind(text) if type(text) is str else action
