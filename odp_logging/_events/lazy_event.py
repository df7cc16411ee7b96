"""Events whose JSON is parsed only when another attribute is needed."""

from __future__ import annotations

from typing import Any

from .event import OdpEvent, copy_attributes, parse_event, set_json


class LazyEvent(OdpEvent):
    """
    An event that keeps its JSON, which is all that a transport needs.

    The JSON is parsed at the first access to another attribute, for example in a
    callback of the application or in a report of a rejected event.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        # Called only for an attribute that is not set, so once for each event.
        if name not in OdpEvent.__slots__ or name == "json":
            raise AttributeError(name)
        event = parse_event(self.json)
        copy_attributes(event, self)
        return getattr(event, name)

    # A copy gets other values for some attributes, so it needs all of them.
    def __copy__(self) -> OdpEvent:
        return parse_event(self.json)


def make_lazy_event(json: bytes) -> OdpEvent:
    """Return the event of *json*, which this process wrote and whose checksum holds."""
    event = object.__new__(LazyEvent)
    set_json(event, json)
    return event
