"""Two handlers, one account: a record that both see is sent once.

As where a notebook's cell ran twice, and its first handler still stands on the logger.
Records carry a mark only while there is more than one handler in the process.
"""

from __future__ import annotations

import weakref
from typing import Any

TAKEN = "_odp_taken"
"""What a record carries that was captured: for which accounts, by which handlers."""

RIVALS: list[int] = []
"""All handlers but the first, by their ids; for most processes it is empty."""

_alive: dict[int, weakref.ref[Any]] = {}


def enter(handler: Any) -> None:
    """Count *handler*, for as long as it lives."""
    key = id(handler)
    _alive[key] = weakref.ref(handler, lambda _: _leave(key))
    RIVALS[:] = list(_alive)[1:]


def _leave(key: int) -> None:
    _alive.pop(key, None)
    RIVALS[:] = list(_alive)[1:]


def take(fields: dict[str, Any], account: str | None, handler: object) -> None:
    """Mark a record's *fields*: *handler* has captured it for *account*."""
    if account is not None:
        # Plain, since a record may be pickled on its way.
        fields[TAKEN] = {**_takers(fields), account: id(handler)}


def is_taken(fields: dict[str, Any], account: str | None, handler: object) -> bool:
    """Whether another than *handler* has captured it for *account*."""
    # Whoever hands a record to the same handler twice means it.
    taker: object = _takers(fields).get(account)
    return taker is not None and taker != id(handler)


def _takers(fields: dict[str, Any]) -> dict[Any, Any]:
    takers = fields.get(TAKEN)
    return takers if type(takers) is dict else {}  # off the wire it may be anything
