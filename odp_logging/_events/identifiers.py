"""
The rules for identifiers: which values ODP accepts, and which are left out.

Used when an event is built, on the flusher's thread, and by `Privacy`.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import InvalidEventError
from .adjustments import Adjustments, record_adjustment
from .normalize import (
    TOO_LONG,
    Unsupported,
    freeze_identifier,
    freeze_mapping,
    get_type_name,
)
from .rules import MAX_INTEGER, MAX_TEXT

# What str() or a template writes for a missing value: Python, pandas, JavaScript, Java,
# Go, C, and the AnonymousUser of Django and Spring.
_PLACEHOLDERS = frozenset(
    {
        "(null)",
        "[object object]",
        "anonymous",
        "anonymoususer",
        "nan",
        "nil",
        "none",
        "null",
        "undefined",
    }
)
_MAX_PLACEHOLDER_CHARACTERS = 32
"""Longest text that is compared, white space included."""


def normalize_identifiers(
    identifiers: Any,
    adjustments: Adjustments | None = None,
    *,
    reject_placeholders: bool = False,
) -> dict[str, str]:
    """
    Return *identifiers* in ODP's form: text values, one spelling of fs_user_id.

    Empty and blank values are left out. So are values that ODP cannot store unchanged:
    booleans, lists, fractions, text over 1,024 characters, undecodable bytes. A changed
    value could equal another customer's, and ODP would merge both for good. They are
    counted in *adjustments* as ``identifier``.

    Args:
        adjustments: Gets the counts and messages.
        reject_placeholders: Whether to leave out texts such as ``None`` and ``null``
            too. Otherwise *adjustments* gets a message about them.

    Raises:
        InvalidEventError: *identifiers* is not a mapping, or holds more than 10,000.
    """
    adjustments = Adjustments() if adjustments is None else adjustments
    canonical: dict[str, str] = {}
    alias = ""
    for key, value in _read_items(identifiers, "identifiers"):
        if not key.strip():
            _record_left_out(adjustments, "a name that is no text")
            continue
        key, error = _check_text(key)
        if error:
            _record_left_out(adjustments, f"a name {error}")
            continue
        text = _read_identifier(value, adjustments)
        if not text:
            if text is not None:
                adjustments.empty_names += (key,)
            continue
        if is_placeholder(text):
            if reject_placeholders:
                _record_left_out(adjustments, f'the placeholder "{text.strip()}"')
                continue
            adjustments.messages.setdefault(
                "placeholder", format_placeholder_warning(text)
            )
        if is_alias(key):
            # The first alias counts, and only without the canonical name.
            alias = alias or text
        else:
            canonical[key] = text
    if alias:
        canonical.setdefault("fs_user_id", alias)
    return canonical


def is_alias(key: str) -> bool:
    """Return whether *key* is another spelling of ``fs_user_id``."""
    return key != "fs_user_id" and key.lower().replace("-", "_") == "fs_user_id"


def _read_items(mapping: Any, field: str) -> list[tuple[str, Any]]:
    if mapping is None:
        return []
    try:
        items = freeze_mapping(mapping, shallow=True)
    except TypeError:
        raise InvalidEventError(
            f"odp_{field} must be a dict, not {get_type_name(mapping)};"
            f' pass odp_{field}={{"name": value}}',
            reason=f"bad_{field}",
        ) from None
    return list(items.items())


def _read_identifier(value: Any, adjustments: Adjustments) -> str | None:
    """Return *value* as text, "" if it is empty, None if it was left out."""
    plain = freeze_identifier(value)
    if plain is None:
        return ""
    if type(plain) is int:
        plain = format_integer(plain)
    elif type(plain) is float and plain.is_integer() and abs(plain) <= MAX_INTEGER:
        plain = str(int(plain))  # pandas turns 17850 into 17850.0 in a column with gaps
    if type(plain) is not str:
        reason = plain.reason if type(plain) is Unsupported else ""
        _record_left_out(
            adjustments,
            f"a value of the type {get_type_name(value)}{reason and f', {reason}'}",
        )
        return None
    if not plain.strip():
        return ""
    text, error = _check_text(plain)
    if error:
        _record_left_out(adjustments, f"a value {error}")
        return None
    return text


def _check_text(text: str) -> tuple[str, str]:
    """Return *text* with surrogate pairs joined, and why it cannot be kept, or ""."""
    if len(text) > MAX_TEXT:
        return text, TOO_LONG
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            joined = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return text, "with undecodable bytes (lone surrogates)"
        return joined, ""
    return text, ""


def _record_left_out(adjustments: Adjustments, description: str) -> None:
    record_adjustment(adjustments, "identifier")
    adjustments.messages.setdefault("identifier", description)


def is_placeholder(text: str) -> bool:
    """Return whether *text* stands for a missing value, as ``None`` does."""
    return (
        len(text) <= _MAX_PLACEHOLDER_CHARACTERS
        and text.strip().lower() in _PLACEHOLDERS
    )


def format_placeholder_warning(text: str) -> str:
    """Return the warning about the placeholder *text*."""
    return (
        f'an identifier is the text "{text.strip()}": ODP merges all customers that'
        " have it. Log no identifier where there is none, or set reject_placeholders"
    )


def format_integer(value: int) -> str:
    """Return *value* as text of at most `MAX_TEXT` + 1 characters."""
    try:
        return str(value)
    except ValueError:  # more digits than sys.set_int_max_str_digits allows
        return f"{value:#x}"[: MAX_TEXT + 1]
