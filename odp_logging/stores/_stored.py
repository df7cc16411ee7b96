"""An event that this process wrote to disk, and has read back to send."""

from __future__ import annotations

from typing import Any

from .._event import OdpEvent, restored


class Stored(OdpEvent):
    """
    An event made of its JSON, which is all that sending takes.

    Its parts are read when somebody asks for them: a callback of the application, or a
    report of what ODP rejected.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name not in OdpEvent.__slots__ or name == "json":
            raise AttributeError(name)
        whole = restored(self.json)
        for part in OdpEvent.__slots__:
            object.__setattr__(self, part, getattr(whole, part))
        return getattr(whole, name)

    def __copy__(self) -> OdpEvent:
        return restored(self.json)


def stored(json: bytes) -> OdpEvent:
    """Return the event that *json* is: one that was made here, and is unharmed."""
    event = object.__new__(Stored)
    object.__setattr__(event, "json", json)
    return event
