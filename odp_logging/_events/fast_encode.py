"""
The fast path from captured fields to an event: one pass over plain values.

`Builder` tries `encode_plain` first and falls back to `event.make_event`, which defines
what an event is. Both give the same values; the fast path returns None when unsure.

Events of one log call have the same action and names. All JSON but the values is
constant, so it is built and checked once for each combination.
"""

from __future__ import annotations

import json as _json
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from .body import LIBRARY_DATA, SOURCE
from .event import EMPTY, OdpEvent, set_adjusted, set_identifiers, set_json
from .identifiers import is_alias, is_placeholder
from .lazy_event import LazyEvent
from .rules import DEFAULT_TYPE, MAX_INTEGER, MAX_TEXT

_MAX_IDENTIFIERS = 8
_MAX_DATA = 64
"""An event with more takes the general path. There is a compiled encoder for each pair
of numbers, so these also bound how many there can be."""


def encode_plain(fields: tuple[Any, ...], event_id: str) -> OdpEvent | None:
    """
    Return the event that `make_event` would build; None if a value may need adjusting.

    Accepts text, numbers, booleans and None within ODP's limits, which is nearly all
    that is ever logged. The event keeps the dict of identifiers itself, in which
    integers are replaced by text.

    Args:
        fields: The first seven fields of a `Capture`; any further ones are ignored.
            Keys of data are exact text, as the captures leave them.
        event_id: An id from `generate_ids`.
    """
    # Hot path of the flusher's thread: no calls to helpers for each value.
    action, identifiers, kind, data, stamp, time, own_id = fields[:7]
    if not (
        stamp is own_id is None
        and type(identifiers) is dict
        and (data is None or type(data) is dict)
        and type(action) is str
        and (kind is None or type(kind) is str)
        and type(time) is float
        and 0.0 <= time < _MAX_SECONDS
    ):
        return None
    data = data or _NO_DATA
    for key, value in identifiers.items():
        if type(key) is not str:
            return None
        if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
            # For an existing key: the dict is not resized in its loop.
            identifiers[key] = str(value)
    names = (kind, action, *identifiers, None, *data)
    encode = _encoders.get(names)
    try:
        if encode is None:
            encode = _add_encoder(names, action, identifiers, kind, data)
        json = encode(identifiers, data, event_id, int(time))
    except Exception:  # a value of another type, or one that needs adjusting
        return None
    if len(json) > MAX_TEXT and not _are_texts_short(identifiers, data):
        return None
    event = _new(LazyEvent)
    set_json(event, json)
    set_identifiers(event, MappingProxyType(identifiers))
    set_adjusted(event, EMPTY)
    return event


_new = object.__new__
_MAX_SECONDS = 1e11
"""Larger numbers are milliseconds, see `read_time`."""

_NO_DATA: Mapping[Any, Any] = {}


def _are_texts_short(identifiers: Mapping[Any, Any], data: Mapping[Any, Any]) -> bool:
    values = (*identifiers.values(), *data.values())
    return all(type(value) is not str or len(value) <= MAX_TEXT for value in values)


# Values.

_SUSPECT_ENDS = frozenset(
    [*")]deilnrsDEILNRS", *filter(str.isspace, map(chr, range(0x3001)))]
)
"""Last characters of placeholders and of blank text (U+3000 is the last blank). For
most identifiers, one look-up (30 ns) shows that they are neither."""


def _check_suspect(identifier: str) -> None:
    if identifier.isspace() or is_placeholder(identifier):
        raise ValueError("blank or a placeholder")


_quote: Callable[[str], str] = _json.encoder.encode_basestring
"""Encode text as JSON; `json` uses the same for ``ensure_ascii=False``."""


def _encode_float(value: float) -> str:
    if value - value != 0.0:
        raise ValueError("not finite")
    return repr(value)


def _encode_integer(value: int) -> str:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("too large")
    return repr(value)


_VALUE_ENCODERS: Mapping[type, Callable[[Any], str]] = {
    str: _quote,
    float: _encode_float,
    int: _encode_integer,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}


# Encoders, one for each combination of type, action and names.

