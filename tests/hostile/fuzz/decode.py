"""
Bytes to values: a notation that people read and a fuzzer changes.

A value is a letter and what belongs to it: ``N`` None, ``T`` True, ``F`` False,
``i5;`` an integer (``i2^53;`` a power), ``f0.5;`` a fraction, ``stext;`` text (bytes
that are no UTF-8 become lone surrogates), ``bbytes;`` bytes, ``L1025*x;`` long text,
``[...]``, ``(...)``, ``<...>`` and ``{key value ...}`` a list, tuple, set and dict,
``D1.5;`` a Decimal, ``t0;`` a datetime, ``y5;`` a date, ``d5;`` a timedelta, ``U5;`` a
UUID, ``E1;`` a member, ``R9;value`` a list of the same value nine times, ``Q9;value``
nine lists around it, ``Cvalue`` a list that holds it and itself, and ``O7;text;`` a
hostile object.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ..corpus import hostile

MAX_LENGTH = 3_000
MAX_COUNT = 10_100
MAX_NESTING = 40

_MEMBERS = [*hostile.Odd, *hostile.Shade, *hostile.Rank, *hostile.Valueless]

_OBJECTS: list[Callable[[str], Any]] = [
    lambda text: hostile.Closed(),
    lambda text: hostile.nameless(),
    lambda text: hostile.Pretender(),
    lambda text: hostile.raising("__str__", "__eq__", "__hash__", "__len__")(),
    hostile.saying,
    hostile.Text,
    hostile.KeyText,
    lambda text: hostile.saying(hostile.Text(text)),
    lambda text: hostile.saying(None),
    lambda text: hostile.Int(len(text)),
    lambda text: hostile.Float(len(text)),
    lambda text: hostile.Bytes(text.encode("utf-8", "surrogatepass")),
    lambda text: hostile.Array(text.encode("utf-8", "surrogatepass")),
    lambda text: hostile.List([text]),
    lambda text: hostile.Tuple([text]),
    lambda text: hostile.Set([text]),
    lambda text: hostile.Dict({text: text}),
    lambda text: hostile.Map([text], lambda key: key),
    lambda text: hostile.Map([text], hostile.refuse),
    lambda text: hostile.Map(iter(int, 1), lambda key: text),
    lambda text: hostile.Number("1.5"),
    lambda text: hostile.Id(int=5),
    lambda text: hostile.Span(seconds=5),
    hostile.moment,
    lambda text: hostile.moment(hostile.Text(text)),
    lambda text: hostile.moment(ValueError(text)),
    lambda text: datetime(2010, 12, 1, tzinfo=hostile.Zone()),
    lambda text: hostile.numpy_scalar(lambda self: text),
    lambda text: hostile.numpy_scalar(lambda self: len(text)),
    lambda text: hostile.armed(text),
    lambda text: hostile.Armed(text),
    lambda text: hostile.Endless.ONE,
    lambda text: Fraction(1, 3),
    lambda text: complex(len(text), 1),
    lambda text: iter(text),
    lambda text: ValueError(text),
    lambda text: deque([text]),
    lambda text: MappingProxyType({text: text}),
    lambda text: int,
]


class Reader:
    """Reads values from *data*; where it ends, everything is empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def more(self) -> bool:
        """Whether anything is left."""
        return self._place < len(self._data)

    def letter(self) -> str:
        """Read one byte; a NUL at the end."""
        self._place += 1
        return (
            chr(self._data[self._place - 1]) if self._place <= len(self._data) else ""
        )

    def raw(self) -> bytes:
        """Read up to a semicolon."""
        end = self._data.find(b";", self._place)
        end = len(self._data) if end < 0 else end
        found, self._place = self._data[self._place : end], end + 1
        return found

    def rest(self) -> bytes:
        """Read all that is left."""
        found, self._place = self._data[self._place :], len(self._data)
        return found

    def text(self) -> str:
        """Read text up to a semicolon."""
        return self.raw().decode("utf-8", "surrogateescape")

    def number(self, most: float = 10**30) -> int:
        """Read an integer up to a semicolon."""
        return int(max(-most, min(most, _integer(self.text()))))

    def value(self, depth: int = 0) -> Any:
        """Read a value of any kind."""
        letter = self.letter()
        if depth > MAX_NESTING:
            return None
        if letter in _PLAIN:
            return _PLAIN[letter](self)
        if letter in _NESTED:
            return _NESTED[letter](self, depth + 1)
        return letter or None

    def values(self, end: str, depth: int) -> list[Any]:
        """Read values up to the letter *end*."""
        found = []
        while self.more() and self._data[self._place : self._place + 1] != end.encode():
            found.append(self.value(depth))
        self._place += 1
        return found


