"""Depth, cycles and sizes of data."""

from __future__ import annotations

import itertools
import re
from collections import (
    ChainMap,
    Counter,
    OrderedDict,
    UserDict,
    UserList,
    defaultdict,
    deque,
    namedtuple,
)
from types import MappingProxyType
from typing import Any

from .expected import Record, Rejected, Sent, data, fields, value
from .hostile import (
    Closed,
    EndlessDict,
    Map,
    NoPairs,
    Pretender,
    nameless,
    refuse,
    saying,
)

Point = namedtuple("Point", "x y")
MANY = "too_many_values"


def _refused(name: str, make: Any, reason: str = "bad_data") -> Record:
    return Record(f"data {name}", lambda: fields(data=make()), Rejected(reason))


def _lists(depth: int) -> Any:
    made: Any = "end"
    for _ in range(depth):
        made = [made]
    return made


def _tuples(depth: int) -> Any:
    made: Any = ()
    for _ in range(depth):
        made = (made,)
    return made


def _dicts(depth: int, made: Any = "end") -> Any:
    for _ in range(depth):
        made = {"a": made}
    return made


def _user_lists(depth: int) -> Any:
    made: Any = UserList()
    for _ in range(depth):
        made = UserList([made])
    return made


def _ring() -> Any:
    made: list[Any] = [1]
    made.append(made)
    return made


def _rung(depth: int) -> Any:
    made: Any = [1, None]
    for _ in range(depth):
        made = [1, made]
    return made


def _dict_ring() -> Any:
    made: dict[str, Any] = {}
    made["a"] = made
    return made


def _tuple_ring() -> Any:
    inner: list[Any] = []
    made = (inner,)
    inner.append(made)
    return made


def _wide_ring() -> Any:
    made: list[Any] = []
    made.extend([made] * 10)
    return made


def _wide_dict_ring() -> Any:
    made: dict[str, Any] = {}
    made.update((str(n), made) for n in range(10))
    return made


def _shared() -> Any:
    made: Any = ["x"]
    for _ in range(7):
        made = [made, made]
    return made


def _doubled(depth: int) -> Any:
    return ["x"] if not depth else [_doubled(depth - 1)] * 2


DEPTHS = [
    value("8 lists", lambda: _lists(8), _lists(8)),
    value("9 lists", lambda: _lists(9), [[[[[[[[None]]]]]]]], depth=1),
    value("100,000 lists", lambda: _lists(100_000), [[[[[[[[None]]]]]]]], depth=1),
    value("100,000 tuples", lambda: _tuples(100_000), [[[[[[[[None]]]]]]]], depth=1),
    value("8 dicts", lambda: _dicts(8), _dicts(8)),
    value("100,000 dicts", lambda: _dicts(100_000), _dicts(8, None), depth=1),
    value("100,000 UserLists", lambda: _user_lists(100_000), "<UserList>"),
    value("list in itself", _ring, _rung(7), depth=1),
    value("dict in itself", _dict_ring, _dicts(8, None), depth=1),
    value("tuple in itself", _tuple_ring, [[[[[[[[None]]]]]]]], depth=1),
    value("the same list often", _shared, _doubled(7)),
    _refused("ring of ten", lambda: {"value": _wide_ring()}, MANY),
    _refused("data in itself, ten times", lambda: _wide_dict_ring(), MANY),
]


SIZES = [
    value("9,999 values", lambda: [0] * 9_999, [0] * 9_999),
    _refused("10,001 values in a list", lambda: {"value": [0] * 10_000}, MANY),
    _refused("10,001 keys", lambda: dict.fromkeys(map(str, range(10_001))), MANY),
    _refused("a million keys", lambda: dict.fromkeys(range(1_000_000)), MANY),
    _refused("a million values", lambda: {"value": [[0] * 1_000] * 1_000}, MANY),
    _refused("many values in a set", lambda: {"value": set(range(20_000))}, MANY),
    _refused("many values in a deque", lambda: {"value": deque(range(20_000))}, MANY),
    _refused(
        "mapping without end", lambda: Map(itertools.count(), lambda key: key), MANY
    ),
    _refused(
        "mapping of mappings without end",
        lambda: {"value": Map(itertools.count(), lambda key: {})},
        MANY,
    ),
    _refused(
        "proxy without end",
        lambda: MappingProxyType(EndlessDict(a=1)),
        MANY,
    ),
    _refused(
        "value a proxy without end",
        lambda: {"value": MappingProxyType(EndlessDict(a=1))},
        MANY,
    ),
    data("dict of endless keys", lambda: EndlessDict(a=1), {"a": 1}),
    value("value a dict of endless keys", lambda: EndlessDict(a=1), {"a": 1}),
    data(
        "proxy of no pairs",
        lambda: {"value": MappingProxyType(NoPairs(a=1))},
        {"value": re.compile(r".*NoPairs.*|\{'a': 1\}")},
    ),
]

KINDS = [
    value("tuple", lambda: (1, "a"), [1, "a"]),
    value("namedtuple", lambda: Point(1, 2), [1, 2]),
    value("set", lambda: {"a"}, ["a"]),
    value("frozenset of frozensets", lambda: frozenset({frozenset()}), [[]]),
    value("deque", lambda: deque([1, 2], maxlen=1), [2]),
    value("defaultdict", lambda: defaultdict(refuse, a=1), {"a": 1}),
    value("Counter", lambda: Counter("aab"), {"a": 2, "b": 1}),
    value("OrderedDict", lambda: OrderedDict(b=1), {"b": 1}),
    value("ChainMap", lambda: ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
    value("UserDict", lambda: UserDict(a=[1]), {"a": [1]}),
    value("UserList", lambda: UserList([1, "a"]), "[1, 'a']"),
    value("proxy", lambda: MappingProxyType({"a": (1,)}), {"a": [1]}),
    value("view", lambda: {"a": 1}.keys(), "dict_keys(['a'])"),
    value("endless iterator", lambda: itertools.count(), "count(0)"),
    value("mapping that lies of its length", lambda: Map("a", str, -1), {"a": "a"}),
    data("empty", dict, {}),
    Record("data none", lambda: fields(data=None), Sent()),
]

NO_DATA = [
    _refused("text", lambda: "shirt"),
    _refused("empty text", lambda: ""),
    _refused("zero", lambda: 0),
    _refused("list of pairs", lambda: [("item", "shirt")]),
    _refused("tuple", lambda: ()),
    _refused("generator", lambda: (pair for pair in ())),
    _refused("object saying a dict", lambda: saying("{}")),
    _refused("pretender", Pretender),
    _refused("closed", Closed),
    _refused("nameless", nameless),
    _refused("mapping that raises", lambda: Map(["a"], refuse)),
    _refused("mapping of no keys", lambda: Map(None, refuse)),
]

RECORDS = [*DEPTHS, *SIZES, *KINDS, *NO_DATA]
