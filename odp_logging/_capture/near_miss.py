"""
Recognizes a log call that was meant to be an event, by the names of its fields.

`find_near_miss` serves the inputs, which call it once for each log call's position, and
the doctor, which reads names from source. It returns text with names of fields only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .fields import ACTION, FIELD_NAMES, FIELDS

_PREFIX = "odp"
_MISSPELT_PREFIXES = ("opd", "dop", "oddp", "oodp")
"""Not ``op``, which other libraries use, as in Elasticsearch's ``op_type``."""

_ALIASES = {
    "event": "odp_action",
    "eventname": "odp_action",
    "eventaction": "odp_action",
    "id": "odp_identifiers",
    "ids": "odp_identifiers",
    "identity": "odp_identifiers",
    "identities": "odp_identifiers",
    "user": "odp_identifiers",
    "userid": "odp_identifiers",
    "eventtype": "odp_type",
    "kind": "odp_type",
    "eventdata": "odp_data",
    "payload": "odp_data",
    "properties": "odp_data",
    "time": "odp_timestamp",
    "ts": "odp_timestamp",
    "eventid": "odp_idempotence_id",
    "idempotencekey": "odp_idempotence_id",
    "idempotencykey": "odp_idempotence_id",
}
"""Other words for a field, after ``odp``. They are no spelling mistakes, so most of
them count only beside a field whose name is right or nearly right."""

_BARE_NAMES = {"action": "odp_action", "identifiers": "odp_identifiers"}
"""Names without ``odp_`` that count beside one of the fields. Not ``event``, which is
structlog's name for the message, nor ``data`` and ``type``, which anything may have."""

_NESTED_NAMES = frozenset({"action", "identifiers", "type", "data"})
_MAX_NAME = 40
"""Longest name that is compared."""

_NORMALIZED_FIELDS = {name[4:].replace("_", ""): name for name in FIELD_NAMES}
_SEPARATORS = re.compile(r"[^a-z0-9]+")


class _Match(NamedTuple):
    name: str
    field: str
    is_alias: bool


def find_near_miss(
    fields: Mapping[Any, Any], *, can_be_bound: bool = False
) -> str | None:
    """
    Return what is wrong with the names of *fields*, with a suggestion; None if nothing.

    Args:
        fields: What a log call was given: ``extra``, structlog's event dict, or the
            whole ``__dict__`` of a record. The values matter only where they are dicts.
        can_be_bound: Whether a bound logger or an adapter may have added fields, which
            other log calls need. Then only a misspelt name is a mistake.
    """
    if ACTION in fields:
        return _find_misspelt_field(fields)
    return _find_misspelt_tag(fields, can_be_bound=can_be_bound)


def find_missing_extra(message: str, arguments: Mapping[Any, Any]) -> str | None:
    """
    Return a suggestion if *arguments* of *message* were meant to be ``extra``.

    logging accepts one dict as the argument of a message with ``%(name)s``. Without
    these, it ignores the dict, and no error is shown.
    """
    if "%(" in message:
        return None
    if ACTION not in arguments and _find_misspelt_tag(arguments) is None:
        return None
    return (
        "the dict with the odp_* fields is an argument of the message;"
        " did you mean extra={...}?"
    )


def is_candidate(name: Any) -> bool:
    """Return whether a field of this name is worth a call of `find_near_miss`."""
    if type(name) is not str:
        return False
    if name in FIELDS or name == "identifiers":
        return True
    return len(name) <= _MAX_NAME and (
        _normalize(name) == _PREFIX or _compare(name) is not None
    )


def _find_misspelt_tag(
    fields: Mapping[Any, Any], *, can_be_bound: bool = False
) -> str | None:
    """Return what is wrong with *fields*, which have no ``odp_action``."""
    given = [name for name in FIELD_NAMES if name in fields]
    found = _find_matches(fields)
    certain = [match for match in found if not match.is_alias or match.field == ACTION]
    if not certain and (can_be_bound or not given):
        return _find_nested_fields(fields)
    for name, field, _ in found:
        if field == ACTION:
            return _suggest(name, field)
    if "action" in fields:
        return _suggest("action", ACTION)
    if certain:
        name, field, _ = certain[0]
        return f'{_suggest(name, field)} An event needs "{ACTION}", too'
    return f'"{given[0]}" is given without "{ACTION}", which makes a record an event'


