"""Changes right after the log call: what is sent is what was there then."""

from __future__ import annotations

from collections import UserDict, UserList, deque
from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType
from typing import Any

from .expected import WHO, Fields, Record, Rejected, Sent, fields
from .hostile import Armed, Shop, Text, doing, moment


def _value(
    name: str, make: Callable[[], Any], becomes: Any, change: Callable[[Any], object]
) -> Record:
    """Return a record whose one value is changed once it is logged."""
    return Record(
        f"changed {name}",
        lambda: fields(data={"value": make()}),
        Sent({"value": becomes}),
        lambda made: change(made["odp_data"]["value"]),
    )


def _record(
    name: str, make: Callable[[], Fields], becomes: Sent, change: Callable[..., object]
) -> Record:
    return Record(f"changed {name}", make, becomes, change)


class _Said:
    text = "before"

    def __str__(self) -> str:
        return self.text


def _say(said: Any) -> None:
    type(said).__str__ = lambda self: "after"


def _close(each: Any) -> None:
    def refuse(self: Any) -> str:
        raise RuntimeError("after")

    type(each).__str__ = refuse


def _arm(made: Fields) -> None:
    for key in made["odp_data"]:
        key.armed = True


def _view(inner: Any) -> Any:
    return type("Seen", (), {"inner": inner, "__str__": lambda self: str(inner)})()


def _backed() -> Fields:
    behind = dict(WHO)
    made = fields(identifiers=MappingProxyType(behind))
    made["behind"] = behind
    return made


RECORDS = [
    _value("list", lambda: [1, 2], [1, 2], lambda each: each.append(3)),
    _value("list emptied", lambda: [1, 2], [1, 2], lambda each: each.clear()),
    _value("inner list", lambda: [[1]], [[1]], lambda each: each[0].append(2)),
    _value("dict", lambda: {"a": 1}, {"a": 1}, lambda each: each.update(a=2, b=3)),
    _value("inner dict", lambda: [{"a": 1}], [{"a": 1}], lambda each: each[0].clear()),
    _value("set", lambda: {1}, [1], lambda each: each.add(2)),
    _value("deque", lambda: deque([1]), [1], lambda each: each.appendleft(0)),
    _value("bytearray", lambda: bytearray(b"ab"), "ab", lambda each: each.clear()),
    _value("UserDict", lambda: UserDict(a=1), {"a": 1}, lambda each: each.pop("a")),
    _value("UserList", lambda: UserList([1]), "[1]", lambda each: each.append(2)),
    _value("list in a tuple", lambda: ([1],), [[1]], lambda each: each[0].pop()),
    _value("object's text", lambda: type("Said", (_Said,), {})(), "before", _say),
    _value("object that closes", lambda: doing(int, "before"), "before", _close),
    _value(
        "what an object shows",
        lambda: _view([1]),
        "[1]",
        lambda each: each.inner.append(2),
    ),
    _value(
        "lying text",
        lambda: Text("before"),
        "before",
        lambda each: setattr(each, "text", "after"),
    ),
    _value(
        "moment's text",
        lambda: moment("before"),
        "before",
        lambda each: setattr(type(each), "isoformat", lambda self: "after"),
    ),
    _value("list made a ring", lambda: [1], [1], lambda each: each.append(each)),
    _value("list made long", lambda: [1], [1], lambda each: each.extend([0] * 20_000)),
    _value("list made deep", lambda: [[]], [[]], lambda each: each[0].append([[[]]])),
    _record(
        "data",
        lambda: fields(data={"a": 1}),
        Sent({"a": 1}),
        lambda made: made["odp_data"].update(a=2, b=float("nan")),
    ),
    _record(
        "data emptied",
        lambda: fields(data={"a": [1], "b": 2}),
        Sent({"a": [1], "b": 2}),
        lambda made: made["odp_data"].clear(),
    ),
    _record(
        "identifiers",
        lambda: fields(),
        Sent(),
        lambda made: made["odp_identifiers"].update(fs_user_id="u2"),
    ),
    _record(
        "identifiers emptied",
        lambda: fields(),
        Sent(),
        lambda made: made["odp_identifiers"].clear(),
    ),
    _record(
        "identifiers behind a proxy",
        _backed,
        Sent(),
        lambda made: made["behind"].clear(),
    ),
    _record(
        "identifier's list",
        lambda: fields(identifiers={"id": [1], **WHO}),
        Sent(adjusted={"identifier": 1}),
        lambda made: made["odp_identifiers"]["id"].clear(),
    ),
    _record(
        "action",
        lambda: fields(action=bytearray(b"viewed")),
        Rejected("bad_action"),
        lambda made: made["odp_action"].extend(b" twice"),
    ),
    _record(
        "type",
        lambda: fields(type=bytearray(b"order")),
        Rejected("bad_type"),
        lambda made: made["odp_type"].clear(),
    ),
    _record(
        "time",
        lambda: fields(timestamp=moment("2010-12-01")),
        Sent(ts="2010-12-01"),
        lambda made: setattr(type(made["odp_timestamp"]), "isoformat", None),
    ),
    _record(
        "time zone",
        lambda: fields(timestamp=datetime(1970, 1, 1, 1, tzinfo=Shop())),
        Sent(ts=0),
        lambda made: setattr(made["odp_timestamp"].tzinfo, "hours", 5),
    ),
    _record(
        "idempotence id",
        lambda: fields(idempotence_id=bytearray(b"id-before")),
        Sent(adjusted={"idempotence_id": 1}),
        lambda made: made["odp_idempotence_id"].clear(),
    ),
    _record(
        "fields",
        lambda: fields(data={"a": 1}),
        Sent({"a": 1}),
        lambda made: made.clear(),
    ),
    _record(
        "key",
        lambda: fields(data={Armed(): 1}),
        Sent({"armed": 1}),
        _arm,
    ),
]
