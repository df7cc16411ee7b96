"""Compare events with what a test expects, and explain a mismatch on one screen.

The assertions of `Events` in events.py call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._events.body import LIBRARY_DATA
from .._events.identifiers import normalize_identifiers
from .._events.normalize import Unsupported, freeze
from .._runtime.diagnostics import make_printable
from .._runtime.text import pluralize

if TYPE_CHECKING:
    from .._events.batch import Invalid
    from .._events.event import OdpEvent

_MAX_EVENTS_SHOWN = 12
"""Events in the list of a failed assertion, so that the message fits on one screen."""

_MAX_LINE_LENGTH = 100
_MAX_CELL_LENGTH = 40
_ABSENT = object()
# The event of the expected action is probably the one that was meant.
_TEXT_WEIGHTS = {"action": 4.0, "type": 3.0}
_DEFAULT_WEIGHT = 2.0
_PREFIXES = ("data__", "identifiers__")


class Part(NamedTuple):
    """One expected value of an event, and the actual one."""

    name: str
    expected: Any
    actual: Any
    is_equal: bool


class Expectation:
    """
    What a test expects of an event; parts that are not named may have any value.

    Args:
        type, action: The exact text.
        identifiers, data: Values that the event has, beside others.
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
        texts = {"type": type, "action": action}
        self._texts = {name: text for name, text in texts.items() if text is not None}
        self._identifiers = {
            _canonicalize_name(k): v for k, v in (identifiers or {}).items()
        }
        self._data = dict(data or {})
        for name, value in more.items():
            prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
            if prefix is None or name == prefix:
                raise TypeError(
                    f"unknown argument {name!r}; there are type, action, identifiers,"
                    " data, and single values as data__total=12.5"
                )
            rest = name.removeprefix(prefix)
            if prefix == "data__":
                self._data[rest] = value
            else:
                self._identifiers[_canonicalize_name(rest)] = value

    def compare(self, event: OdpEvent) -> list[Part]:
        """Return each expected value beside the one of *event*."""
        parts = [
            _compare_value(name, expected, getattr(event, name))
            for name, expected in self._texts.items()
        ]
        for name, expected in self._identifiers.items():
            value = event.identifiers.get(name, _ABSENT)
            parts.append(
                _compare_value(f"identifiers.{name}", expected, value, as_text=True)
            )
        for name, expected in self._data.items():
            value = _get_nested_value(event.data, name)
            parts.append(
                _compare_value(f"data.{name.replace('__', '.')}", expected, value)
            )
        return parts

    def matches(self, event: OdpEvent) -> bool:
        """Return whether *event* has all expected values."""
        return all(part.is_equal for part in self.compare(event))

    def find_closest(self, events: Sequence[OdpEvent]) -> int | None:
        """Return the index of the event with most expected values; None if none."""
        if not events or not str(self):
            return None
        scores = [sum(map(_score, self.compare(event))) for event in events]
        return scores.index(max(scores))

    def __str__(self) -> str:
        parts = [
            f"{name} {_format_value(value)}" for name, value in self._texts.items()
        ]
        parts += [f"{k}={_format_value(v)}" for k, v in self._identifiers.items()]
        parts += [f"{k}={_format_value(v)}" for k, v in self._data.items()]
        return ", ".join(parts)


def _score(part: Part) -> float:
    """Return the weight of *part* if it is equal, less if it is similar, else 0."""
    weight = _TEXT_WEIGHTS.get(part.name, _DEFAULT_WEIGHT)
    is_text = isinstance(part.actual, str) and part.name in _TEXT_WEIGHTS
    if part.is_equal or not is_text:
        return weight * part.is_equal
    from difflib import SequenceMatcher  # imported for failures only

    # Half at most: a similar text must not count as much as an equal one.
    return weight * SequenceMatcher(None, part.actual, str(part.expected)).ratio() / 2


def _canonicalize_name(name: str) -> str:
    # Any value that is not left out.
    return next(iter(normalize_identifiers({name: "-"})), name)


def _compare_value(
    name: str, expected: Any, actual: Any, *, as_text: bool = False
) -> Part:
    if actual is _ABSENT:
        return Part(name, expected, actual, is_equal=False)
    is_equal = bool(actual == expected)
    if not is_equal:
        # The test may give the value that was logged, such as a Decimal. The event has
        # the form in which ODP receives it.
        frozen = freeze(expected, scalars_only=not isinstance(expected, (dict, list)))
        if as_text and type(frozen) is int:
            frozen = str(frozen)
        is_equal = not isinstance(frozen, Unsupported) and bool(actual == frozen)
    return Part(name, expected, actual, is_equal)


