"""What ODP would refuse about a request."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_EVENTS = 500
"""Events in one request, from ODP's page on batch requests."""

UNPARSABLE = "Unable to parse request body."

_MAX_DEPTH = 500


class Refusal(Exception):
    """ODP would refuse the request, with *status* and one of the details."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        invalids: Mapping[int, str] | None = None,
        events: list[Any] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.message = message
        self.invalids = dict(invalids or {})
        self.events = events or []


def read_events(headers: Mapping[str, str], body: bytes, *, key: str | None) -> Any:
    """The events of a request; raises `Refusal` where ODP would refuse it.

    Args:
        headers: by lower-case name.
        key: the only one to accept; None accepts any that is not empty.
    """
    _check_key(headers.get("x-api-key", ""), key)
    _check_type(headers.get("content-type", ""))
    events = _parse(body)
    if len(events) > MAX_EVENTS:
        message = f"A maximum batch size of {MAX_EVENTS} is allowed in a request."
        raise Refusal(400, message, events=events)
    invalids = {
        index: reason
        for index, event in enumerate(events)
        if (reason := invalid_reason(event)) is not None
    }
    if invalids:
        raise Refusal(400, invalids=invalids, events=events)
    return events


def parse_json(body: bytes) -> Any:
    """The value of a strict UTF-8 JSON text; raises ValueError for anything else."""
    try:
        # Not json.loads: it would take UTF-16 and UTF-32 from bytes.
        value = _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if body.count(b"[") + body.count(b"{") > _MAX_DEPTH and _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    # What can just be read cannot be written any more by who has called a little
    # deeper: one such event would end each page's stream, now and at every return.
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return False
        level = inner
    return True


def invalid_reason(event: Any) -> str | None:
    """Why ODP would refuse *event*, in ODP's words where they are known."""
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
    return _invalid_identifiers(event.get("identifiers"))


def _invalid_identifiers(identifiers: Any) -> str | None:
    if identifiers is None or identifiers == {}:
        return "missing 'identifiers' field"
    if not isinstance(identifiers, dict):
        return "'identifiers' field must be an object"
    for name, value in identifiers.items():
        if not isinstance(value, str):
            return f"identifier '{name[:64]}' must be text"
    return None


def _check_key(given: str, key: str | None) -> None:
    if not given or (key is not None and given != key):
        raise Refusal(403)


def _check_type(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "Content-Type must be application/json.")


def _parse(body: bytes) -> list[Any]:
    try:
        value = parse_json(body)
    except ValueError:
        raise Refusal(400, UNPARSABLE) from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise Refusal(400, UNPARSABLE)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # 1e999 is JSON but would come back as Infinity, which is not.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
