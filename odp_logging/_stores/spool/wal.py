"""Read the frames of a write-ahead log, and correct a damaged byte where possible.

`recovery` rebuilds a damaged database from them; `connection` asks whether the start is
intact. The format is in SQLite's "Database File Format", section 4. SQLite stops
silently at the first damaged frame of a log; this module reads the frames after it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .pages import read_leaf

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAGIC_LITTLE_ENDIAN = 0x377F0682
_MAGIC_BIG_ENDIAN = 0x377F0683
_MASK = 0xFFFFFFFF

Checksum = tuple[int, int]
"""A checksum of the log: two words of 32 bits."""


class Frame(NamedTuple):
    """One page version in the write-ahead log."""

    page: int
    commit: int
    """Database size in pages, if this frame ends a transaction, otherwise 0."""
    content: bytes
    is_intact: bool
    """Whether the checksum fits, perhaps after a correction."""
    candidates: Sequence[bytes] = ()
    """Other corrections that fit the checksum."""


class WriteAheadLog:
    """Reads the write-ahead log of the spool file at *path*, damaged or not."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-wal")
        self._header = _read_start(self._path, _HEADER_BYTES)
        self.page_size = _find_page_size(_read_start(path, 100), self._header)
        self._frame_bytes = _FRAME_HEADER_BYTES + self.page_size
        try:
            length = os.stat(self._path).st_size
        except OSError:
            length = 0
        self._max_frames = max(0, length - _HEADER_BYTES) // self._frame_bytes
        # SQLite writes the order of the machine. If the magic number is damaged,
        # little-endian is assumed, as on x86 and ARM.
        is_big_endian = self._header[:4] == _MAGIC_BIG_ENDIAN.to_bytes(4, "big")
        self._order = ">I" if is_big_endian else "<I"

    def count_frames(self) -> int:
        """Return the number of frames since the log was restarted, committed or not."""
        if not self._max_frames:
            return 0
        salt = self._find_salt()
        last = 0
        with open(self._path, "rb", buffering=0) as file:
            for number in range(1, self._max_frames + 1):
                # Frames from before the restart follow; their salt differs in both
                # halves. One damaged byte of a salt is tolerated.
                if _count_diff(self._read_salt(file.fileno(), number), salt) < 2:
                    last = number
        return last

    def read_frames(self, valid: int = 0) -> list[Frame]:
        """
        Return the frames of all committed transactions, corrected where possible.

        A frame's checksum continues the one stored in the frame before it, so each
        frame can be checked on its own.

        Args:
            valid: Frames at the start that are known to be intact.
        """
        frames: list[Frame] = []
        last = self.count_frames()
        if not last:
            return frames
        previous = self._find_previous()
        with open(self._path, "rb", buffering=0) as file:
            for number in range(1, last + 1):
                content = os.pread(
                    file.fileno(), self._frame_bytes, self._find_offset(number)
                )
                if number <= valid:
                    frame, previous = _parse_valid_frame(content)
                else:
                    frame, previous = _check_frame(content, previous, self._order)
                frames.append(frame)
        if not frames[-1].is_intact and last < self._max_frames:
            frames.pop()  # the process died while overwriting an older frame
        while frames and not frames[-1].commit:
            frames.pop()  # SQLite discards a transaction without a commit as well
        return frames

    def _find_offset(self, number: int) -> int:
        return _HEADER_BYTES + (number - 1) * self._frame_bytes

    def _read_salt(self, file: int, number: int) -> bytes:
        return os.pread(file, _FRAME_HEADER_BYTES, self._find_offset(number))[8:16]

    def _find_salt(self) -> bytes:
        """Return the salt that marks the frames written since the log was restarted."""
        salt = self._header[16:24]
        if self._compute_header_checksum() == self._read_header_checksum():
            return salt  # even if no frame was written since then
        # The header is damaged, perhaps its salt: the first frames have the same one.
        with open(self._path, "rb", buffering=0) as file:
            found = [
                self._read_salt(file.fileno(), number)
                for number in range(1, min(self._max_frames, 3) + 1)
            ]
        return salt if salt in found else found[0]

    def _find_previous(self) -> list[Checksum]:
        """Return the checksums that the first frame's checksum may continue."""
        return [self._read_header_checksum(), self._compute_header_checksum()]

    def _read_header_checksum(self) -> Checksum:
        stored: Checksum = struct.unpack(">II", self._header[24:32])
        return stored

    def _compute_header_checksum(self) -> Checksum:
        return _compute_checksum(self._header[:24], (0, 0), self._order)


