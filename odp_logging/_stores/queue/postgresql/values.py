"""How values travel: parameters in the form of PostgreSQL, and results read back.

Done here and not by psycopg's cursors, which wait for results without a time limit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# From pg_type.dat; the same in every version.
_BYTEA, _INT8, _INT4, _TEXT, _FLOAT8 = 17, 20, 23, 25, 701
_ARRAY_TYPES = {_BYTEA: 1001, _INT8: 1016, _TEXT: 1009}
"""Numbers of PostgreSQL's types, and of arrays of them."""


class Parameter(NamedTuple):
    """One parameter of a statement: its type, and its bytes in binary form."""

    type: int
    value: bytes

    def __repr__(self) -> str:
        # Shown in tracebacks, which must not show an event.
        return f"<Parameter of type {self.type}: {len(self.value)} bytes>"


def encode_text(value: str) -> Parameter:
    """Return a parameter of the type text, which cannot hold a NUL character."""
    return Parameter(_TEXT, value.replace("\0", "").encode("utf-8", "replace"))


def encode_int(value: int) -> Parameter:
    """Return a parameter of the type bigint."""
    return Parameter(_INT8, struct.pack(">q", value))


def encode_int_array(values: Sequence[int]) -> Parameter:
    """Return a parameter of the type bigint[]."""
    return _encode_array(_INT8, [struct.pack(">q", value) for value in values])


def encode_text_array(values: Sequence[str]) -> Parameter:
    """Return a parameter of the type text[]."""
    return _encode_array(_TEXT, [encode_text(value).value for value in values])


def encode_blob_array(values: Sequence[bytes]) -> Parameter:
    """Return a parameter of the type bytea[]."""
    return _encode_array(_BYTEA, values)


def _encode_array(kind: int, items: Sequence[bytes]) -> Parameter:
    # One dimension, no NULL; PostgreSQL counts from 1.
    parts = [struct.pack(">iii", 1 if items else 0, 0, kind)]
    if items:
        parts.append(struct.pack(">ii", len(items), 1))
    for item in items:
        parts += (struct.pack(">i", len(item)), item)
    return Parameter(_ARRAY_TYPES[kind], b"".join(parts))


def quote(text: str) -> str:
    """Return *text* as a literal of SQL, for scripts, which have no parameters."""
    quoted = text.replace("\0", "").replace("\\", "\\\\").replace("'", "''")
    # E'' means the same, whatever standard_conforming_strings is.
    return f"E'{quoted}'"


def format_int_array(values: Sequence[int]) -> str:
    """Return an array of *values* as SQL, for scripts."""
    return f"'{{{','.join(map(str, values))}}}'::bigint[]"


def _decode_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


_BINARY: dict[int, Callable[[bytes], Any]] = {
    _BYTEA: bytes,
    _INT4: lambda value: struct.unpack(">i", value)[0],
    _INT8: lambda value: struct.unpack(">q", value)[0],
    _FLOAT8: lambda value: struct.unpack(">d", value)[0],
}
_PLAIN: dict[int, Callable[[bytes], Any]] = {_INT4: int, _INT8: int, _FLOAT8: float}
"""How a value is read, by its type; other types are text."""


def parse_result(result: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a ``PGresult``."""
    columns = range(result.nfields)
    readers = [
        (_BINARY if result.fformat(column) else _PLAIN).get(
            result.ftype(column), _decode_text
        )
        for column in columns
    ]
    return [
        tuple(
            None
            if (value := result.get_value(row, column)) is None
            else readers[column](value)
            for column in columns
        )
        for row in range(result.ntuples)
    ]
