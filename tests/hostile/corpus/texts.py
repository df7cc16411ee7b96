"""Texts and keys within data."""

from __future__ import annotations

import math

from .expected import Dropped, Record, Sent, data, fields, value
from .hostile import HUGE, Armed, Closed, KeyText, Odd, Shade, armed, raising, saying

CONTROLS = "".join(map(chr, range(32))) + "\x7f\x80\x9f"


def _same(name: str, text: str) -> Record:
    """Return a record whose text arrives as it is."""
    return value(f"text {name}", lambda: text, text)


TEXTS = [
    _same("empty", ""),
    _same("blank", " \t"),
    _same("control codes", CONTROLS),
    _same("line ends of JavaScript", "\u2028\u2029"),
    _same("byte order mark", "\ufeffa\ufffe"),
    _same("from right to left", "\u202eexe.gpj\u2066"),
    _same("family", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    _same("decomposed", "e\u0301"),
    _same("stacked marks", "Z" + "\u0335" * 1000),
    _same("last character", "\U0010ffff"),
    _same("private", "\ue000"),
    _same("1024", "x" * 1024),
    _same("1024 astral", "\U0001f600" * 1024),
    _same("json", '"}],"action":"x","a":[{"'),
    _same("html", "</script><!--"),
    _same("backslashes", "\\ud800\\\\\\"),
    _same("number", "1e999"),
    _same("constant", "NaN"),
    _same("format", "%s %(x)s {0.__class__} ${HOME}"),
    _same("headers", "a\r\nx-api-key: b\r\n\r\n"),
    value("text 1025", lambda: "x" * 1025, "x" * 1024, cut=1),
    value("text 1025 astral", lambda: "😀" * 1025, "😀" * 1024, cut=1),
    value("text huge", lambda: "x" * HUGE, "x" * 1024, cut=1),
    value("text huge in a list", lambda: ["é" * HUGE], ["é" * 1024], cut=1),
    value("text lone high", lambda: "a\ud800b", "a\ufffdb", surrogate=1),
    value("text lone low", lambda: "\udfff", "\ufffd", surrogate=1),
    value("text reversed pair", lambda: "\ude00\ud83d", "\ufffd\ufffd", surrogate=1),
    value("text pair", lambda: "\ud83d\ude00", "\U0001f600", surrogate=1),
    value("text escaped bytes", lambda: "caf\udce9", "caf\ufffd", surrogate=1),
    value(
        "text 2000 surrogates", lambda: "\ud800" * 2000, "�" * 1024, cut=1, surrogate=1
    ),
    value(
        "text cut within a pair",
        lambda: "x" * 1023 + "\ud83d\ude00",
        "x" * 1023 + "\ufffd",
        cut=1,
        surrogate=1,
    ),
    value(
        "text surrogates deep down",
        lambda: {"a": [{"\ud800": "\udc00"}]},
        {"a": [{"\ufffd": "\ufffd"}]},
        surrogate=1,
    ),
]


def _key(name: str, key: object, becomes: str, **adjusted: int) -> Record:
    """Return a record with one hostile key in its data, and what it becomes."""
    return data(f"data key {name}", lambda: {key: 1}, {becomes: 1}, **adjusted)


KEYS = [
    _key("empty", "", ""),
    _key("blank", " ", " "),
    _key("nul", "\x00", "\x00"),
    _key("prototype", "__proto__", "__proto__"),
    _key("path", "a.b[0]$", "a.b[0]$"),
    _key("tag", "odp_action", "odp_action"),
    _key("number", 1, "1"),
    _key("none", None, "None"),
    _key("true", True, "True"),
    _key("nan", math.nan, "nan"),
    _key("tuple", (1, "a"), "(1, 'a')"),
    _key("bytes", b"k", "b'k'"),
    _key("class", int, "<class 'int'>"),
    _key("member with text", Shade.DARK, "dark"),
    _key("member", Odd.TEXT, "Odd.TEXT"),
    _key("saying", saying("k"), "k"),
    _key("saying no text", saying(5), "<Saying>"),
    _key("raising", raising("__str__")(), "<Raising>"),
    _key("liar", KeyText("k"), "k"),
    _key("surrogate", "k\ud800", "k\ufffd", surrogate=1),
    _key("1024", "k" * 1024, "k" * 1024),
    _key("1025", "k" * 1025, "k" * 1024, cut=1),
    data("data key huge", lambda: {"k" * HUGE: 1}, {"k" * 1024: 1}, cut=1),
    data(
        "data key huge liar", lambda: {KeyText("k" * HUGE): 1}, {"k" * 1024: 1}, cut=1
    ),
    data(
        "data key saying much", lambda: {saying("k" * HUGE): 1}, {"k" * 1024: 1}, cut=1
    ),
    value("nested key huge", lambda: {"k" * HUGE: 1}, {"k" * 1024: 1}, cut=1),
    data(
        "data keys the same when cut",
        lambda: {"k" * 1024 + "a": 1, "k" * 1024 + "b": 2},
        {"k" * 1024: 2},
        cut=2,
    ),
    data("data keys the same as text", lambda: {1: "a", "1": "b"}, {"1": "b"}),
    data("data key armed", lambda: armed(), {"armed": 1}),
    data("data key armed, nested", lambda: {"a": [armed()]}, {"a": [{"armed": 1}]}),
    data("data key like the tag", lambda: _like_the_tag(), {"armed": 1}),
]


def _like_the_tag() -> dict[object, int]:
    key = Armed("odp_action")
    made = {key: 1}
    key.armed = True
    return made


def _large() -> dict[str, str]:
    return {f"{n:05}" + "k" * 1019: "x" * 1024 for n in range(9_000)}


DEFAULTS = [
    data("data_source none", lambda: {"data_source": None}, {"data_source": None}),
    data(
        "data_source closed",
        lambda: {"data_source_type": Closed()},
        {"data_source_type": "<Closed>"},
    ),
    Record(
        "larger than the buffer",
        lambda: fields(data=_large()),
        Dropped("too_large"),
    ),
    Record(
        "data of 4 MB",
        lambda: fields(data={f"{n}": "x" * 1024 for n in range(4_000)}),
        Sent({f"{n}": "x" * 1024 for n in range(4_000)}),
    ),
]

RECORDS = [*TEXTS, *KEYS, *DEFAULTS]
