"""Events that are in the form in which they are sent, before a store gets them."""

from __future__ import annotations

from .event import OdpEvent, copy_attributes


class FinalEvent(OdpEvent):
    """An event to which all settings of the client, and before_send, were applied."""

    __slots__ = ()


def make_final(event: OdpEvent) -> FinalEvent:
    """Return *event* as one that `Builder` returns as it is."""
    final = object.__new__(FinalEvent)
    copy_attributes(event, final)
    return final
