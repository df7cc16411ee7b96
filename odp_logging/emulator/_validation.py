"""Validation of a request as ODP does it; `_api` calls it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_EVENTS = 500
"""Events in one request, according to ODP's page on batch requests."""

UNPARSABLE = "Unable to parse request body."

_MAX_DEPTH = 500
"""Levels of lists and objects. json.dumps raises RecursionError for deeper ones, which
would end the stream of every open page."""

MAX_CONTAINERS = 100_000
"""Lists and objects in one body: an object with one field takes 7 bytes of JSON, but
230 bytes of memory."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.?[^"\\]*)*"?', re.DOTALL)
_REMOVED_BYTES = bytes(set(range(256)) - set(b"[]{}"))


class Refusal(Exception):
    """
    ODP refuses the request, with *status* and one of the details.

    Args:
        note: what the emulator knows and ODP's response does not say.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        invalids: Mapping[int, str] | None = None,
        events: list[Any] | None = None,
        note: str = "",
    ) -> None:
        super().__init__(status)
        self.status = status
        self.message = message
        self.invalids = dict(invalids or {})
        self.events = events or []
        self.note = note


def read_events(headers: Mapping[str, str], body: bytes, *, key: str | None) -> Any:
    """Return the events of a request; raise `Refusal` where ODP refuses it.

    Args:
        headers: by lower-case name.
        key: the only accepted one; None accepts any that is not empty.
    """
    check_key(headers, key)
    _check_type(headers.get("content-type", ""))
    events = _parse_events(body)
    if len(events) > MAX_EVENTS:
        message = f"A maximum batch size of {MAX_EVENTS} is allowed in a request."
        note = f"the request has {len(events)} events"
        raise Refusal(400, message, events=events, note=note)
    invalids = {
        index: reason
        for index, event in enumerate(events)
        if (reason := find_invalid_reason(event)) is not None
    }
    if invalids:
        raise Refusal(400, invalids=invalids, events=events)
    return events


class TooManyError(ValueError):
    """A JSON text has more than `MAX_CONTAINERS` lists and objects."""


def parse_json(body: bytes) -> Any:
    """Return the value of a strict UTF-8 JSON text; raise ValueError otherwise."""
    # Checked before parsing: the parser recurses on the C stack.
    if body.count(b"[") + body.count(b"{") > _MAX_DEPTH:
        _check_brackets(_STRING.sub(b"", body).translate(None, _REMOVED_BYTES))
    try:
        # Not json.loads, which accepts UTF-16 and UTF-32 from bytes.
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _check_brackets(brackets: bytes) -> None:
    depth = 0
    for bracket in brackets[: 2 * MAX_CONTAINERS]:
        depth += 1 if bracket in b"[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
    if brackets.count(b"[") + brackets.count(b"{") > MAX_CONTAINERS:
        raise TooManyError(f"more than {MAX_CONTAINERS:,} lists and objects")


def find_invalid_reason(event: Any) -> str | None:
    """Return why ODP refuses *event*, in ODP's words where known, or None."""
    if not isinstance(event, dict):
        return "event must be an object"
    for name in ("type", "action"):
        value = event.get(name)
        if value is None or value == "":
            return f"missing '{name}' field"
        if not isinstance(value, str):
            return f"'{name}' field must be text"
    if "data" in event and not isinstance(event["data"], dict):
        return "'data' field must be an object"
    return _find_invalid_identifier(event.get("identifiers"))


def _find_invalid_identifier(identifiers: Any) -> str | None:
    if identifiers is None or identifiers == {}:
        return "missing 'identifiers' field"
    if not isinstance(identifiers, dict):
        return "'identifiers' field must be an object"
    for name, value in identifiers.items():
        if not isinstance(value, str):
            return f"identifier '{name[:64]}' must be text"
    return None


def check_key(headers: Mapping[str, str], key: str | None) -> None:
    """Raise `Refusal` for a request without the *key*; None accepts any."""
    given = headers.get("x-api-key")
    if given is None:
        raise Refusal(403, note="the header x-api-key is missing")
    if not given:
        raise Refusal(403, note="x-api-key was empty")
    if key is not None and given != key:
        raise Refusal(403, note="x-api-key is not the key that this emulator accepts")


def _check_type(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        note = f"it was {content_type:.60}" if content_type else "it was not given"
        raise Refusal(415, "Content-Type must be application/json.", note=note)


def _parse_events(body: bytes) -> list[Any]:
    try:
        value = parse_json(body)
    except TooManyError as error:
        raise Refusal(413, f"The body has {error}.") from None
    except ValueError as error:
        note = _format_parse_error(body, error)
        raise Refusal(400, UNPARSABLE, note=note) from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise Refusal(400, UNPARSABLE, note="it is not an event, nor a list of events")
    return value


def _format_parse_error(body: bytes, error: ValueError) -> str:
    """Return why *body* is not JSON, without any of its text."""
    if not body.strip():
        return "it is empty"
    if body.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start + 1:,}"
    if isinstance(error, json.JSONDecodeError):
        message = error.msg[:1].lower() + error.msg[1:].removesuffix(" starting at")
        total = len(error.doc)
        if error.pos >= total:
            return f"{message}, at the end of its {total:,} characters"
        return f"{message}, at character {error.pos + 1:,} of {total:,}"
    return str(error)


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    # 1e999 is JSON, but json.dumps would write Infinity, which is not.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_parse_finite)
