"""The short way to an event: one pass over what needs no adjusting.

What an event is, `_event` says; this makes the same of what is nearly always logged,
for a fraction of the time. Wherever it is not sure, it makes nothing.
"""

from __future__ import annotations

import json as _json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ._event import MAX_INTEGER, OWN_DATA, SOURCE, OdpEvent, made_of
from ._identifiers import is_alias
from ._plain import DEFAULT_TYPE, MAX_TEXT, MAX_VALUES

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def ordinary(
    action: str,
    identifiers: Mapping[Any, Any],
    kind: str | None,
    data: Mapping[Any, Any] | None,
    seconds: float,
    event_id: str,
) -> OdpEvent | None:
    """
    Return what `OdpEvent` makes of the same, for a fraction of it; None if unsure.

    For text, numbers, booleans and None that need no adjusting, which is nearly all
    that is ever logged: each value is looked at once. *identifiers* is taken over.

    Args:
        event_id: One of `new_ids`.
    """
    head = _heads.get((kind, action)) or _new_head(kind, action)
    if not head or not 0 < len(identifiers) <= MAX_VALUES:
        return None
    if data and len(data) > MAX_VALUES:
        return None
    made = {"idempotence_id": event_id, **_source, "ts": math.floor(seconds)}
    if data:
        made.update(data)
    kind = kind or DEFAULT_TYPE
    try:
        if _fast is None:
            texts = _spelt(identifiers, data or _EMPTY)
            if texts is None:
                return None
            json = (
                f'{head}{texts[0]}}},"data":{{"idempotence_id":"{event_id}",{_SOURCE},'
                f'"ts":{made["ts"]}{texts[1]}}}}}'
            ).encode()
        elif _is_usual(identifiers, data or _EMPTY):
            json = _fast(
                {
                    "type": kind,
                    "action": action,
                    "identifiers": identifiers,
                    "data": made,
                }
            )
        else:
            return None
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return made_of(kind, action, identifiers, made, json)


def _is_usual(identifiers: Mapping[Any, Any], data: Mapping[Any, Any]) -> bool:
    """Whether nothing in both needs adjusting."""
    for key, value in identifiers.items():
        if type(value) is not str or not 0 < len(value) <= MAX_TEXT or value.isspace():
            return False
        if type(key) is not str or not (key in _naming or _new_name(key, _naming)):
            return False
    for key, value in data.items():
        if type(key) is not str or not (key in _telling or _new_name(key, _telling)):
            return False
        if type(value) is str:
            if len(value) > MAX_TEXT:
                return False
        elif type(value) is float:
            if value - value != 0.0:  # not finite
                return False
        elif type(value) is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                return False
        elif type(value) is not bool and value is not None:
            return False
    return True


def _spelt(
    identifiers: Mapping[Any, Any], data: Mapping[Any, Any]
) -> tuple[str, str] | None:
    """Do as `_is_usual`, and return the JSON within the braces of both; None if not."""
    named = []
    for key, value in identifiers.items():
        if type(value) is not str or not 0 < len(value) <= MAX_TEXT or value.isspace():
            return None
        name = type(key) is str and (_naming.get(key) or _new_name(key, _naming))
        if not name:
            return None
        named.append(name + _quoted(value))
    told = []
    for key, value in data.items():
        name = type(key) is str and (_telling.get(key) or _new_name(key, _telling))
        if not name:
            return None
        if type(value) is str:
            if len(value) > MAX_TEXT:
                return None
            told.append(name + _quoted(value))
        elif type(value) is float:
            if value - value != 0.0:  # not finite
                return None
            told.append(name + repr(value))
        elif type(value) is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                return None
            told.append(name + repr(value))
        elif value is None or type(value) is bool:
            told.append(name + ("null" if value is None else repr(value).lower()))
        else:
            return None
    return ",".join(named), "".join(told)


_quoted = _json.encoder.encode_basestring
"""A text as JSON; `json` itself uses it for ``ensure_ascii=False``."""

_source = dict(SOURCE)
_SOURCE = _json.dumps(_source, separators=(",", ":"))[1:-1]

# What recurs in every event, as JSON: written once, and kept within bounds.
_heads: dict[tuple[str | None, str], str] = {}
_naming: dict[str, str] = {}
_telling: dict[str, str] = {}
_KEPT = 1000


def _new_head(kind: str | None, action: str) -> str:
    for text in (action, "x" if kind is None else kind):
        if not text or len(text) > MAX_TEXT or text.isspace():
            return ""
    head = (
        f'{{"type":{_quoted(kind or DEFAULT_TYPE)},"action":{_quoted(action)},'
        '"identifiers":{'
    )
    if len(_heads) < _KEPT:
        _heads[kind, action] = head
    return head


def _new_name(key: str, names: dict[str, str]) -> str:
    """Return *key* as JSON, for identifiers without a comma; "" if it is special."""
    if len(key) > MAX_TEXT or key in OWN_DATA:
        return ""
    if names is _naming:
        if not key.strip():
            return ""
        if is_alias(key):
            return ""
    name = f"{_quoted(key)}:" if names is _naming else f",{_quoted(key)}:"
    if len(names) < _KEPT:
        names[key] = name
    return name


_fast: Callable[[Any], bytes] | None = None
"""msgspec's encoder, once it is loaded."""


def load_encoder() -> None:
    """Encode with msgspec from now on if it is installed, by the extra ``fast``."""
    global _fast
    try:
        from msgspec.json import Encoder

        _fast = Encoder().encode
    except ImportError:
        pass
