"""Objects within data that lie, raise, or do something while they are asked."""

from __future__ import annotations

import logging
from typing import Any

from .expected import Record, Sent, data, fields, value
from .hostile import (
    HUGE,
    Array,
    Bytes,
    Closed,
    Dict,
    Float,
    Id,
    Int,
    List,
    Map,
    Number,
    Pretender,
    Set,
    Span,
    Text,
    Tuple,
    doing,
    moment,
    nameless,
    raising,
    refuse,
    saying,
)

SUBCLASSES = [
    value("lying text", lambda: Text("truth"), "truth"),
    value("lying text, long", lambda: Text("x" * 2000), "x" * 1024, cut=1),
    value("lying text, huge", lambda: Text("x" * HUGE), "x" * 1024, cut=1),
    value("lying text, surrogate", lambda: Text("\ud800"), "\ufffd", surrogate=1),
    value("lying integer", lambda: Int(5), 5),
    value("lying integer, large", lambda: Int(2**60), str(2**60), integer=1),
    value("lying fraction", lambda: Float(0.5), 0.5),
    value("lying nan", lambda: Float("nan"), None, not_finite=1),
    value("lying bytes", lambda: Bytes(b"truth"), "truth"),
    value("lying bytearray", lambda: Array(b"truth"), "truth"),
    value("lying list", lambda: List([1, Int(2)]), [1, 2]),
    value("lying tuple", lambda: Tuple((1, 2)), [1, 2]),
    value("lying set", lambda: Set({1}), [1]),
    value("lying dict", lambda: Dict(a=Dict(b=1)), {"a": {"b": 1}}),
    data("data a lying dict", lambda: Dict(a=1, b=Text("c")), {"a": 1, "b": "c"}),
    value("lying Decimal", lambda: Number("1.5"), "9.99"),
    value("lying nan as Decimal", lambda: Number("NaN"), None, not_finite=1),
    value("lying UUID", lambda: Id(int=5), "an id"),
    value("lying timedelta", lambda: Span(minutes=1), 60.0),
    value("lying moment", lambda: moment(Text("noon")), "noon"),
    value(
        "moment of a hundred megabytes", lambda: moment("x" * HUGE), "x" * 1024, cut=1
    ),
    value("type that is nameless", nameless, "<Hidden>"),
    value(
        "type with a long name",
        lambda: type("N" * 3000, (), {"__str__": refuse})(),
        f"<{'N' * 1022}>",
    ),
    value("type that is an int's", lambda: type("Whole", (Int,), {})(7), 7),
]


def _map(text: str, keys: Any = ("a",), get: Any = refuse) -> Any:
    return type("Said", (Map,), {"__str__": lambda self: text})(keys, get)


RAISING = [
    value("str raises", raising("__str__"), "<Raising>"),
    value("repr raises", raising("__repr__"), "<Raising>"),
    value(
        "str raises MemoryError", raising("__str__", error=MemoryError()), "<Raising>"
    ),
    value(
        "str raises RecursionError",
        raising("__str__", error=RecursionError()),
        "<Raising>",
    ),
    value(
        "str raises StopIteration",
        raising("__str__", error=StopIteration()),
        "<Raising>",
    ),
    value(
        "str raises AttributeError",
        raising("__str__", error=AttributeError()),
        "<Raising>",
    ),
    value("eq raises", raising("__eq__", __str__=lambda self: "text"), "text"),
    value("hash raises", raising("__hash__", __str__=lambda self: "text"), "text"),
    value("len raises", raising("__len__", __str__=lambda self: "text"), "text"),
    value("bool raises", raising("__bool__", __str__=lambda self: "text"), "text"),
    value("iter raises", raising("__iter__", __str__=lambda self: "text"), "text"),
    value(
        "getattr raises", raising("__getattr__", __str__=lambda self: "text"), "text"
    ),
    value("format raises", raising("__format__", __str__=lambda self: "text"), "text"),
    value("closed", Closed, "<Closed>"),
    value("pretender", Pretender, "no dict"),
    value(
        "class raises",
        raising("__x__", __class__=property(refuse), __str__=lambda self: "text"),
        "text",
    ),
    value(
        "index raises",
        raising("__index__", "__float__", __str__=lambda self: "text"),
        "text",
    ),
    value("list of what raises", lambda: [raising("__str__")(), 1], ["<Raising>", 1]),
    value(
        "key and value raise",
        lambda: {raising("__str__")(): Closed()},
        {"<Raising>": "<Closed>"},
    ),
    value("mapping raises and says", lambda: _map("a map"), "a map"),
    value(
        "mapping yields what cannot be looked up",
        lambda: _map("no keys", [Closed()], {}.__getitem__),
        "no keys",
    ),
]


SAYING = [
    value("says none", lambda: saying(None), "<Saying>"),
    value("says bytes", lambda: saying(b"text"), "<Saying>"),
    value("says what lies", lambda: saying(Text("truth")), "truth"),
    value("says a hundred megabytes", lambda: saying("x" * HUGE), "x" * 1024, cut=1),
    value("says a surrogate", lambda: saying("\udc00"), "\ufffd", surrogate=1),
    value("says itself", lambda: _self(), "<Itself>"),
    value("calls itself", lambda: _endless(), "<Endless>"),
    value("says json", lambda: saying('{"a":1}'), '{"a":1}'),
]


def _self() -> Any:
    return type("Itself", (), {"__str__": lambda self: self})()


def _endless() -> Any:
    return type("Endless", (), {"__str__": lambda self: str(self)})()


def _sets_itself() -> dict[str, Any]:
    made = fields(data={})
    inner = made["odp_data"]
    inner["value"] = doing(lambda: inner.update(more=1, value="changed"))
    return made


def _empties() -> dict[str, Any]:
    made = fields(data={"a": [1, 2]})
    inner = made["odp_data"]
    inner["value"] = doing(inner["a"].clear)
    inner["last"] = 5
    return made


def _renames() -> dict[str, Any]:
    made = fields(data={})
    made["odp_data"]["value"] = doing(lambda: made.update(odp_action="changed"))
    return made


def _logs() -> Any:
    def log() -> None:
        logging.getLogger("nobody.listens").info("inside")

    return doing(log)


DOING = [
    Record("changes its dict", _sets_itself, Sent({"value": "done"})),
    Record(
        "empties its neighbour",
        _empties,
        Sent({"a": [1, 2], "value": "done", "last": 5}),
    ),
    Record("changes its record", _renames, Sent({"value": "done"})),
    value("logs without a tag", _logs, "done"),
]

RECORDS = [*SUBCLASSES, *RAISING, *SAYING, *DOING]
