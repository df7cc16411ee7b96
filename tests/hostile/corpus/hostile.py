"""Objects that raise, lie or never end."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

HUGE = 10**8
"""Characters or bytes: a hundred megabytes."""


def refuse(*arguments: Any, **named: Any) -> Any:
    """Raise, in whatever place this is called."""
    raise RuntimeError("hostile")


def raising(
    *methods: str, base: Any = object, error: BaseException | None = None, **more: Any
) -> Any:
    """Return a class called Raising whose *methods* raise."""

    def fail(*arguments: Any, **named: Any) -> Any:
        raise error or RuntimeError("hostile")

    return type("Raising", (base,), {**dict.fromkeys(methods, fail), **more})


def saying(text: Any) -> Any:
    """Return an object whose ``str()`` is *text*, which need not be text."""
    return type("Saying", (), {"__str__": lambda self: text})()


def doing(action: Callable[[], object], text: str = "done") -> Any:
    """Return an object whose ``__str__`` does something before it answers."""

    def say(self: Any) -> str:
        action()
        return text

    return type("Doing", (), {"__str__": say})()


class Text(str):
    """Text that lies about everything but what it holds."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __str__(self) -> str:
        return "a lie"

    __repr__ = __format__ = strip = lower = __str__  # type: ignore[assignment]

    def __getitem__(self, key: object) -> Any:
        return 7

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    encode = replace = __iter__ = __bool__ = __contains__ = refuse  # type: ignore


class KeyText(str):
    """Text that may be a key and lies about what it says."""

    def __str__(self) -> str:
        return "a lie"

    __len__ = __bool__ = strip = lower = replace = refuse  # type: ignore[assignment]


class Armed:
    """A key whose hash or equality fails once the dict that holds it is made."""

    armed = False

    def __init__(self, like: str = "armed") -> None:
        self.like = like

    def __hash__(self) -> int:
        if self.armed:
            raise RuntimeError("no hash")
        return hash(self.like)

    def __eq__(self, other: object) -> bool:
        if self.armed:
            raise RuntimeError("no equality")
        return False

    def __str__(self) -> str:
        return "armed"


def armed(value: Any = 1) -> dict[Any, Any]:
    """Return a dict whose only key raises when it is looked up."""
    key = Armed()
    made = {key: value}
    key.armed = True
    return made


class Dict(dict):  # type: ignore[type-arg]
    """A dict none of whose methods can be called."""

    items = keys = values = get = copy = pop = refuse  # type: ignore[assignment]
    __iter__ = __getitem__ = __contains__ = __eq__ = refuse  # type: ignore[assignment]
    __bool__ = __str__ = __repr__ = refuse

    def __len__(self) -> int:
        return 10**18


class EndlessDict(dict):  # type: ignore[type-arg]
    """A dict whose keys, values and items never end."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield next(dict.__iter__(self))

    keys = values = __iter__  # type: ignore[assignment]

    def items(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the first item, again and again."""
        while True:
            yield next(iter(dict.items(self)))

    def __len__(self) -> int:
        return 1


class NoPairs(dict):  # type: ignore[type-arg]
    """A dict whose items are no pairs."""

    def items(self) -> Any:
        """Return numbers."""
        return [1, 2]


class List(list):  # type: ignore[type-arg]
    """A list that says it is empty and cannot be read."""

    __iter__ = __getitem__ = __eq__ = __str__ = __repr__ = refuse  # type: ignore

    def __len__(self) -> int:
        return 0


