"""
The names of the ``odp_*`` fields of a log call, and how a record carries them hidden.

Inputs, filters and context agree on these names. `capture` copies the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ACTION = "odp_action"
"""The tag: a record with this field becomes an event."""

# `complete_capture` pairs values with these names by their order.
FIELD_NAMES = (
    "odp_action",
    "odp_identifiers",
    "odp_type",
    "odp_data",
    "odp_timestamp",
    "odp_idempotence_id",
)

FIELDS = frozenset(FIELD_NAMES)

HIDDEN = "_odp"
"""Attribute of a record to which `HideOdpFields` moves them, in a `Carrier`."""

CAPTURED_BY = "_odp_taken"
"""Attribute of a captured record: a dict of accounts and ids of handlers."""


class Carrier(str):
    """
    Holds a value of this library on a record; all other code sees an empty text.

    Handlers and formatters copy unknown attributes by ``repr()``, ``str()``, JSON or
    pickle, and all of these accept text. A copy of the record in the same process, such
    as a `QueueHandler` makes, keeps the content.

    Args:
        content: The value.
    """

    __slots__ = ("content",)

    content: Any

    def __new__(cls, content: Any) -> Carrier:
        carrier = super().__new__(cls)
        carrier.content = content
        return carrier

    def __repr__(self) -> str:
        return ""

    # Otherwise `copy` uses __reduce_ex__ and loses the content.
    def __copy__(self) -> Carrier:
        return self

    def __deepcopy__(self, memo: Any) -> Carrier:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return str, ()


class PicklableCarrier(Carrier):
    """A `Carrier` that is pickled as its content."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The process that unpickles the record need not have this library.
        return type(self.content), (self.content,)


def read_hidden(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that `HideOdpFields` hid in a record; {} if there are none."""
    carrier: Any = fields.get(HIDDEN)
    # Not isinstance(), which reads __class__ and may run the application's code.
    hidden = carrier.content if issubclass(type(carrier), Carrier) else None
    return hidden if type(hidden) is dict else {}
