"""
The rules for what an event holds: limits, the default type, and types to keep as is.

Stands below all other modules of events. The handler's fast path, the general copy of
values and the encoder check values against these names, so that they agree.
"""

from __future__ import annotations

DEFAULT_TYPE = "fullstack"
"""The default type of an event, as in every Feature Experimentation SDK."""

MAX_TEXT = 1024
"""Characters that ODP keeps of a text (ODP developer docs, "Objects and fields")."""

MAX_INTEGER = 2**53
"""Larger integers are sent as text: JSON readers with doubles lose their digits."""

MAX_DEPTH = 8
"""Nested levels of lists and dicts; ODP documents one (``order.items``)."""

MAX_VALUES = 10_000
"""Values in one event, nested ones included."""

PLAIN_TYPES = frozenset({int, float, bool, type(None)})
"""
Types of immutable JSON values other than text: a reference serves as a copy.

The look-up raises TypeError for a class whose metaclass defines ``__eq__`` and no
``__hash__``. Code that must not raise calls `is_plain`.
"""


def is_plain(kind: type) -> bool:
    """Return whether *kind* is one of `PLAIN_TYPES`. Never raises."""
    try:
        return kind in PLAIN_TYPES
    except Exception:  # code of the application's metaclass
        return False