def _get_nested_value(data: Any, name: str) -> Any:
    """Return the value at *name*, in which ``__`` separates levels; or `_ABSENT`."""
    if isinstance(data, Mapping):
        if name in data:
            return data[name]
    elif isinstance(data, list) and name.isdigit():
        return data[int(name)] if int(name) < len(data) else _ABSENT
    first, _, rest = name.partition("__")
    if not rest:
        return _ABSENT
    inner = _get_nested_value(data, first)
    return _ABSENT if inner is _ABSENT else _get_nested_value(inner, rest)


# The text of a failed assertion.


def format_mismatch(
    title: str,
    expectation: Expectation,
    events: Sequence[OdpEvent],
    origins: Mapping[OdpEvent, str],
    rejected: Sequence[Invalid],
    *,
    show_closest: bool,
) -> str:
    """
    Return *title*, a comparison with the closest event, and a list of all events.

    Args:
        origins: File and line of the log calls, as far as they are known.
        show_closest: Whether to compare the closest event.
    """
    lines: list[str] = []
    closest = expectation.find_closest(events) if show_closest else None
    if closest is not None:
        event = events[closest]
        origin = origins.get(event)
        logged = f", logged at {origin}" if origin else ""
        lines += ["", f"the nearest is #{closest + 1}{logged}:"]
        lines += _format_comparison(expectation.compare(event))
    lines += ["", *format_events(events, rejected, expectation)]
    return "\n".join(
        [title, *(_truncate(line.rstrip(), _MAX_LINE_LENGTH) for line in lines)]
    )


def _format_comparison(parts: Sequence[Part]) -> list[str]:
    rows = []
    for part in parts:
        actual = "nothing" if part.actual is _ABSENT else _format_value(part.actual)
        if part.is_equal:
            rows.append((f"    {part.name}", actual, ""))
        else:
            rows.append(
                (f"  ! {part.name}", actual, f"wanted {_format_value(part.expected)}")
            )
    return _align_columns(rows)


def format_events(
    events: Sequence[OdpEvent],
    rejected: Sequence[Invalid],
    expectation: Expectation | None = None,
) -> list[str]:
    """Return a line for each of the first events; those that match are marked."""
    lines = [f"{len(events) or 'no'} {pluralize('event', len(events))} captured"]
    rows = [
        (
            f"{_mark(event, expectation)} #{number}",
            make_printable(f"{event.type}/{event.action}"),
            _format_pairs(event.identifiers),
            _format_pairs(_select_own_data(event)),
        )
        for number, event in enumerate(events[:_MAX_EVENTS_SHOWN], 1)
    ]
    lines += _align_columns(rows)
    if len(events) > _MAX_EVENTS_SHOWN:
        lines.append(f"  … and {len(events) - _MAX_EVENTS_SHOWN} more")
    if rejected:
        lines.append(f"{len(rejected)} {pluralize('event', len(rejected))} rejected")
        lines += _align_columns(
            [
                (f"  {r.reason}", _format_rejection(r))
                for r in rejected[:_MAX_EVENTS_SHOWN]
            ]
        )
        if len(rejected) > _MAX_EVENTS_SHOWN:
            lines.append(f"  … and {len(rejected) - _MAX_EVENTS_SHOWN} more")
    if not events and not rejected:
        lines.append(
            "is the handler on that logger, the logger's level low enough, and the"
            " client enabled?"
        )
    return lines


def _mark(event: OdpEvent, expectation: Expectation | None) -> str:
    return "*" if expectation is not None and expectation.matches(event) else " "


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines with aligned columns."""
    columns = zip(*rows)
    widths = [min(_MAX_CELL_LENGTH, max(map(len, column))) for column in columns]
    return [
        "  ".join(_truncate(cell, w).ljust(w) for cell, w in zip(row[:-1], widths))
        + f"  {row[-1]}"
        for row in rows
    ]


def _select_own_data(event: OdpEvent) -> dict[str, Any]:
    """Return the data of *event* without the fields that every event has."""
    return {key: value for key, value in event.data.items() if key not in LIBRARY_DATA}


def _format_rejection(invalid: Invalid) -> str:
    return f"{invalid.origin}: {invalid.message}" if invalid.origin else invalid.message


def _format_pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_format_value(value)}" for name, value in values.items())


def _format_value(value: object) -> str:
    return _truncate(repr(value), _MAX_CELL_LENGTH)


def _truncate(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
