"""Parse the pages of a database file without SQLite, for files that it cannot read.

`recovery` uses it for whole files and `wal` to rate corrected frames. The format is in
SQLite's "Database File Format", section 1.6. Each row has its own checksum, so a row
that was parsed wrongly is left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

from .schema import DeadLetterRow, Row

_LEAF = b"\x0d"
"""The first byte of a page that has rows."""

_VALUE_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)
"""Bytes of a value, by its serial type up to 11."""


class PageReader:
    """
    Reads at most twice the file's pages, as a hostile file may link in a loop.

    Args:
        file: Descriptor of the database file.
        size: Bytes of one page.
    """

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size
        self.page_count = os.fstat(file).st_size // size
        self._left = 2 * self.page_count

    def read(self, page: int) -> bytes:
        """Return page *page*, counted from 0; empty if it does not exist."""
        self._left -= 1
        if self._left < 0:
            return b""
        return os.pread(self._file, self._size, page * self._size)


def read_leaf(
    content: bytes, reader: PageReader | None = None
) -> Iterator[Row | DeadLetterRow]:
    """Yield a page's intact rows; with a *reader* also those with overflow pages."""
    if content[:1] != _LEAF:
        return
    count = int.from_bytes(content[3:5], "big")
    for pointer in range(8, min(8 + 2 * count, len(content) - 1), 2):
        start = int.from_bytes(content[pointer : pointer + 2], "big")
        try:
            row = _read_cell(content, start, reader)
        except (IndexError, ValueError, OSError, struct.error):
            continue
        if row is not None:
            yield row


def _read_cell(
    content: bytes, offset: int, reader: PageReader | None
) -> Row | DeadLetterRow | None:
    length, offset = _read_varint(content, offset)
    number, offset = _read_varint(content, offset)
    local = _compute_local_bytes(length, len(content))
    record = content[offset : offset + local]
    if local < length:
        next_page = int.from_bytes(content[offset + local :][:4], "big")
        while reader is not None and next_page and len(record) < length:
            overflow = reader.read(next_page - 1)
            record += overflow[4 : 4 + length - len(record)]
            next_page = int.from_bytes(overflow[:4], "big")
    if len(record) != length:
        return None
    return _read_record(number, record)


def _compute_local_bytes(length: int, page_size: int) -> int:
    """Return how many bytes of a record are on its leaf; the rest overflows."""
    # The formulas of section 1.6, with no reserved bytes at the end of a page.
    max_local = page_size - 35
    if length <= max_local:
        return length
    min_local = (page_size - 12) * 32 // 255 - 23
    local = min_local + (length - min_local) % (page_size - 4)
    return local if local <= max_local else min_local


def _read_record(number: int, record: bytes) -> Row | DeadLetterRow | None:
    types, offset = _read_types(record)
    # Three columns are an event, five a dead letter. The first is always NULL: a
    # primary key is stored as the number of the row.
    if len(types) not in (3, 5) or types[0] != 0:
        return None
    values: list[bytes] = []
    for serial_type in types:
        length = (
            (serial_type - 12) // 2 if serial_type >= 12 else _VALUE_BYTES[serial_type]
        )
        values.append(record[offset : offset + length])
        offset += length
    # Serial types 8 and 9 stand for the integers 0 and 1, and have no bytes.
    checksum = {8: 0, 9: 1}.get(types[2], int.from_bytes(values[2], "big"))
    body = values[1]
    if offset != len(record) or checksum != zlib.crc32(body):
        return None
    if len(types) == 3:
        return Row(number, body, True)
    (dead_since,) = struct.unpack(">d", values[4])
    return DeadLetterRow(
        number, body, checksum, values[3].decode(errors="replace"), dead_since
    )


def _read_types(record: bytes) -> tuple[list[int], int]:
    """Return the serial types of a record's values, and the offset of the first one."""
    end, offset = _read_varint(record, 0)
    types: list[int] = []
    while offset < end:
        serial_type, offset = _read_varint(record, offset)
        types.append(serial_type)
    return types, offset


def _read_varint(content: bytes, offset: int) -> tuple[int, int]:
    """Return the variable-length integer at *offset*, and the offset after it."""
    value = 0
    for count in range(9):
        byte = content[offset + count]
        if count == 8:
            return value << 8 | byte, offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + count + 1
    raise ValueError  # unreachable: the ninth byte always returns
