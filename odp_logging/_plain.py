"""Any Python value to plain JSON values: str, int, float, bool, None, list and dict.

Runs in the caller's thread, because a value may change after the log call, and only
here is code of the application's objects run: their ``__str__`` and ``__iter__``, each
guarded. What comes out is exact, built-in and ours alone. An object that never answers
holds up its own log call, where no lock is held yet, and nothing else; what is no
`Exception` (KeyboardInterrupt, SystemExit) passes through to the log call it stopped.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import Any

from .exceptions import InvalidEventError

DEFAULT_TYPE = "fullstack"
"""The type of an event that names none, as in every Feature Experimentation SDK."""

MAX_TEXT = 1024
"""Characters ODP keeps of a text (ODP developer docs, "Objects and fields")."""

MAX_DEPTH = 8
"""Levels of lists and dicts; ODP documents one (``order.items``)."""

MAX_VALUES = 10_000
"""Values in one event, nested ones included."""

_UNKNOWN = object()
_NONE = type(None)
_NAME: Any = type.__dict__["__name__"]


def freeze(value: Any, *, only_known: bool = False) -> Any:
    """
    Return *value* as plain JSON values of our own.

    datetime, date and time become ISO-8601 text; timedelta seconds; UUID and Decimal
    text; an Enum its value; bytes text; sets, tuples and deques lists; numpy scalars
    numbers. Anything else becomes its ``str()``, or its type's name if that raises.
    Text keeps one character more than ODP does, so that a cut can be counted later.

    Args:
        only_known: Return an `Unfit` for what is no single value with a form of its
            own: for lists and dicts, and instead of calling ``str()``.
    """
    if type(value) is Unfit:
        return value
    if only_known:
        single = _single(value)
        return Unfit(value) if single is _UNKNOWN else single
    known = _freeze(value, _Room(), 0)
    return _text_of(value) if known is _UNKNOWN else known


class Unfit:
    """Stands for a value that fits nowhere, which we do not want to hold on to."""

    __slots__ = ("name",)

    def __init__(self, value: Any) -> None:
        self.name = name_of(value)


def is_plain(kind: type) -> bool:
    """Whether values of *kind* are JSON's, and cannot change."""
    # Not a look-up in a set: a metaclass with __eq__ makes classes without a hash.
    return kind is int or kind is float or kind is bool or kind is _NONE


def name_of(value: Any) -> str:
    """Return the name of the type of *value*, or of what an `Unfit` stands for."""
    if type(value) is Unfit:
        return value.name
    # Not type(value).__name__: a metaclass may have made a property of it.
    return _exact(_NAME.__get__(type(value)))


