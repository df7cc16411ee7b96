"""
Builds the body of an event from parts of any type, in the form in which ODP gets it.

`event.make_event` calls `build_body`. ODP's rules, and what happens to other values:

* ``type``, ``action`` and at least one identifier are required; identifier values are
  text (ODP's OpenAPI file for ``/v3/events``).
* Text is at most 1,024 characters, numbers are plain decimals (ODP developer docs,
  "Objects and fields"); the Go SDK refuses integers beyond 2**53, this library
  sends them as text.
* ``fs-user-id``, ``FS_USER_ID`` and ``FS-USER-ID`` mean ``fs_user_id`` (every SDK).
* ``data`` starts with the SDKs' default data, which the caller's keys override.
"""

from __future__ import annotations

import json as _json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .._runtime.diagnostics import make_printable
from .._version import VERSION
from ..exceptions import InvalidEventError
from .adjustments import Adjustments, record_adjustment
from .identifiers import format_integer, normalize_identifiers
from .ids import generate_id
from .normalize import (
    Unsupported,
    freeze_identifier,
    freeze_mapping,
    freeze_text,
    get_type_name,
)
from .rules import DEFAULT_TYPE, MAX_DEPTH, MAX_INTEGER, MAX_TEXT

SOURCE: Mapping[str, str] = MappingProxyType(
    {
        "data_source_type": "sdk",
        "data_source": "odp-logging",
        "data_source_version": VERSION,
    }
)
"""Default data that names the sender; the caller's keys override it, as in the SDKs."""

_MAX_SHOWN_NAMES = 3

LIBRARY_DATA = frozenset({"idempotence_id", *SOURCE, "ts"})
"""Keys in every event. Not counted, so that a full event can be rebuilt."""


def build_body(
    action: Any,
    identifiers: Any,
    kind: Any,
    data: Any,
    seconds: int | str | None,
    idempotence_id: Any,
    *,
    adjustments: Adjustments,
    reject_placeholders: bool = False,
) -> tuple[dict[str, Any], bytes]:
    """
    Return the body of an event, and its JSON; see `event.make_event`.

    Raises:
        InvalidEventError: See `OdpEvent`.
    """
    body: dict[str, Any] = {
        "type": _read_name(kind, "type", adjustments) or DEFAULT_TYPE,
        "action": _require_action(_read_name(action, "action", adjustments)),
        "identifiers": normalize_identifiers(
            identifiers, adjustments, reject_placeholders=reject_placeholders
        ),
    }
    _require_identifiers(body, adjustments)
    body["data"] = _build_data(data, seconds, idempotence_id, adjustments)
    try:
        return body, _encode(body)
    except UnicodeEncodeError:  # a lone surrogate
        record_adjustment(adjustments, "surrogate")
        body = _replace_surrogates(body)
        return body, _encode(body)


def _read_name(value: Any, field: str, adjustments: Adjustments) -> str:
    """Return an action or type as text; "" if it is empty."""
    plain = freeze_text(value)
    if plain is None:
        return ""
    if type(plain) is Unsupported:
        raise InvalidEventError(
            f"odp_{field} must be text, not {get_type_name(value)}",
            reason=f"bad_{field}",
        )
    return _truncate(plain, adjustments) if plain.strip() else ""


def _truncate(text: str, adjustments: Adjustments) -> str:
    if len(text) <= MAX_TEXT:
        return text
    # It is not documented whether ODP cuts a longer text or rejects its event.
    record_adjustment(adjustments, "cut")
    return text[:MAX_TEXT]


def _require_action(action: str) -> str:
    if not action:
        raise InvalidEventError(
            'the action is empty; pass odp_action="purchased" or the like',
            reason="no_action",
        )
    return action


def _require_identifiers(body: dict[str, Any], adjustments: Adjustments) -> None:
    if body["identifiers"]:
        return
    kind = f"{_format_name(body['type'])}/{_format_name(body['action'])}"
    left_out = adjustments.messages.get("identifier")
    if left_out:
        raise InvalidEventError(
            f"no identifiers in {kind}, which was not sent: {left_out} was left out;"
            " pass text that names one customer",
            reason="no_identifiers",
        )
    if adjustments.empty_names:
        raise InvalidEventError(
            f"no identifiers in {kind}, which was not sent:"
            f" {_format_empty_names(adjustments.empty_names)} empty; pass text that"
            " names one customer",
            reason="no_identifiers",
        )
    raise InvalidEventError(
        f"no identifiers in {kind}, which was not sent; pass"
        ' odp_identifiers={"email": ...} or bind them once:'
        " odp_logging.bind_identifiers(fs_user_id=...)",
        reason="no_identifiers",
    )


