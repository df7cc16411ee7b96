"""
Copies any Python value to plain JSON values: str, int, float, bool, None, list, dict.

Runs on the thread of the log call, because a value may change afterwards. This is the
only module that runs code of the application's objects, such as ``__str__`` and
``__iter__``; each call is guarded. The result has built-in types only and is not shared
with other code. An object that never returns blocks its own log call, which holds no
lock here. A `BaseException` such as KeyboardInterrupt leaves the log call.
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

from ..exceptions import InvalidEventError
from .rules import MAX_DEPTH, MAX_TEXT, MAX_VALUES, is_plain

_MAX_PAIRS_READ = 2 * MAX_VALUES
"""Pairs read from one mapping: more than an event may hold with its default data."""

_UNKNOWN = object()
_TYPE_NAME: Any = type.__dict__["__name__"]


def freeze(value: Any, *, scalars_only: bool = False) -> Any:
    """
    Return a copy of *value* that has plain JSON types only.

    datetime, date and time become ISO-8601 text; timedelta seconds; UUID, Decimal and
    bytes text; an Enum its value; sets, tuples and deques lists; numpy scalars numbers.
    Any other object becomes its ``str()``, or the name of its type if that raises.
    Text keeps one character more than ODP does, so that truncation is counted later.

    Args:
        scalars_only: Return an `Unsupported` for lists, dicts and unknown types,
            instead of copying them or calling their ``str()``.
    """
    if type(value) is Unsupported:
        return value
    if scalars_only:
        scalar = _freeze(value, None, 0)
        return Unsupported(value) if scalar is _UNKNOWN else scalar
    return _ValueQuota().freeze_value(value, 0)


def freeze_text(value: Any) -> Any:
    """Return *value* if it is text or None, else an `Unsupported`."""
    kind = type(value)
    if value is None or kind is Unsupported:
        return value
    try:
        if issubclass(kind, Enum):
            return freeze_text(value.value)
        return _copy_text(value) if issubclass(kind, str) else Unsupported(value)
    except Exception:  # code of the application's objects
        return Unsupported(value)


def freeze_identifier(value: Any) -> Any:
    """
    Return *value* as `freeze` does with ``scalars_only``, if that loses nothing.

    Two values must not become equal: bytes become text only if they are UTF-8. MongoDB
    ids and ULIDs become their text. A bytearray is an `Unsupported`, since it may be
    changed.
    """
    kind = type(value)
    try:
        if issubclass(kind, Enum):
            return freeze_identifier(value.value)
        if issubclass(kind, bytearray):
            return Unsupported(value)
        if issubclass(kind, bytes):
            return _decode_bytes(value)
        for module, name in _ID_CLASSES:
            known = _find_class(module, name)
            if known is not None and issubclass(kind, known):
                return _copy_text(str(value))
    except Exception:  # code of the application's objects
        return Unsupported(value)
    return freeze(value, scalars_only=True)


_ID_CLASSES = (("bson.objectid", "ObjectId"), ("ulid", "ULID"))


def _decode_bytes(value: bytes) -> Any:
    start = bytes.__getitem__(value, slice(4 * MAX_TEXT + 1))
    if len(start) > 4 * MAX_TEXT:
        return Unsupported(value, TOO_LONG)
    try:
        return start.decode()[: MAX_TEXT + 1]
    except UnicodeDecodeError:
        return Unsupported(value, "bytes that are not UTF-8")


TOO_LONG = f"longer than {MAX_TEXT:,} characters"


class Unsupported:
    """
    Replaces a value of an unsupported type, without a reference to the value.

    Args:
        reason: What is wrong, if it is not the type.
    """

    __slots__ = ("name", "reason")

    def __init__(self, value: Any, reason: str = "") -> None:
        self.name = get_type_name(value)
        self.reason = reason


def get_type_name(value: Any) -> str:
    """Return the type name of *value*, or of the value an `Unsupported` replaced."""
    if type(value) is Unsupported:
        return value.name
    # Not type(value).__name__: a metaclass may define it as a property.
    return _copy_text(_TYPE_NAME.__get__(type(value)))


def freeze_mapping(
    mapping: Any,
    *,
    shallow: bool = False,
    hidden: frozenset[str] = frozenset(),
    uncounted: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """
    Return a copy of *mapping* with text keys and, unless *shallow*, frozen values.

    In a *shallow* copy, a key that is not text becomes "". Keys keep one character more
    than ODP does, as values do.

    Args:
        hidden: Keys, at any depth; their values are replaced by ``"[redacted]"``.
        uncounted: Keys that `MAX_VALUES` does not count.

    Raises:
        TypeError: *mapping* is not a mapping, or cannot be read.
        InvalidEventError: It holds more than `MAX_VALUES` values.
    """
    try:
        pairs = _read_pairs(mapping)
    except Exception as error:
        raise TypeError(type(error).__name__) from None
    if pairs is None:
        raise TypeError("not a mapping")
    if shallow:
        _ValueQuota().consume(len(pairs))
        return {_read_key(key): value for key, value in pairs}
    quota = _ValueQuota(hidden)
    if uncounted:
        quota.remaining += sum(
            [type(key) is str and key in uncounted for key, _ in pairs]
        )
    return quota.freeze_pairs(pairs, 1)


class _ValueQuota:
    """Counts the values that one event may still hold; copies dicts and lists."""

    __slots__ = ("hidden", "remaining")

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        self.remaining = MAX_VALUES
        self.hidden = hidden

    def consume(self, count: int) -> None:
        self.remaining -= count
        if self.remaining < 0:
            raise InvalidEventError(
                f"an event holds at most {MAX_VALUES} values; log what matters of them",
                reason="too_many_values",
            )

    def freeze_pairs(self, pairs: list[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        self.consume(len(pairs))
        frozen: dict[str, Any] = {}
        for key, value in pairs:
            if type(key) is not str or len(key) > MAX_TEXT:
                key = _read_key(key) or _convert_to_text(key)
            if self.hidden and key in self.hidden:
                frozen[key] = "[redacted]"
                continue
            kind = type(value)
            if is_plain(kind) or (kind is str and len(value) <= MAX_TEXT):
                frozen[key] = value
            else:
                frozen[key] = self.freeze_value(value, depth)
        return frozen

    def freeze_items(self, items: list[Any], depth: int) -> list[Any]:
        self.consume(len(items))
        return [self.freeze_value(item, depth) for item in items]

    def freeze_value(self, value: Any, depth: int) -> Any:
        frozen = _freeze(value, self, depth)
        return _convert_to_text(value) if frozen is _UNKNOWN else frozen


def _freeze(value: Any, quota: _ValueQuota | None, depth: int) -> Any:
    """
    Return the plain form of *value*, or _UNKNOWN if only ``str()`` can give one.

    Without a *quota*, lists and dicts are _UNKNOWN too, and are not read.
    """
    kind = type(value)
    if is_plain(kind):
        return value
    if kind is str:
        return value[: MAX_TEXT + 1]
    try:
        # Nested values are nearly always dicts and lists, and `_freeze_scalar` takes
        # 3 µs to find that a value is no scalar.
        if kind is not dict and kind is not list:
            if issubclass(kind, Enum):
                return _freeze(value.value, quota, depth)
            scalar = _freeze_scalar(value, kind)
            if scalar is not _UNKNOWN:
                return scalar
        if quota is None:
            return _UNKNOWN
        items = _read_elements(value, kind)
        pairs = None if items is not None else _read_pairs(value)
    except Exception:  # code of the application's objects
        return _UNKNOWN
    if items is None and pairs is None:
        return _UNKNOWN
    if depth > MAX_DEPTH:
        # One empty level more than ODP gets: make_event removes it and counts that.
        return []
    if items is not None:
        return quota.freeze_items(items, depth + 1)
    return quota.freeze_pairs(pairs or [], depth + 1)


def _freeze_scalar(value: Any, kind: type) -> Any:
    # Methods of the base types: overrides of a subclass may return anything.
    if issubclass(kind, str):
        return _copy_text(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, (datetime, date, time)):
        return _copy_text(value.isoformat())
    if issubclass(kind, timedelta):
        return timedelta.total_seconds(value)
    decimal = _find_class("decimal", "Decimal")
    # One that is not finite becomes a float: those are replaced and counted later.
    if decimal is not None and issubclass(kind, decimal):
        return _copy_text(str(value)) if decimal.is_finite(value) else float("nan")
    uuid = _find_class("uuid", "UUID")
    if uuid is not None and issubclass(kind, uuid):
        return _copy_text(str(value))
    # UTF-8 has at most 4 bytes for a character (RFC 3629).
    for binary in (bytes, bytearray):
        if issubclass(kind, binary):
            start = binary.__getitem__(value, slice(4 * (MAX_TEXT + 1)))
            return start.decode("utf-8", "replace")[: MAX_TEXT + 1]
    # By name, because a program without numpy must not import it here.
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        item = value.item()
        if is_plain(type(item)):
            return item
    return _UNKNOWN


def _find_class(module: str, name: str) -> Any:
    """
    Return the class *name* of *module*, or None if the module is not loaded.

    Without the module no value can have that class. Importing both would take 3 ms.
    """
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None  # a test may have set a mock


def _read_elements(value: Any, kind: type) -> list[Any] | None:
    for sequence in (list, tuple, set, frozenset, deque):
        if issubclass(kind, sequence):
            return list(islice(sequence.__iter__(value), MAX_VALUES + 1))
    return None


def _read_pairs(value: Any) -> list[tuple[Any, Any]] | None:
    kind = type(value)
    if issubclass(kind, dict) and dict.__len__(value) > _MAX_PAIRS_READ:
        return [("", None)] * _MAX_PAIRS_READ  # too many: counted, not read
    if kind is dict:
        # Copied first, in one step: another thread may change it meanwhile.
        return list(value.copy().items())
    if kind is MappingProxyType:
        # May wrap any mapping: items() may never end, or may not yield pairs.
        return [(key, item) for key, item in islice(value.items(), _MAX_PAIRS_READ)]
    if issubclass(kind, dict):
        return list(dict.items(value))
    if issubclass(kind, Mapping):
        return [(key, value[key]) for key in islice(value, MAX_VALUES + 1)]
    return None


def _read_key(key: Any) -> str:
    """Return *key* if it is text, else ""."""
    # For a (str, Enum) too this is the value; str() gives "Name.MEMBER".
    return _copy_text(key) if issubclass(type(key), str) else ""


def _copy_text(text: Any) -> str:
    """Return *text* as an exact str of at most `MAX_TEXT` + 1 characters."""
    return str.__str__(text)[: MAX_TEXT + 1]


def _convert_to_text(value: Any) -> str:
    try:
        return _copy_text(str(value))
    except Exception:  # code of the application's objects
        return f"<{get_type_name(value)[: MAX_TEXT - 2]}>"