_Encode = Callable[[Mapping[Any, Any], Mapping[Any, Any], str, int], bytes]
"""Returns the JSON for identifiers, data, event id and epoch seconds."""

_encoders: dict[tuple[Any, ...], _Encode] = {}

_MAX_ENCODERS = 256
"""An application may generate names. An encoder of 32 short names takes about 6 kB."""

_SOURCE_JSON = _json.dumps(dict(SOURCE), separators=(",", ":"))[1:-1]


def _add_encoder(
    names: tuple[Any, ...],
    action: str,
    identifiers: Mapping[Any, Any],
    kind: str | None,
    data: Mapping[Any, Any],
) -> _Encode:
    if len(identifiers) > _MAX_IDENTIFIERS or len(data) > _MAX_DATA:
        return _raise_unsupported  # not kept: so many names may take much memory
    if len(_encoders) >= _MAX_ENCODERS:
        _encoders.clear()
    encode = _raise_unsupported
    if _are_names_plain(action, identifiers, kind, data):
        bind = _compile_encoder(len(identifiers), len(data))
        parts = _build_constant_parts(action, identifiers, kind, data)
        encode = bind(_quote, _VALUE_ENCODERS, _SUSPECT_ENDS, _check_suspect, *parts)
    _encoders[names] = encode
    return encode


def _raise_unsupported(*args: Any) -> bytes:
    raise ValueError("these names need the general path")


def _are_names_plain(
    action: str,
    identifiers: Mapping[Any, Any],
    kind: str | None,
    data: Mapping[Any, Any],
) -> bool:
    return (
        len(identifiers) > 0
        and _is_short(action)
        and (kind is None or _is_short(kind))
        and all(map(_is_plain_name, (*identifiers, *data)))
        and all(name.strip() and not is_alias(name) for name in identifiers)
    )


def _is_short(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and not text.isspace()


def _is_plain_name(name: Any) -> bool:
    return type(name) is str and len(name) <= MAX_TEXT and name not in LIBRARY_DATA


def _build_constant_parts(
    action: str,
    identifiers: Mapping[Any, Any],
    kind: str | None,
    data: Mapping[Any, Any],
) -> list[str]:
    """Return the JSON before, between and after the values."""
    first, *rest = [_quote(name) for name in identifiers]
    return [
        f'{{"type":{_quote(kind or DEFAULT_TYPE)},"action":{_quote(action)},'
        f'"identifiers":{{{first}:',
        *[f",{name}:" for name in rest],
        '},"data":{"idempotence_id":"',
        f'",{_SOURCE_JSON},"ts":',
        *[f",{_quote(name)}:" for name in data],
        "}}",
    ]


@cache
def _compile_encoder(identifier_count: int, data_count: int) -> Callable[..., _Encode]:
    """
    Return a function that binds constant parts to an encoder of so many values.

    Compiled once for each pair of numbers, in 0.3 to 1.5 ms, because the encoder then
    takes half the time of a loop over the values (0.8 and 1.5 µs for the event of
    README). Its source depends on the two numbers only: no text of an application is
    ever compiled.
    """
    identifiers = [f"i{n}" for n in range(identifier_count)]
    data = [f"d{n}" for n in range(data_count)]
    values = [
        *(f"{{quote({name})}}" for name in identifiers),
        "{event_id}",
        "{seconds}",
        *(f"{{encoders[type({name})]({name})}}" for name in data),
    ]
    parts = [f"part{n}" for n in range(len(values) + 1)]
    text = "".join(f"{{{part}}}{value}" for part, value in zip(parts, values))
    checks = "".join(
        f"        if {name}[-1] in suspect_ends:\n            check({name})\n"
        for name in identifiers
    )
    source = f"""
def bind(quote, encoders, suspect_ends, check, {", ".join(parts)}):
    def encode(identifiers, data, event_id, seconds):
        [{", ".join(identifiers)}] = identifiers.values()
        [{", ".join(data)}] = data.values()
{checks}\
        return f'{text}{{{parts[-1]}}}'.encode()
    return encode
"""
    scope: dict[str, Any] = {}
    exec(compile(source, "<odp_logging encoder>", "exec"), scope)
    bind: Callable[..., _Encode] = scope["bind"]
    return bind
