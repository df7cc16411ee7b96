"""What a test expects of events, and how to say on one screen what it got instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ._event import OWN_DATA
from ._identifiers import canonical_identifiers
from ._plain import Unfit, freeze

if TYPE_CHECKING:
    from ._event import OdpEvent
    from .stores._base import Invalid

_SHOWN = 12
"""Events listed: with the nearest one above them, that is one screen."""

_WIDEST = 100
_LONGEST = 40
_ABSENT = object()
_WEIGHTS = {"action": 4.0, "type": 3.0}
_WEIGHT = 2.0
_PREFIXES = ("data__", "identifiers__")


class Part(NamedTuple):
    """One thing that is expected of an event, and what the event has there."""

    name: str
    expected: Any
    found: Any
    equal: bool


class Wanted:
    """
    What is asked of an event; what is not named may be anything.

    Args:
        type, action: The whole text.
        identifiers, data: Some of them.
        more: ``data__total=12.5`` for one value; ``data__customer__city`` looks into a
            dict, ``data__items__0`` into a list.

    Raises:
        TypeError: A name in *more* is none of these.
    """

    def __init__(
        self,
        type: object,
        action: object,
        identifiers: Mapping[str, Any] | None,
        data: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> None:
        named = {"type": type, "action": action}
        self._texts = {name: each for name, each in named.items() if each is not None}
        self._identifiers = {_canonical(k): v for k, v in (identifiers or {}).items()}
        self._data = dict(data or {})
        for name, value in more.items():
            prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
            if prefix is None or name == prefix:
                raise TypeError(
                    f"unknown argument {name!r}; there are type, action, identifiers,"
                    " data, and single values as data__total=12.5"
                )
            rest = name.removeprefix(prefix)
            if prefix == "data__":
                self._data[rest] = value
            else:
                self._identifiers[_canonical(rest)] = value

    def parts(self, event: OdpEvent) -> list[Part]:
        """Return each thing that is asked for, beside what *event* has."""
        found = [
            _part(name, expected, getattr(event, name))
            for name, expected in self._texts.items()
        ]
        for name, expected in self._identifiers.items():
            value = event.identifiers.get(name, _ABSENT)
            found.append(_part(f"identifiers.{name}", expected, value, as_text=True))
        for name, expected in self._data.items():
            value = _within(event.data, name)
            found.append(_part(f"data.{name.replace('__', '.')}", expected, value))
        return found

    def fits(self, event: OdpEvent) -> bool:
        """Whether *event* has all that is asked for."""
        return all(part.equal for part in self.parts(event))

    def nearest(self, events: Sequence[OdpEvent]) -> int | None:
        """Return the place of the event that has most of it; None if there is none."""
        if not events or not str(self):
            return None
        points = [sum(map(_points, self.parts(event))) for event in events]
        return points.index(max(points))

    def __str__(self) -> str:
        parts = [f"{name} {_short(value)}" for name, value in self._texts.items()]
        parts += [f"{k}={_short(v)}" for k, v in self._identifiers.items()]
        parts += [f"{k}={_short(v)}" for k, v in self._data.items()]
        return ", ".join(parts)


def _points(part: Part) -> float:
    """Return how much it counts that what was found is *part*, or is like it."""
    weight = _WEIGHTS.get(part.name, _WEIGHT)
    if part.equal or not (isinstance(part.found, str) and part.name in _WEIGHTS):
        return weight * part.equal
    from difflib import SequenceMatcher  # for the mistake alone

    return weight * SequenceMatcher(None, part.found, str(part.expected)).ratio() / 2


def _canonical(name: str) -> str:
    return next(iter(canonical_identifiers({name: "-"})), name)


def _part(name: str, expected: Any, found: Any, *, as_text: bool = False) -> Part:
    if found is _ABSENT:
        return Part(name, expected, found, False)
    equal = bool(found == expected)
    if not equal:
        # As it was logged, a Decimal or a date for one: the event has ODP's form of it.
        plain = freeze(expected, only_known=not isinstance(expected, (dict, list)))
        if as_text and type(plain) is int:
            plain = str(plain)
        equal = not isinstance(plain, Unfit) and bool(found == plain)
    return Part(name, expected, found, equal)


def _within(data: Any, name: str) -> Any:
    """Return the value called *name* in *data*, or what its ``__`` lead to."""
    if isinstance(data, Mapping):
        if name in data:
            return data[name]
    elif isinstance(data, list) and name.isdigit():
        return data[int(name)] if int(name) < len(data) else _ABSENT
    first, _, rest = name.partition("__")
    if not rest:
        return _ABSENT
    inner = _within(data, first)
    return _ABSENT if inner is _ABSENT else _within(inner, rest)


# What is said when a test fails.


def explained(
    headline: str,
    wanted: Wanted,
    events: Sequence[OdpEvent],
    places: Mapping[OdpEvent, str],
    rejected: Sequence[Invalid],
    *,
    near: bool,
) -> str:
    """
    Return *headline*, what the *near* event lacks, and a list of all there are.

    Args:
        places: Where events were logged, file and line, as far as that is known.
    """
    lines: list[str] = []
    nearest = wanted.nearest(events) if near else None
    if nearest is not None:
        event = events[nearest]
        where = places.get(event)
        logged = f", logged at {where}" if where else ""
        lines += ["", f"the nearest is #{nearest + 1}{logged}:"]
        lines += _compared(wanted.parts(event))
    lines += ["", *listed(events, rejected, wanted)]
    return "\n".join([headline, *(_cut(line.rstrip(), _WIDEST) for line in lines)])


def _compared(parts: Sequence[Part]) -> list[str]:
    rows = []
    for part in parts:
        found = "nothing" if part.found is _ABSENT else _short(part.found)
        if part.equal:
            rows.append((f"    {part.name}", found, ""))
        else:
            rows.append((f"  ! {part.name}", found, f"wanted {_short(part.expected)}"))
    return aligned(rows)


def listed(
    events: Sequence[OdpEvent],
    rejected: Sequence[Invalid],
    wanted: Wanted | None = None,
) -> list[str]:
    """Return a line for each of *events*, the first of many; those wanted marked."""
    lines = [f"{_counted(len(events), 'event')} captured"]
    rows = [
        (
            f"{'*' if wanted is not None and wanted.fits(event) else ' '} #{number}",
            flat(f"{event.type}/{event.action}"),
            _pairs(event.identifiers),
            _pairs(own_data(event)),
        )
        for number, event in enumerate(events[:_SHOWN], 1)
    ]
    lines += aligned(rows)
    if len(events) > _SHOWN:
        lines.append(f"  … and {len(events) - _SHOWN} more")
    if rejected:
        lines.append(f"{_counted(len(rejected), 'event')} rejected")
        lines += aligned([(f"  {r.reason}", _where(r)) for r in rejected[:_SHOWN]])
        if len(rejected) > _SHOWN:
            lines.append(f"  … and {len(rejected) - _SHOWN} more")
    if not events and not rejected:
        lines.append(
            "is the handler on that logger, the logger's level low enough, and the"
            " client enabled?"
        )
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines whose columns stand below each other."""
    widths = [min(_LONGEST, max(map(len, column))) for column in zip(*rows)]
    return [
        "  ".join(_cut(cell, w).ljust(w) for cell, w in zip(row[:-1], widths))
        + f"  {row[-1]}"
        for row in rows
    ]


def own_data(event: OdpEvent) -> dict[str, Any]:
    """Return the data of *event* but for what every event has."""
    return {key: value for key, value in event.data.items() if key not in OWN_DATA}


def flat(text: str) -> str:
    """Return *text* as it can stand in a line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _where(invalid: Invalid) -> str:
    return f"{invalid.origin}: {invalid.message}" if invalid.origin else invalid.message


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: object) -> str:
    return _cut(repr(value), _LONGEST)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"
