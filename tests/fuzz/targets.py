"""What is fuzzed, and what holds of it whatever it is given."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from odp_logging import InvalidEventError, OdpEvent
from odp_logging._delivery import Cause, Delivery
from odp_logging._making import Builder
from odp_logging._mapping import Capture, capture
from odp_logging._plain import MAX_TEXT, MAX_VALUES, Unfit
from odp_logging.transports._http import parse_retry_after, read_answer

from .decode import Reader

TIME = 1.7e9
NOW = 784111777.0

_FIELDS = {
    "a": "odp_action",
    "i": "odp_identifiers",
    "y": "odp_type",
    "d": "odp_data",
    "t": "odp_timestamp",
    "k": "odp_idempotence_id",
    "I": "identifiers",
    "D": "data",
    "B": "bound",
    "r": "redact",
}
_STATUSES = (200, 202, 204, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 503)


def mapping(data: bytes) -> None:
    """Whatever is logged becomes an event or a reason, and nothing of it lasts."""
    fields = _read(Reader(data))
    redact = frozenset(map(str, _texts(fields.pop("redact", ()))))
    named = fields.pop("identifiers", None)
    more = fields.pop("data", None)
    defaults: dict[str, Any] = {
        "default_identifiers": named if type(named) is dict else {},
        "default_data": more if type(more) is dict else {},
        "redact": redact,
    }
    bound = ((), (_frozen(fields.pop("bound", None)),))
    logged = capture(
        fields, time=TIME, origin=("shop.py", 5), bound=bound, redact=redact
    )
    _lasts(logged)
    try:
        event = Builder(**defaults)(logged)
    except InvalidEventError as error:
        assert error.reason and str(error).isprintable()
        return
    assert event is not None
    check(event)
    again = Builder(**defaults)(logged)
    assert again is not None and _without_id(again) == _without_id(event)
    assert logged.size >= 0


def event(data: bytes) -> None:
    """OdpEvent refuses, or is an event that ODP takes."""
    fields = _read(Reader(data))
    try:
        made = OdpEvent(
            fields.get("odp_action", "viewed"),
            fields.get("odp_identifiers", {"fs_user_id": "u1"}),
            fields.get("odp_type"),
            fields.get("odp_data"),
            timestamp=fields.get("odp_timestamp"),
            idempotence_id=fields.get("odp_idempotence_id"),
        )
    except InvalidEventError as error:
        assert error.reason and str(error)
    else:
        check(made)


def answer(data: bytes) -> None:
    """Every answer accepts, rejects or leaves pending each event of the batch."""
    reader = Reader(data)
    status, size = abs(reader.number(999)), abs(reader.number(600)) or 1
    status = status if status >= 100 else _STATUSES[status % len(_STATUSES)]
    headers = {"Retry-After": reader.text(), "Content-Type": reader.text()}
    headers = {name: text for name, text in headers.items() if text}
    content: bytes | None = reader.rest()
    made = read_answer(
        status, headers, None if content == b"-" else content, size, "https://odp.test"
    )
    partitions(made, size)
    assert (status // 100 == 2) or not made.accepted
    waits = parse_retry_after(headers.get("Retry-After"), NOW)
    assert 0.0 <= waits < math.inf
    assert not made.retry_after or headers.get("Retry-After")


def partitions(made: Delivery, size: int) -> None:
    """Assert that *made* says one thing of each event."""
    assert type(made) is Delivery and made.size == size
    told = [*made.accepted, *made.rejected, *made.pending]
    assert sorted(told) == list(range(size))
    assert made.in_doubt <= set(made.pending)
    assert made.cause is None if not made.pending else type(made.cause) is Cause
    assert 0.0 <= made.retry_after < math.inf
    for line in (made.message, *made.rejected.values()):
        assert line.isprintable() and len(line) <= 300
    assert all(made.rejected.values())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "mapping": mapping,
    "event": event,
    "answer": answer,
}


def _read(reader: Reader) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    while reader.more():
        name = _FIELDS.get(reader.letter())
        if name is not None:
            fields[name] = reader.value()
    return fields


def _texts(value: Any) -> list[str]:
    values = value if type(value) in (list, tuple) else [value]
    return [each for each in values if type(each) is str]


def _frozen(value: Any) -> dict[str, Any]:
    # What is bound was checked when it was bound.
    made: dict[str, Any] = {}
    if type(value) is dict:
        made = {key: str(type(each)) for key, each in value.items() if type(key) is str}
    return made


def _lasts(logged: Capture) -> None:
    for part in logged[:5]:
        _exact(part)
    _exact(logged.idempotence_id)


def _exact(value: Any) -> None:
    """Assert that *value* is of built-in types alone, with nobody else's code in it."""
    kind = type(value)
    if kind is dict:
        for key, each in value.items():
            assert type(key) is str and len(key) <= MAX_TEXT + 1
            _exact(each)
    elif kind is list:
        for each in value:
            _exact(each)
    elif kind is str:
        assert len(value) <= MAX_TEXT + 1
    else:
        lasting = (int, float, bool, type(None), Unfit, InvalidEventError)
        assert any(kind is each for each in lasting) or kind.__module__ == "datetime"


def check(made: OdpEvent) -> None:
    """Assert that *made* is one that ODP takes, and stays the same."""
    sent = json.loads(made.json.decode("utf-8"), parse_constant=_refused)
    assert set(sent) == {"type", "action", "identifiers", "data"}
    for name in ("type", "action"):
        assert type(sent[name]) is str and sent[name].strip()
    assert sent["identifiers"]
    for key, text in sent["identifiers"].items():
        assert key.strip() and len(key) <= MAX_TEXT
        assert type(text) is str and text.strip() and len(text) <= MAX_TEXT
        assert key == "fs_user_id" or key.lower().replace("-", "_") != "fs_user_id"
    assert type(sent["data"]["idempotence_id"]) is str
    assert sent["data"]["idempotence_id"].strip()
    assert _fits(sent, depth=-1) <= 4 * MAX_VALUES
    assert made.to_dict() == sent and made.size == len(made.json)
    same = dataclasses.replace(made)
    assert same.json == made.json and same == made and not same.adjusted
    assert repr(made).isprintable() or not made.action.isprintable() or made.type


def _refused(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


def _fits(value: Any, depth: int) -> int:
    """Assert that *value* is within ODP's limits; return how many values it holds."""
    assert depth <= 9
    if isinstance(value, str):
        assert len(value) <= MAX_TEXT
    elif type(value) is int:
        assert abs(value) <= 2**53
    elif type(value) is float:
        assert math.isfinite(value)
    elif isinstance(value, list):
        return 1 + sum(_fits(each, depth + 1) for each in value)
    elif isinstance(value, dict):
        assert all(len(key) <= MAX_TEXT for key in value)
        return 1 + sum(_fits(each, depth + 1) for each in value.values())
    return 1


def _without_id(made: OdpEvent) -> Any:
    body = made.to_dict()
    body["data"].pop("idempotence_id")
    return body