def _format_empty_names(names: tuple[str, ...]) -> str:
    shown = [_format_name(name) for name in dict.fromkeys(names)]
    if len(shown) > _MAX_SHOWN_NAMES:
        shown[_MAX_SHOWN_NAMES:] = [f"{len(shown) - _MAX_SHOWN_NAMES} more"]
    return f"{' and '.join(shown)} {'is' if len(shown) == 1 else 'are'}"


def _format_name(name: str) -> str:
    """Return a type or action in a form that a message can show."""
    return make_printable(name[:60])


def _build_data(
    data: Any, seconds: int | str | None, idempotence_id: Any, adjustments: Adjustments
) -> dict[str, Any]:
    # The id is set at the end; its key keeps the first position, as in the SDKs.
    built: dict[str, Any] = {"idempotence_id": None, **SOURCE}
    if seconds is not None:
        built["ts"] = seconds
    if data is not None:
        try:
            plain = freeze_mapping(data, uncounted=LIBRARY_DATA)
        except TypeError:
            raise InvalidEventError(
                f"odp_data must be a dict, not {get_type_name(data)};"
                ' pass odp_data={"item": "shirt"}',
                reason="bad_data",
            ) from None
        for key, value in plain.items():
            if key == "idempotence_id":  # not truncated: it could equal another event's
                built[key] = value
                continue
            kind = type(value)
            short = kind is str and len(value) <= MAX_TEXT
            fits = short or kind is bool or value is None
            built[_truncate(key, adjustments)] = (
                value if fits else _adjust(value, adjustments, 1)
            )
        # A ts of None in data does not remove the time of the log call.
        if seconds is not None and built["ts"] is None:
            built["ts"] = seconds
    given = _read_idempotence_id(idempotence_id, adjustments)
    if not given:
        given = _read_idempotence_id(built["idempotence_id"], adjustments)
    built["idempotence_id"] = given or generate_id()
    return built


def _read_idempotence_id(value: Any, adjustments: Adjustments) -> str:
    """Return an idempotence id as text; "" if it is empty or cannot be kept."""
    plain = freeze_identifier(value)
    if plain is None or plain == "":
        return ""
    if type(plain) is int:
        plain = format_integer(plain)
    if type(plain) is str and len(plain) <= MAX_TEXT:
        if not plain.strip():
            return ""
        try:
            plain.encode()
        except UnicodeEncodeError:
            pass
        else:
            return plain
    # A changed id could equal another event's, which ODP would treat as a duplicate.
    record_adjustment(adjustments, "idempotence_id")
    adjustments.messages.setdefault(
        "idempotence_id",
        f"odp_idempotence_id cannot be kept as it is ({get_type_name(value)}); the"
        f" event is sent with a new id. Pass text of {MAX_TEXT:,} characters at most",
    )
    return ""


def _adjust(value: Any, adjustments: Adjustments, depth: int) -> Any:
    """Return a frozen *value* within ODP's limits; count what had to change."""
    kind = type(value)
    if kind is str:
        return _truncate(value, adjustments)
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        record_adjustment(adjustments, "integer")
        return _truncate(format_integer(value), adjustments)
    if kind is float:
        if math.isfinite(value):
            return value
        # JSON has no NaN and no infinity (RFC 8259, section 6); ODP accepts null.
        record_adjustment(adjustments, "not_finite")
        return None
    if kind is not dict and kind is not list:
        return value
    if depth > MAX_DEPTH:  # `freeze` keeps one level more, so that it is counted here
        record_adjustment(adjustments, "depth")
        return None
    if kind is list:
        return [_adjust(item, adjustments, depth + 1) for item in value]
    return {
        _truncate(key, adjustments): _adjust(item, adjustments, depth + 1)
        for key, item in value.items()
    }


def _replace_surrogates(value: Any) -> Any:
    if type(value) is str:
        # A pair of surrogates becomes its character, a lone one U+FFFD.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is list:
        return [_replace_surrogates(item) for item in value]
    if type(value) is dict:
        return {
            _replace_surrogates(key): _replace_surrogates(item)
            for key, item in value.items()
        }
    return value


# No check for cycles and none for NaN: `freeze` limits the depth, `_adjust` has
# replaced numbers that are not finite.
_encode_as_text: Callable[[Any], str] = _json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def _encode_with_json(body: Any) -> bytes:
    return _encode_as_text(body).encode()


_encode: Callable[[Any], bytes] = _encode_with_json


def load_encoder() -> None:
    """Use msgspec from now on, if it is installed (the extra ``fast``)."""
    global _encode
    try:
        from msgspec.json import Encoder

        _encode = Encoder().encode
    except ImportError:
        pass