class Tuple(tuple):  # type: ignore[type-arg]
    """A tuple that never ends."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 1


class Set(set):  # type: ignore[type-arg]
    """A set that cannot be read."""

    __iter__ = __contains__ = __str__ = __repr__ = refuse  # type: ignore[assignment]


class Int(int):
    """An integer that lies about its value."""

    def __int__(self) -> int:
        return 666

    __str__ = __repr__ = __bool__ = __eq__ = __lt__ = refuse  # type: ignore[assignment]
    __hash__ = __le__ = __index__ = __abs__ = refuse  # type: ignore[assignment]


class Float(float):
    """A fraction that lies about its value."""

    def __float__(self) -> float:
        return 666.0

    __str__ = __repr__ = __bool__ = __eq__ = is_integer = refuse  # type: ignore


class Bytes(bytes):
    """Bytes whose start is a number: that many zeros, to who asks carelessly."""

    def __getitem__(self, key: Any) -> Any:
        return 10**11

    __len__ = __iter__ = decode = __str__ = refuse  # type: ignore[assignment]


class Array(bytearray):
    """A bytearray that lies as `Bytes` do."""

    def __getitem__(self, key: Any) -> Any:
        return 10**11

    __len__ = __iter__ = decode = __str__ = refuse  # type: ignore[assignment]


def moment(shown: Any) -> datetime:
    """Return a datetime whose text is *shown*, or raises if that is an error."""

    def isoformat(self: datetime, *arguments: Any) -> Any:
        if isinstance(shown, Exception):
            raise shown
        return shown

    def timestamp(self: datetime) -> Any:
        return type("Floor", (), {"__floor__": lambda self: "no number"})()

    kind = type("Moment", (datetime,), {"isoformat": isoformat, "timestamp": timestamp})
    made: datetime = kind(2010, 12, 1, 8, 26, tzinfo=timezone.utc)
    return made


class Zone(tzinfo):
    """A time zone that does not know itself."""

    utcoffset = dst = tzname = refuse


class Shop(tzinfo):
    """A time zone that can change its mind."""

    hours = 1

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=self.hours)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


class Number(Decimal):
    """A Decimal that claims to be finite, and whose text is not quite text."""

    def is_finite(self) -> bool:
        return True

    def __str__(self) -> str:
        return Text("9.99")


class Id(uuid.UUID):
    """A UUID whose text is not quite text."""

    def __str__(self) -> str:
        return Text("an id")


class Span(timedelta):
    """A timedelta that lies."""

    total_seconds = __str__ = refuse  # type: ignore[assignment]


class Odd(enum.Enum):
    """Members with values that are no text."""

    LIST = (1, 2)
    NONE = None
    NAN = float("nan")
    OBJECT = object()
    TEXT = "text"


class Valueless(enum.Enum):
    """A member whose value cannot be asked for."""

    ONE = 1

    @property
    def value(self) -> Any:
        raise RuntimeError("no value")


class Endless(enum.Enum):
    """A member whose value is itself."""

    ONE = 1

    @property
    def value(self) -> Any:
        return self


class Shade(str, enum.Enum):
    """Text that is a member."""

    DARK = "dark"


class Rank(enum.IntEnum):
    """A number that is a member."""

    FIRST = 1


class Right(enum.IntFlag):
    """Numbers that can be combined."""

    READ = 4
    WRITE = 2


class Map(Mapping[Any, Any]):
    """A mapping of given keys, whose values come from a function."""

    def __init__(self, keys: Any, get: Callable[[Any], Any], length: int = 1) -> None:
        self._keys, self._get, self._length = keys, get, length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __getitem__(self, key: Any) -> Any:
        return self._get(key)

    def __len__(self) -> int:
        return self._length


class Nameless(type):
    """A class that does not say what it is called."""

    __name__ = property(refuse)  # type: ignore[assignment]
    __module__ = property(refuse)  # type: ignore[assignment]
    __hash__ = __eq__ = __instancecheck__ = refuse  # type: ignore[assignment]


def nameless() -> Any:
    """Return an object whose class raises whatever it is asked."""
    return Nameless("Hidden", (), {"__str__": refuse})()


def numpy_scalar(item: Callable[[Any], Any], text: str = "scalar") -> Any:
    """Return what looks like a scalar of numpy."""
    body = {"__module__": "numpy", "ndim": 0, "item": item}
    return type("scalar", (), {**body, "__str__": lambda self: text})()


class Closed:
    """An object that lets nobody look at it."""

    __getattribute__ = __str__ = __repr__ = __bool__ = refuse  # type: ignore
    __eq__ = __hash__ = __len__ = __iter__ = __index__ = refuse  # type: ignore
    __float__ = __int__ = __format__ = __reduce_ex__ = refuse  # type: ignore


class Pretender:
    """An object that says it is a dict."""

    __class__ = dict  # type: ignore[assignment]

    def __str__(self) -> str:
        return "no dict"
