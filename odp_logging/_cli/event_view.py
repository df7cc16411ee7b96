"""What the commands print of a stored event; identifiers are masked unless requested.

`dead`, `spool` and `tail` use these functions, so that they all mask in the same way.
"""

from __future__ import annotations

import time
from typing import Any

from .._events.event import OdpEvent, parse_event
from .._events.masking import mask_event, mask_reason


def format_time(seconds: float) -> str:
    """Return epoch *seconds* as a human-readable time in UTC."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):  # outside of the calendar's range
        return "?"


def format_table_time(text: str) -> str:
    """Return the time *text* of `format_time`, so that it can be wrapped in a table."""
    return text.replace("T", " ").replace("Z", " UTC")


def build_event_view(event: OdpEvent, *, show: bool) -> dict[str, Any]:
    """Return the body of *event*; unless *show*, identifiers are masked."""
    return event.to_dict() if show else mask_event(event)


def build_letter_view(body: bytes, reason: str, *, show: bool) -> dict[str, Any]:
    """Return reason and event of a dead letter; mask identifiers unless *show*."""
    try:
        event = parse_event(body)
    except ValueError:
        # Not even a part of a damaged body is shown: it may have identifiers.
        unknown: dict[str, Any] = {"type": "?", "action": "?", "identifiers": {}}
        return {"reason": reason, "event": unknown}
    return {
        "reason": reason if show else mask_reason(reason, event),
        "event": build_event_view(event, show=show),
    }


def format_event(event: dict[str, Any]) -> str:
    """Return type, action and identifiers of an event's view on one line."""
    return f"{event['type']}/{event['action']}  {format_identifiers(event)}"


def format_identifiers(event: dict[str, Any]) -> str:
    """Return the identifiers of an event's view on one line."""
    return ", ".join(f"{name}={value}" for name, value in event["identifiers"].items())
