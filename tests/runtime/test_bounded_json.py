"""JSON from outside is parsed within limits of size and nesting."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odp_logging._runtime.bounded_json import MAX_DEPTH, parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet='[]{}"\\,a\n\u00fc\ud800'),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet='[{"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=60,
)


@given(value=values)
def test_values_equal_those_of_json_loads(value: Any) -> None:
    """Text within the limits is parsed as the standard library parses it."""
    text = json.dumps(value)

    assert parse_json(text) == json.loads(text)
    assert parse_json(text.encode()) == json.loads(text)


@given(value=values)
def test_the_depth_counts_no_brackets_in_strings(value: Any) -> None:
    """The limit counts levels of arrays and objects, not brackets in strings."""
    depth = _measure_depth(value)
    text = json.dumps(value)

    assert parse_json(text, max_depth=depth) == value
    if depth:
        with pytest.raises(ValueError, match="nested more than"):
            parse_json(text, max_depth=depth - 1)


@given(content=st.binary() | st.text(alphabet='[]{}"\\:,1 ').map(str.encode))
def test_any_bytes_are_a_value_or_a_value_error(content: bytes) -> None:
    """Text that is not JSON raises ValueError and no other exception."""
    try:
        parse_json(content, max_depth=3)
    except ValueError:
        pass


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"[":', '["\\"",'])
def test_deep_nesting_is_a_value_error(opening: str) -> None:
    """A text nested 100,000 levels deep is rejected before parsing."""
    with pytest.raises(ValueError, match=f"nested more than {MAX_DEPTH} levels"):
        parse_json(opening * 100_000)


@pytest.mark.parametrize("text", ["[" * 65, "[" * 64 + "]" * 65, "]" * 200 + "[" * 99])
def test_unbalanced_brackets_are_a_value_error(text: str) -> None:
    """Unbalanced brackets are rejected as any other text that is not JSON."""
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_high_recursion_limit_does_not_crash_the_process() -> None:
    """The C stack does not overflow if the recursion limit was increased."""
    program = (
        "import sys; sys.setrecursionlimit(10**9)\n"
        "from odp_logging._runtime.bounded_json import parse_json\n"
        "try: parse_json('[' * 10**6)\n"
        "except ValueError as error: print(error)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout.strip()) == (
        0,
        "nested more than 64 levels deep",
    )


def test_a_long_text_is_a_value_error() -> None:
    """A text over the size limit is rejected before it is decoded or parsed."""
    assert parse_json(b"[1, 2]", max_bytes=6) == [1, 2]
    with pytest.raises(ValueError, match="longer than 5 bytes"):
        parse_json(b"[1, 2]", max_bytes=5)


def test_bytes_are_utf_8() -> None:
    """A byte order mark is skipped; UTF-16 and invalid UTF-8 are rejected."""
    assert parse_json(b'\xef\xbb\xbf"\xc3\xbc"') == "ü"
    assert parse_json(bytearray(b'"\xc3\xbc"')) == "ü"
    for content in ("[1]".encode("utf-16"), b'"\xfc"'):
        with pytest.raises(ValueError):
            parse_json(content)


@pytest.mark.parametrize("piece", ['"\\', '\\"', '"', '["a\\"', "{}", '"]'])
def test_the_depth_is_measured_in_linear_time(piece: str) -> None:
    """Eight times the text takes about eight times as long, for any content."""
    opening = "[]" * 40

    def measure_seconds(count: int) -> float:
        text = opening + piece * count
        best = 60.0
        for _ in range(3):
            start = time.perf_counter()
            with pytest.raises(ValueError):
                parse_json(text)
            best = min(best, time.perf_counter() - start)
        return best

    assert measure_seconds(160_000) < 30 * measure_seconds(20_000) + 0.05


def _measure_depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_measure_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_measure_depth, value), default=0)
    return 0
