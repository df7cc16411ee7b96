"""Which events there were in a run of tests: types, actions, fields, and how often."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ._matching import aligned, flat, own_data
from .stores._base import Invalid

if TYPE_CHECKING:
    from ._event import OdpEvent

_MANY = 500
"""Kinds of events that are kept: an action with an id in it would never end."""


class Catalogue:
    """A living tracking plan: a tap that takes nothing, and counts what others take."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._rejected: Counter[str] = Counter()
        self._seen: set[str] = set()

    def take(self, made: OdpEvent | Invalid, origin: str) -> bool:
        """Count *made*, and leave it to others."""
        if isinstance(made, Invalid):
            self._rejected[made.reason] += 1
        else:
            self.add(made)
        return False

    def add(self, event: OdpEvent) -> None:
        """Count *event*, once."""
        if event.idempotence_id in self._seen:  # taken first, then at the emulator
            return
        self._seen.add(event.idempotence_id)
        kind = self._kind(event.type, event.action)
        kind.count += 1
        kind.identifiers.update(event.identifiers.keys())
        for name, value in own_data(event).items():
            kind.data.setdefault(name, Counter())[_json_type(value)] += 1

    def _kind(self, event_type: str, action: str) -> _Kind:
        key = event_type, action
        if key not in self._kinds and len(self._kinds) >= _MANY:
            key = "…", "more kinds of events"
        return self._kinds.setdefault(key, _Kind())

    def plain(self) -> dict[str, Any]:
        """Return it as what one process can hand to another."""
        kinds = [[*key, *kind.plain()] for key, kind in self._kinds.items()]
        return {"kinds": kinds, "rejected": dict(self._rejected)}

    def merge(self, plain: dict[str, Any]) -> None:
        """Add what another process saw, as its `plain` told it."""
        for event_type, action, count, identifiers, data in plain["kinds"]:
            kind = self._kind(event_type, action)
            kind.count += count
            kind.identifiers.update(identifiers)
            for name, types in data.items():
                kind.data.setdefault(name, Counter()).update(types)
        self._rejected.update(plain["rejected"])

    def lines(self) -> list[str]:
        """Return it as a table, in the order of the alphabet."""
        if not self._kinds and not self._rejected:
            return ["no events"]
        rows: list[tuple[str, ...]] = []
        if self._kinds:
            rows.append(("type", "action", "count", "identifiers", "data"))
        for key, kind in sorted(self._kinds.items()):
            row = (*key, str(kind.count), *kind.fields())
            rows.append(tuple(map(flat, row)))
        lines = aligned(rows)
        if self._rejected:
            reasons = sorted(self._rejected.items())
            told = ", ".join(f"{number} {reason}" for reason, number in reasons)
            lines.append(f"rejected: {told}")
        return lines


class _Kind:
    """What events of one type and action have in them."""

    __slots__ = ("count", "data", "identifiers")

    def __init__(self) -> None:
        self.count = 0
        self.identifiers: Counter[str] = Counter()
        self.data: dict[str, Counter[str]] = {}

    def plain(self) -> tuple[Any, ...]:
        """Return what `Catalogue.merge` adds."""
        data = {name: dict(types) for name, types in self.data.items()}
        return self.count, dict(self.identifiers), data

    def fields(self) -> tuple[str, str]:
        """Return the names of identifiers and data; a ``?`` marks what some lack."""
        identifiers = [
            name + "?" * (number < self.count)
            for name, number in sorted(self.identifiers.items())
        ]
        data = [
            f"{name}{'?' * (types.total() < self.count)}:{'|'.join(sorted(types))}"
            for name, types in sorted(self.data.items())
        ]
        return ", ".join(identifiers), ", ".join(data)


def _json_type(value: object) -> str:
    names = {dict: "object", list: "list", type(None): "null"}
    return names.get(type(value), type(value).__name__)
