"""Who did it: identifiers as ODP takes them."""

from __future__ import annotations

from typing import Any

from ._plain import MAX_TEXT, Unfit, freeze, freeze_mapping, name_of
from .exceptions import InvalidEventError


def canonical_identifiers(
    identifiers: Any, notes: dict[str, int] | None = None
) -> dict[str, str]:
    """
    Return *identifiers* as ODP takes them: text values, one spelling of fs_user_id.

    Empty and blank values are left out, and so are values that name nobody (booleans,
    lists, fractions, text over 1,024 characters), counted in *notes* as ``identifier``.

    Raises:
        InvalidEventError: *identifiers* is not a mapping, or holds more than 10,000.
    """
    notes = {} if notes is None else notes
    canonical: dict[str, str] = {}
    alias = ""
    for key, value in _items(identifiers, "identifiers"):
        if not key.strip() or len(key) > MAX_TEXT:
            note(notes, "identifier")
            continue
        text = _identifier(value, notes)
        if not text:
            continue
        if is_alias(key):
            alias = alias or text
        else:
            canonical[key] = text
    if alias:
        canonical.setdefault("fs_user_id", alias)
    return canonical


def is_alias(key: str) -> bool:
    """Whether *key* is another spelling of ``fs_user_id``."""
    return key != "fs_user_id" and key.lower().replace("-", "_") == "fs_user_id"


def _items(mapping: Any, what: str) -> list[tuple[str, Any]]:
    if mapping is None:
        return []
    try:
        pairs = freeze_mapping(mapping, shallow=True)
    except TypeError:
        raise InvalidEventError(
            f"odp_{what} must be a dict, not {name_of(mapping)};"
            f' pass odp_{what}={{"name": value}}',
            reason=f"bad_{what}",
        ) from None
    return list(pairs.items())


def _identifier(value: Any, notes: dict[str, int]) -> str | None:
    # A bytearray may hold another name by the time it is read.
    unfit = issubclass(type(value), bytearray)
    plain = Unfit(value) if unfit else freeze(value, only_known=True)
    if plain is None:
        return None
    if type(plain) is int:
        plain = integer_text(plain)
    elif type(plain) is float and plain.is_integer():
        plain = str(int(plain))  # a data frame with gaps makes 17850.0 of 17850
    if type(plain) is not str or len(plain) > MAX_TEXT:
        note(notes, "identifier")  # cutting it would name somebody else
        return None
    return plain if plain.strip() else None


def note(notes: dict[str, int], kind: str) -> None:
    """Count in *notes* one more thing of *kind* that was adjusted."""
    notes[kind] = notes.get(kind, 0) + 1


def integer_text(value: int) -> str:
    """Return *value* as text of ODP's length and one more, at most."""
    try:
        return str(value)
    except ValueError:  # more digits than sys.set_int_max_str_digits allows
        return f"{value:#x}"[: MAX_TEXT + 1]