def is_header_intact(path: Path) -> bool:
    """Whether the log of the file at *path* is empty or starts as SQLite writes it."""
    try:
        with open(f"{path}-wal", "rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return True
    if len(header) < _HEADER_BYTES:
        return True
    magic = int.from_bytes(header[:4], "big")
    order = ">I" if magic & 1 else "<I"
    checksum = _compute_checksum(header[:24], (0, 0), order)
    return magic & ~1 == _MAGIC_LITTLE_ENDIAN and header[24:] == struct.pack(
        ">II", *checksum
    )


def _parse_valid_frame(content: bytes) -> tuple[Frame, list[Checksum]]:
    payload = content[:8] + content[_FRAME_HEADER_BYTES:]
    return _parse_frame(payload, True), [struct.unpack(">II", content[16:24])]


def _check_frame(
    content: bytes, previous: list[Checksum], order: str
) -> tuple[Frame, list[Checksum]]:
    """Return a frame, and the checksums that the next frame's may continue."""
    payload = content[:8] + content[_FRAME_HEADER_BYTES:]
    stored: Checksum = struct.unpack(">II", content[16:24])
    computed = [_compute_checksum(payload, seed, order) for seed in previous]
    if stored in computed:
        return _parse_frame(payload, True), [stored]
    for checksum in computed:
        if _count_diff(struct.pack(">II", *checksum), content[16:24]) < 2:
            # The checksum is damaged and not the page.
            return _parse_frame(payload, True), [checksum, stored]
    corrections = [
        corrected
        for checksum in computed
        for corrected in _find_corrections(payload, checksum, stored, order)
    ]
    if corrections:
        best = max(corrections, key=_score_frame)
        candidates = [
            other[8:]
            for other in corrections
            if other is not best and other[:8] == best[:8]
        ]
        return _parse_frame(best, True, candidates), [stored]
    return _parse_frame(payload, False), [stored, *computed]


def _parse_frame(
    payload: bytes, is_intact: bool, candidates: Sequence[bytes] = ()
) -> Frame:
    page, commit = struct.unpack(">II", payload[:8])
    return Frame(page, commit, payload[8:], is_intact, candidates)


def _compute_checksum(content: bytes, seed: Checksum, order: str) -> Checksum:
    words = struct.unpack(f"{order[0]}{len(content) // 4}I", content)
    return _continue_checksum(words, seed)


def _continue_checksum(words: Iterable[int], seed: Checksum) -> Checksum:
    first, second = seed
    iterator = iter(words)
    for first_word, second_word in zip(iterator, iterator, strict=True):
        first = (first + first_word + second) & _MASK
        second = (second + second_word + first) & _MASK
    return first, second


def _find_corrections(
    content: bytes, computed: Checksum, stored: Checksum, order: str
) -> Iterator[bytes]:
    """
    Yield *content* with one word changed so that its checksum becomes *stored*.

    The checksum is linear: adding d to a word changes it by d * (a, b), where a and b
    depend only on the word's offset. If d is a multiple of 2**24, a few offsets fit,
    otherwise one.
    """
    delta = [(stored[n] - computed[n]) & _MASK for n in (0, 1)]
    even, odd = (1, 1), (0, 1)
    for block_start in range(len(content) - 8, -8, -8):
        for offset, (a, b) in ((0, even), (4, odd)):
            # One of a and b is odd, and so has an inverse modulo 2**32.
            if a & 1:
                change = delta[0] * pow(a, -1, _MASK + 1) & _MASK
            else:
                change = delta[1] * pow(b, -1, _MASK + 1) & _MASK
            if [change * a & _MASK, change * b & _MASK] == delta:
                start = block_start + offset
                (word,) = struct.unpack_from(order, content, start)
                changed = struct.pack(order, (word + change) & _MASK)
                yield content[:start] + changed + content[start + 4 :]
        even = (sum(even) & _MASK, (even[0] + 2 * even[1]) & _MASK)
        odd = (sum(odd) & _MASK, (odd[0] + 2 * odd[1]) & _MASK)


def _score_frame(payload: bytes) -> tuple[int, int]:
    """Return the plausibility of a corrected frame: intact rows, then zero bytes."""
    return len(list(read_leaf(payload[8:]))), payload.count(0)


def _count_diff(one: bytes, other: bytes) -> int:
    return sum([a != b for a, b in zip(one, other, strict=True)])


def _read_start(path: Path, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size).ljust(size, b"\0")
    except OSError:
        return bytes(size)


def _find_page_size(header: bytes, log_header: bytes) -> int:
    """Return the page size that either header has; 4096 if both are damaged."""
    stored = int.from_bytes(header[16:18], "big")
    in_log = int.from_bytes(log_header[8:12], "big")
    # The header has two bytes for it, in which 65536 is written as 1.
    for size in (65536 if stored == 1 else stored, in_log):
        if 512 <= size <= 65536 and size & (size - 1) == 0:
            return size
    return 4096