def freeze_mapping(
    mapping: Any,
    *,
    shallow: bool = False,
    hidden: frozenset[str] = frozenset(),
    uncounted: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """
    Return a copy of *mapping* with text keys and, unless *shallow*, frozen values.

    In a *shallow* copy, a key that is no text is "". Keys keep one character more
    than ODP does, as values do.

    Args:
        hidden: Keys, at any depth, whose values are replaced by ``"[redacted]"``.
        uncounted: Keys that `MAX_VALUES` does not count.

    Raises:
        TypeError: *mapping* is not a mapping, or cannot be read.
        InvalidEventError: It holds more than `MAX_VALUES` values.
    """
    try:
        pairs = _pairs(mapping)
    except Exception as error:
        raise TypeError(type(error).__name__) from None
    if pairs is None:
        raise TypeError("not a mapping")
    if shallow:
        _Room().take(len(pairs))
        return {_key(key): value for key, value in pairs}
    room = _Room(hidden)
    if uncounted:
        room.left += sum([type(key) is str and key in uncounted for key, _ in pairs])
    return room.dict_of(pairs, 1)


class _Room:
    """How many values one event may still hold, and which of them are hidden."""

    __slots__ = ("hidden", "left")

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        self.left = MAX_VALUES
        self.hidden = hidden

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InvalidEventError(
                f"an event holds at most {MAX_VALUES} values; log what matters of them",
                reason="too_many_values",
            )

    def dict_of(self, pairs: list[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        self.take(len(pairs))
        made: dict[str, Any] = {}
        for key, value in pairs:
            if type(key) is not str or len(key) > MAX_TEXT:
                key = _key(key) or _text_of(key)
            if self.hidden and key in self.hidden:
                made[key] = "[redacted]"
                continue
            kind = type(value)
            if is_plain(kind) or (kind is str and len(value) <= MAX_TEXT):
                made[key] = value
                continue
            plain = _freeze(value, self, depth)
            made[key] = _text_of(value) if plain is _UNKNOWN else plain
        return made

    def list_of(self, items: list[Any], depth: int) -> list[Any]:
        self.take(len(items))
        made = []
        for item in items:
            plain = _freeze(item, self, depth)
            made.append(_text_of(item) if plain is _UNKNOWN else plain)
        return made


def _single(value: Any) -> Any:
    """Return the plain form of *value*, or _UNKNOWN if it is no single value."""
    kind = type(value)
    if is_plain(kind):
        return value
    if kind is str:
        return value[: MAX_TEXT + 1]
    try:
        if issubclass(kind, Enum):
            return _single(value.value)
        return _scalar(value, kind)
    except Exception:  # code of the application's objects
        return _UNKNOWN


def _freeze(value: Any, room: _Room, depth: int) -> Any:
    """Return the plain form of *value*, or _UNKNOWN if only its ``str()`` is left."""
    kind = type(value)
    if is_plain(kind):
        return value
    if kind is str:
        return value[: MAX_TEXT + 1]
    try:
        if issubclass(kind, Enum):
            return _freeze(value.value, room, depth)
        scalar = _scalar(value, kind)
        if scalar is not _UNKNOWN:
            return scalar
        items = _elements(value, kind)
        pairs = None if items is not None else _pairs(value)
    except Exception:  # code of the application's objects
        return _UNKNOWN
    if items is None and pairs is None:
        return _UNKNOWN
    if depth > MAX_DEPTH:
        # One empty level more than ODP gets: the cut is counted where it is made.
        return []
    if items is not None:
        return room.list_of(items, depth + 1)
    return room.dict_of(pairs or [], depth + 1)


def _scalar(value: Any, kind: type) -> Any:
    # The base types' own methods: a subclass may lie in its overrides.
    if issubclass(kind, str):
        return _exact(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, (datetime, date, time)):
        return _exact(value.isoformat())
    if issubclass(kind, timedelta):
        return timedelta.total_seconds(value)
    decimal = _if_loaded("decimal", "Decimal")
    if decimal is not None and issubclass(kind, decimal):
        return _exact(str(value)) if decimal.is_finite(value) else float("nan")
    uuid = _if_loaded("uuid", "UUID")
    if uuid is not None and issubclass(kind, uuid):
        return _exact(str(value))
    for binary in (bytes, bytearray):
        if issubclass(kind, binary):
            start = binary.__getitem__(value, slice(4 * (MAX_TEXT + 1)))
            return start.decode("utf-8", "replace")[: MAX_TEXT + 1]
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        item = value.item()
        if is_plain(type(item)):
            return item
    return _UNKNOWN


def _if_loaded(module: str, name: str) -> Any:
    """Return the class *name* of *module*, if anybody has loaded it.

    Nobody else has values of it, and to load both for nothing takes 3 ms.
    """
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None  # a test may have put a mock


def _elements(value: Any, kind: type) -> list[Any] | None:
    for sequence in (list, tuple, set, frozenset, deque):
        if issubclass(kind, sequence):
            return list(islice(sequence.__iter__(value), MAX_VALUES + 1))
    return None


def _pairs(value: Any) -> list[tuple[Any, Any]] | None:
    kind = type(value)
    if kind is dict:
        # Copied first, in one step: another thread may be changing it.
        return list(value.copy().items())
    if kind is MappingProxyType:
        return list(value.items())
    if issubclass(kind, dict):
        return list(dict.items(value))
    if issubclass(kind, Mapping):
        return [(key, value[key]) for key in islice(value, MAX_VALUES + 1)]
    return None


def _key(key: Any) -> str:
    """Return the text that *key* is; "" if it is none."""
    # Of a (str, Enum) too this is the value, where str() gives "Name.MEMBER".
    return _exact(key) if issubclass(type(key), str) else ""


def _exact(text: Any) -> str:
    """Return *text*, of str or a subclass, as a str of ODP's length and one more."""
    return str.__str__(text)[: MAX_TEXT + 1]


def _text_of(value: Any) -> str:
    try:
        return _exact(str(value))
    except Exception:  # code of the application's objects
        return f"<{name_of(value)[: MAX_TEXT - 2]}>"