def _integer(text: str) -> int:
    base, _, power = text[:50].partition("^")
    try:
        return (
            int(base) ** min(int(power or 1), 6000)
            if abs(int(base)) < 100
            else int(base)
        )
    except (ValueError, ZeroDivisionError):
        return 0


def _integer_of(reader: Reader) -> int:
    return int(_integer(reader.text()))


def _long(reader: Reader) -> str:
    count, _, text = reader.text().partition("*")
    return (text * min(abs(_integer(count)), MAX_LENGTH))[:MAX_LENGTH]


def _fraction(reader: Reader) -> float:
    try:
        return float(reader.text())
    except ValueError:
        return 0.5


def _decimal(reader: Reader) -> Decimal:
    try:
        return Decimal(reader.text())
    except ArithmeticError:
        return Decimal(0)


def _datetime(reader: Reader) -> datetime:
    seconds = reader.number(10**12)
    zone = timezone(timedelta(seconds=seconds % 86_399)) if seconds % 2 else None
    try:
        return datetime(1970, 1, 1, tzinfo=zone) + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max


def _date(reader: Reader) -> date:
    return date.fromordinal(1 + abs(reader.number()) % date.max.toordinal())


def _object(reader: Reader) -> Any:
    return _OBJECTS[reader.number() % len(_OBJECTS)](reader.text())


_PLAIN: dict[str, Callable[[Reader], Any]] = {
    "N": lambda reader: None,
    "T": lambda reader: True,
    "F": lambda reader: False,
    "i": _integer_of,
    "f": _fraction,
    "s": Reader.text,
    "b": Reader.raw,
    "L": _long,
    "D": _decimal,
    "t": _datetime,
    "y": _date,
    "d": lambda reader: timedelta(seconds=reader.number(10**13)),
    "U": lambda reader: uuid.UUID(int=abs(reader.number())),
    "E": lambda reader: _MEMBERS[reader.number() % len(_MEMBERS)],
    "O": _object,
}


def _dict(reader: Reader, depth: int) -> dict[Any, Any]:
    found = reader.values("}", depth)
    made = {}
    for key, value in zip(found[::2], found[1::2]):
        try:
            made[key] = value
        except Exception:  # no key
            made[str(type(key))] = value
    return made


def _set(reader: Reader, depth: int) -> Any:
    found = reader.values(">", depth)
    try:
        return set(found)
    except Exception:  # no keys
        return frozenset()


def _repeated(reader: Reader, depth: int) -> list[Any]:
    count = abs(reader.number(MAX_COUNT))
    return [reader.value(depth)] * count


def _deep(reader: Reader, depth: int) -> Any:
    count = abs(reader.number(MAX_COUNT))
    made = reader.value(depth)
    for _ in range(count):
        made = [made]
    return made


def _ring(reader: Reader, depth: int) -> list[Any]:
    made = [reader.value(depth)]
    made.append(made)
    return made


_NESTED: dict[str, Callable[[Reader, int], Any]] = {
    "[": lambda reader, depth: reader.values("]", depth),
    "(": lambda reader, depth: tuple(reader.values(")", depth)),
    "<": _set,
    "{": _dict,
    "R": _repeated,
    "Q": _deep,
    "C": _ring,
}
