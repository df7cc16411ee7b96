"""What was asked to go wrong, and whether it does for this request."""

from __future__ import annotations

import difflib
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any


class FaultError(ValueError):
    """A fault's field cannot be used; the text names it and a good value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; checked when it is read from its fields.

    ``max_events``, ``max_bytes``, ``events`` and ``match`` say for which requests,
    ``rate``, ``count`` and ``seconds`` how often; the others say what happens.
    """

    status: int | None = None
    rate: float = 1.0
    count: int | None = None
    latency: float = 0.0
    retry_after: str | None = None
    drop: str | None = None
    keep: bool | None = None
    events: tuple[int, ...] | None = None
    match: str | None = None
    opaque: bool = False
    max_events: int | None = None
    max_bytes: int | None = None
    body: str | None = None
    content_type: str | None = None
    location: str | None = None
    seconds: float | None = None

    @classmethod
    def read(cls, given: Any) -> Fault:
        """The fault that *given* describes; raises `FaultError` if it cannot be."""
        if not isinstance(given, Mapping):
            raise FaultError('a fault must be an object, such as {"status": 503}')
        known = {k: _checked(k, v) for k, v in given.items() if v is not None}
        if not known.keys() & _DOING:
            names = ", ".join(sorted(_DOING))
            raise FaultError(f"a fault must have one of the fields {names}")
        fault = cls(**known)
        if fault.opaque and not fault.selects:
            raise FaultError("fault field 'opaque' needs 'match' or 'events' beside it")
        return fault

    @property
    def selects(self) -> bool:
        """Whether it is about certain events of a request."""
        return self.events is not None or self.match is not None

    @property
    def limits(self) -> bool:
        """Whether it is about requests that are too large."""
        return self.max_events is not None or self.max_bytes is not None

    @property
    def answer(self) -> int | None:
        """The status it answers with, or None if it leaves that to ODP."""
        if self.status is not None:
            return self.status
        if self.selects:
            return 400
        return 413 if self.limits else None

    def exceeded(self, events: list[Any], size: int) -> bool:
        """Whether a request is larger than it allows."""
        return (self.max_events is not None and len(events) > self.max_events) or (
            self.max_bytes is not None and size > self.max_bytes
        )

    def selected(self, events: list[Any]) -> tuple[int, ...]:
        """The indexes of the *events* that it is about."""
        named = {i for i in self.events or () if i < len(events)}
        if self.match is not None:
            named |= {i for i, e in enumerate(events) if self.match in _text(e)}
        return tuple(sorted(named))


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that fires for a request, and the indexes of the events it is about."""

    fault: Fault
    indexes: tuple[int, ...]


class Faults:
    """The faults that are set, tried in order. Any thread may call anything."""

    def __init__(
        self,
        source: random.Random | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._random = source or random.Random()
        self._clock = clock
        self._lock = threading.Lock()
        self._set: list[_Set] = []
        self._serials = itertools.count(1)
        self._fired = 0

    def add(self, *faults: Fault) -> None:
        """Set *faults*, to be tried after those that are set already."""
        now = self._clock()
        with self._lock:
            self._set += [_Set(fault, now, next(self._serials)) for fault in faults]

    def clear(self) -> None:
        """Unset all faults."""
        with self._lock:
            self._set = []

    def remove(self, serial: int) -> bool:
        """Unset one fault, by its id; False if there is none of that id."""
        with self._lock:
            left = [one for one in self._set if one.serial != serial]
            found = len(left) < len(self._set)
            self._set = left
        return found

    def strike(self, events: list[Any], size: int) -> Strike | None:
        """What goes wrong with a request of these *events* and *size* in bytes."""
        if not self._set:
            return None
        with self._lock:
            self._forget_spent()
            for one in self._set:
                strike = self._try(one.fault, events, size)
                if strike is not None:
                    one.fired += 1
                    self._fired += 1
                    return strike
        return None

    def active(self) -> list[dict[str, Any]]:
        """The faults that may still fire: fields, id, and how often each fired."""
        with self._lock:
            self._forget_spent()
            return [
                {**_given(one.fault), "id": one.serial, "fired": one.fired}
                for one in self._set
            ]

    def counts(self) -> tuple[int, int]:
        """How many may still fire, and how often any fired since the start."""
        with self._lock:
            self._forget_spent()
            return len(self._set), self._fired

    def _try(self, fault: Fault, events: list[Any], size: int) -> Strike | None:
        if fault.limits and not fault.exceeded(events, size):
            return None
        indexes = fault.selected(events) if fault.selects else ()
        if fault.selects and not indexes:
            return None
        if fault.rate < 1 and self._random.random() >= fault.rate:
            return None
        return Strike(fault, indexes)

    def _forget_spent(self) -> None:
        if self._set:
            now = self._clock()
            self._set = [one for one in self._set if not one.spent(now)]


class _Set:
    __slots__ = ("fault", "fired", "serial", "since")

    def __init__(self, fault: Fault, since: float, serial: int) -> None:
        self.fault = fault
        self.serial = serial
        self.since = since
        self.fired = 0

    def spent(self, now: float) -> bool:
        count, seconds = self.fault.count, self.fault.seconds
        return (count is not None and self.fired >= count) or (
            seconds is not None and now - self.since >= seconds
        )


def _text(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _given(fault: Fault) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(fault)
        if (value := getattr(fault, field.name)) != field.default
    }


def _checked(name: Any, value: Any) -> Any:
    if name not in _FIELDS:
        near = difflib.get_close_matches(str(name), _FIELDS, n=1) or ["status"]
        raise FaultError(f"unknown fault field {name!r:.80}: did you mean {near[0]!r}?")
    check, good = _FIELDS[name]
    if not check(value):
        raise FaultError(f"fault field {name!r} cannot be {value!r:.80}: give {good}")
    if name == "retry_after":
        return str(value)
    return tuple(value) if name == "events" else value


def _whole(value: Any, low: int = 0, high: int = 2**53) -> bool:
    return _number(value, high) and isinstance(value, int) and value >= low


def _number(value: Any, high: float) -> bool:
    # A bool is an int to Python, but not to whoever wrote the fault.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= high


def _header(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 2048
        and value.isascii()
        and value.isprintable()
    )


def _indexes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_whole, value))


_DAY = 86_400.0

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "status": (
        lambda v: _whole(v, 200, 599),
        "a whole number from 200 to 599, such as 503",
    ),
    "rate": (lambda v: _number(v, 1), "a number from 0 to 1, such as 0.5"),
    "count": (lambda v: _whole(v, 1), "a whole number from 1, such as 3"),
    "latency": (lambda v: _number(v, _DAY), "seconds, such as 0.5"),
    "retry_after": (
        lambda v: _number(v, 1e9) or _header(v),
        "seconds, such as 2, or a date in text",
    ),
    "drop": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "keep": (lambda v: isinstance(v, bool), "true or false"),
    "events": (_indexes, "a list of indexes, such as [0, 2]"),
    "match": (lambda v: isinstance(v, str) and v != "", 'a text, such as "bad"'),
    "opaque": (lambda v: isinstance(v, bool), "true or false"),
    "max_events": (_whole, "a whole number, such as 50"),
    "max_bytes": (_whole, "a whole number, such as 65536"),
    "body": (lambda v: isinstance(v, str), 'a text, such as "<html>"'),
    "content_type": (_header, 'one line of text, such as "text/html"'),
    "location": (_header, 'one line of text, such as "http://127.0.0.1:1/"'),
    "seconds": (lambda v: _number(v, _DAY), "seconds, such as 2"),
}

_DOING = frozenset(_FIELDS) - {"rate", "count", "keep", "opaque", "seconds"}
