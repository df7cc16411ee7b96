"""The faults that are set, and which of them fires for a request."""

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
    """A field of a fault is invalid; the message names it and a valid value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, validated by `read`.

    ``max_events``, ``max_bytes``, ``events`` and ``match`` select requests; ``rate``,
    ``count`` and ``seconds`` limit how often it fires; the others are its effect.
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
        """Return the fault that *given* describes; raise `FaultError` if invalid."""
        if not isinstance(given, Mapping):
            raise FaultError('a fault must be an object, such as {"status": 503}')
        known = {k: _check_field(k, v) for k, v in given.items() if v is not None}
        if not known.keys() & _EFFECTS:
            names = ", ".join(sorted(_EFFECTS))
            raise FaultError(f"a fault must have one of the fields {names}")
        fault = cls(**known)
        if fault.opaque and not fault.selects:
            raise FaultError("fault field 'opaque' needs 'match' or 'events' beside it")
        return fault

    @property
    def selects(self) -> bool:
        """Whether it selects certain events of a request."""
        return self.events is not None or self.match is not None

    @property
    def limits(self) -> bool:
        """Whether it selects requests that are too large."""
        return self.max_events is not None or self.max_bytes is not None

    @property
    def response_status(self) -> int | None:
        """The status of the response, or None for the status that ODP would give."""
        if self.status is not None:
            return self.status
        if self.selects:
            return 400
        return 413 if self.limits else None

    def is_exceeded(self, events: list[Any], size: int) -> bool:
        """Return whether a request is larger than the fault allows."""
        return (self.max_events is not None and len(events) > self.max_events) or (
            self.max_bytes is not None and size > self.max_bytes
        )

    def select(self, events: list[Any]) -> tuple[int, ...]:
        """Return the indexes of the *events* that it selects."""
        named = {i for i in self.events or () if i < len(events)}
        if self.match is not None:
            named |= {i for i, e in enumerate(events) if self.match in _encode_event(e)}
        return tuple(sorted(named))


@dataclass(frozen=True, slots=True)
class FaultHit:
    """A fault that fires for a request, and the indexes of the selected events."""

    fault: Fault
    indexes: tuple[int, ...]


class Faults:
    """The faults that are set, tried in order. Thread-safe."""

    def __init__(
        self,
        source: random.Random | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._random = source or random.Random()
        self._clock = clock
        self._lock = threading.Lock()
        self._active: list[_ActiveFault] = []
        self._serial_counter = itertools.count(1)
        self._fired = 0

    def add(self, *faults: Fault) -> None:
        """Set *faults*; they are tried after those that are set already."""
        now = self._clock()
        with self._lock:
            self._active += [
                _ActiveFault(fault, now, next(self._serial_counter)) for fault in faults
            ]

    def clear(self) -> None:
        """Unset all faults."""
        with self._lock:
            self._active = []

    def remove(self, serial: int) -> bool:
        """Unset the fault with this id; return False if there is none."""
        with self._lock:
            left = [active for active in self._active if active.serial != serial]
            found = len(left) < len(self._active)
            self._active = left
        return found

    def find_hit(self, events: list[Any], size: int) -> FaultHit | None:
        """Return the fault that fires for *events* of *size* bytes, or None."""
        if not self._active:
            return None
        with self._lock:
            self._remove_exhausted()
            for active in self._active:
                hit = self._try_fault(active.fault, events, size)
                if hit is not None:
                    active.fired += 1
                    self._fired += 1
                    return hit
        return None

    def list_active(self) -> list[dict[str, Any]]:
        """
        Return the faults that may still fire: fields, id, number of firings.

        One with ``seconds`` has ``seconds_left``, too.
        """
        with self._lock:
            self._remove_exhausted()
            now = self._clock()
            return [
                {
                    **_list_fields(active.fault),
                    "id": active.serial,
                    "fired": active.fired,
                    **active.compute_time_left(now),
                }
                for active in self._active
            ]

    def count(self) -> tuple[int, int]:
        """Return the number of active faults, and of firings since the start."""
        with self._lock:
            self._remove_exhausted()
            return len(self._active), self._fired

    def _try_fault(self, fault: Fault, events: list[Any], size: int) -> FaultHit | None:
        if fault.limits and not fault.is_exceeded(events, size):
            return None
        indexes = fault.select(events) if fault.selects else ()
        if fault.selects and not indexes:
            return None
        # Drawn last, for requests that it would hit: so a seed gives the same ones
        # again.
        if fault.rate < 1 and self._random.random() >= fault.rate:
            return None
        return FaultHit(fault, indexes)

    def _remove_exhausted(self) -> None:
        if self._active:
            now = self._clock()
            self._active = [
                active for active in self._active if not active.is_exhausted(now)
            ]


class _ActiveFault:
    __slots__ = ("fault", "fired", "serial", "since")

    def __init__(self, fault: Fault, since: float, serial: int) -> None:
        self.fault = fault
        self.serial = serial
        self.since = since
        self.fired = 0

    def compute_time_left(self, now: float) -> dict[str, float]:
        """Return the seconds until it ends, under the name of their field, if any."""
        if self.fault.seconds is None:
            return {}
        left = max(0.0, self.fault.seconds - (now - self.since))
        return {"seconds_left": round(left, 3)}

    def is_exhausted(self, now: float) -> bool:
        count, seconds = self.fault.count, self.fault.seconds
        return (count is not None and self.fired >= count) or (
            seconds is not None and now - self.since >= seconds
        )


def _encode_event(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _list_fields(fault: Fault) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(fault)
        if (value := getattr(fault, field.name)) != field.default
    }


def _check_field(name: Any, value: Any) -> Any:
    if name not in _FIELDS:
        matches = difflib.get_close_matches(str(name), _FIELDS, n=1) or ["status"]
        # Its name in `EmulatedOdp.failing` before.
        matches = ["count"] if name == "times" else matches
        raise FaultError(
            f"unknown fault field {name!r:.80}: did you mean {matches[0]!r}?"
        )
    check, expected = _FIELDS[name]
    if not check(value):
        raise FaultError(
            f"fault field {name!r} cannot be {value!r:.80}: give {expected}"
        )
    if name == "retry_after":
        return str(value)
    return tuple(value) if name == "events" else value


def _is_integer(value: Any, low: int = 0, high: int = 2**53) -> bool:
    return _is_number(value, high) and isinstance(value, int) and value >= low


def _is_number(value: Any, high: float) -> bool:
    # A bool is an int in Python, but not a number in JSON.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= high


def _is_header(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 2048
        and value.isascii()
        and value.isprintable()
    )


def _is_index_list(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(map(_is_integer, value))
    )


_DAY_SECONDS = 86_400.0

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "status": (
        lambda v: _is_integer(v, 200, 599),
        "a whole number from 200 to 599, such as 503",
    ),
    "rate": (lambda v: _is_number(v, 1), "a number from 0 to 1, such as 0.5"),
    "count": (lambda v: _is_integer(v, 1), "a whole number from 1, such as 3"),
    "latency": (lambda v: _is_number(v, _DAY_SECONDS), "seconds, such as 0.5"),
    "retry_after": (
        lambda v: _is_number(v, 1e9) or _is_header(v),
        "seconds, such as 2, or a date in text",
    ),
    "drop": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "keep": (lambda v: isinstance(v, bool), "true or false"),
    "events": (_is_index_list, "a list of indexes, such as [0, 2]"),
    "match": (lambda v: isinstance(v, str) and v != "", 'a text, such as "bad"'),
    "opaque": (lambda v: isinstance(v, bool), "true or false"),
    "max_events": (_is_integer, "a whole number, such as 50"),
    "max_bytes": (_is_integer, "a whole number, such as 65536"),
    "body": (lambda v: isinstance(v, str), 'a text, such as "<html>"'),
    "content_type": (_is_header, 'one line of text, such as "text/html"'),
    "location": (_is_header, 'one line of text, such as "http://127.0.0.1:1/"'),
    "seconds": (lambda v: _is_number(v, _DAY_SECONDS), "seconds, such as 2"),
}

# Fields that select have an effect, too: without a status they answer 400 or 413.
_EFFECTS = frozenset(_FIELDS) - {"rate", "count", "keep", "opaque", "seconds"}