def _find_misspelt_field(fields: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with *fields*, which have an ``odp_action``."""
    for name, field, is_alias in _find_matches(fields):
        # Another word beside the right name may be the application's own field.
        if not (is_alias and field in fields):
            return _suggest(name, field)
    if "identifiers" in fields and "odp_identifiers" not in fields:
        return _suggest("identifiers", "odp_identifiers")
    return None


def _find_nested_fields(fields: Mapping[Any, Any]) -> str | None:
    for name, value in fields.items():
        # Not isinstance(), which reads __class__ and may run the application's code.
        if (
            type(name) is str
            and _normalize(name) == _PREFIX
            and issubclass(type(value), dict)
            and _has_event_names(dict.keys(value))
        ):
            return (
                f'the fields are nested in "{name}"; did you mean "odp_action" and'
                ' "odp_identifiers" in extra itself?'
            )
    return None


def _has_event_names(names: Iterable[Any]) -> bool:
    return any(
        [
            type(name) is str and (name in _NESTED_NAMES or is_candidate(name))
            for name in names
        ]
    )


def _find_matches(fields: Mapping[Any, Any]) -> list[_Match]:
    """Return the names that resemble a field and are none; likely mistakes first."""
    found = [
        match
        for name in fields
        if type(name) is str
        and name not in FIELDS
        and (match := _compare(name)) is not None
    ]
    return sorted(found, key=lambda match: match.is_alias)


def _compare(name: str) -> _Match | None:
    """Return the field that *name* resembles; None if there is none."""
    if len(name) > _MAX_NAME or name.startswith("_"):
        return None  # this library's own attributes of a record begin with _odp
    normalized = _normalize(name)
    if normalized.startswith(_PREFIX):
        rest = normalized[len(_PREFIX) :]
        for word, field in _NORMALIZED_FIELDS.items():
            if _is_close(rest, word):
                return _Match(name, field, is_alias=False)
        alias = _ALIASES.get(rest)
        return _Match(name, alias, is_alias=True) if alias else None
    for prefix in _MISSPELT_PREFIXES:
        exact = _NORMALIZED_FIELDS.get(normalized[len(prefix) :])
        if normalized.startswith(prefix) and exact is not None:
            return _Match(name, exact, is_alias=False)
    return None


def _normalize(name: str) -> str:
    """Return *name* without separators and case: odp-action, odpAction, ODP_ACTION."""
    return _SEPARATORS.sub("", name.lower())


def _is_close(given: str, word: str) -> bool:
    if len(word) <= 4:
        # A letter replaced makes another word of these: data and date.
        is_swap = len(given) == len(word) and sorted(given) == sorted(word)
        same_length = len(given) == len(word)
        if same_length and not is_swap:
            return False
    return count_edits(given, word) <= (2 if len(word) >= 9 else 1)


def count_edits(given: str, word: str) -> int:
    """Return how many letters must be added, removed, replaced or swapped."""
    # Damerau-Levenshtein distance in its restricted form (optimal string alignment).
    previous: list[int] = []
    row = list(range(len(word) + 1))
    for index, char in enumerate(given, 1):
        older, previous, row = previous, row, [index]
        for column, other in enumerate(word, 1):
            edits = min(
                previous[column] + 1,
                row[column - 1] + 1,
                previous[column - 1] + (char != other),
            )
            is_swap = (
                index > 1
                and column > 1
                and char == word[column - 2]
                and given[index - 2] == other
            )
            row.append(min(edits, older[column - 2] + 1) if is_swap else edits)
    return row[-1]


def _suggest(name: str, field: str) -> str:
    return f'"{name}" is not a field of an event; did you mean "{field}"?'
