"""
The fast path of a log call: copies common ``odp_*`` fields in one pass.

`OdpHandler.handle` and `OdpProcessor` call `capture_plain` first. Where that returns
None, the general path calls `capture.capture`, which defines what is captured.
On the flusher's thread `fast_encode.encode_plain` makes an event of the tuple. Where it
cannot, or the store needs the size, `complete_capture` makes a `Capture` of it.
"""

from __future__ import annotations

from typing import Any

from .._events.rules import PLAIN_TYPES
from .call_sites import PLAIN_FIELD_COUNT, SEEN_LINES
from .context import CONTEXT, read_own_context
from .fields import ACTION, CAPTURED_BY

_MAX_VALUES = 32
"""An event with more identifiers or data takes the general path."""

_MAX_CHARACTERS = 256
"""An event with a longer text takes the general path."""

COMMON_FIELD_COUNT = PLAIN_FIELD_COUNT + 3
"""Attributes of a record that has an action, identifiers and data, and no more."""


def capture_plain(
    fields: dict[str, Any],
    time: Any,
    path: Any,
    line: Any,
    common_count: int = 0,
) -> tuple[Any, ...] | None:
    """
    Return copies of the fields of `Capture` but its size; None to use the general path.

    May raise for a value of an unusual class, which means the same as None: this
    function changes nothing.

    Hot path: no calls to helpers, since one helper for each dict of values costs 32 %
    more. So the limit on texts stands in each loop.

    Args:
        fields: The ``__dict__`` of a log record that has an action, or an event dict.
        time: Time of the log call in epoch seconds.
        path, line: Where the log call is.
        common_count: `COMMON_FIELD_COUNT` for a record. For an event dict, which the
            caller inspects for misspelt fields, its length if action, identifiers and
            data are its only fields of ODP; else 0.
    """
    action = fields[ACTION]
    if type(action) is not str or len(action) > _MAX_CHARACTERS:
        return None
    identifiers = fields.get("odp_identifiers")
    if identifiers is not None:
        # Not a subclass: copying one calls its keys(), which may never end.
        if type(identifiers) is not dict or len(identifiers) > _MAX_VALUES:
            return None
        identifiers = identifiers.copy()
        for value in identifiers.values():
            if type(value) is str:
                if len(value) > _MAX_CHARACTERS:
                    return None
            elif type(value) is not int:
                return None
    data = fields.get("odp_data")
    if data is not None:
        if type(data) is not dict or len(data) > _MAX_VALUES:
            return None
        data = data.copy()
        for key, value in data.items():
            if type(value) is str:
                if len(value) > _MAX_CHARACTERS:
                    return None
            elif type(value) not in PLAIN_TYPES:
                return None
            if type(key) is not str:
                return None
    event_type = stamp = event_id = None
    # A record with just these three attributes has no other field to look up.
    if len(fields) > common_count or data is None or identifiers is None:
        # Captured before: then this thread's context is not the record's.
        if CONTEXT in fields or CAPTURED_BY in fields:
            return None
        if common_count and line not in SEEN_LINES[path] and not SEEN_LINES.is_full:
            return None  # the general path looks for a misspelt field, once a line
        event_type = fields.get("odp_type")
        stamp = fields.get("odp_timestamp")
        event_id = fields.get("odp_idempotence_id")
        for value in (event_type, stamp, event_id):
            if type(value) is str:
                if len(value) > _MAX_CHARACTERS:
                    return None
            elif type(value) not in PLAIN_TYPES:
                return None
    # fmt: off
    return (  # in the order of `Capture`
        action, identifiers, event_type, data, stamp, time, event_id,
        read_own_context(), path, line,
    )
    # fmt: on
