"""The doctor's checks of a spool: its directory, its events, its disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..._runtime.text import format_count
from ..._stores.spool import directory as _directory
from ..._stores.spool.errors import SpoolError
from ..._stores.spool.file_lock import is_owned
from ..._stores.spool.reader import SpoolSnapshot
from .check_result import CheckResult

_NEARLY_FULL = 0.8
"""Share of ``spool_max_bytes`` from which on the spool is reported as nearly full."""

_MIN_FREE_BYTES = 100 * 1024 * 1024
"""A disk with less free space than this is a problem."""


def check_spool(
    spool_dir: Path, account: str | None, *, max_bytes: int
) -> Iterator[CheckResult]:
    """
    Check *spool_dir* and the spool files in it; creates and changes nothing.

    Args:
        account: The account that this process sends to.
        max_bytes: The limit of the spool's size.
    """
    if not spool_dir.exists():
        # The first client creates it; the doctor only reads.
        yield _check_parent(spool_dir)
        return
    error = _find_error(spool_dir)
    if error is not None:
        yield CheckResult(
            "problem",
            "spool",
            f"{spool_dir} cannot be used: {error}",
            "name a directory of its own that only this user can enter",
        )
        return
    if _directory.is_network_filesystem(spool_dir):
        text = f"{spool_dir} is on a network file system, where locks are not reliable"
        yield CheckResult("hint", "spool", text, "use a local disk")
    contents = _read_contents(spool_dir, account)
    yield _check_size(spool_dir, contents, max_bytes)
    yield from _check_contents(contents)
    yield from _check_free_space(spool_dir)


def _check_parent(spool_dir: Path) -> CheckResult:
    """Check that *spool_dir*, which does not exist, can be created."""
    # The folders between the two are created as well.
    parent = next(path for path in spool_dir.parents if path.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return CheckResult(
            "ok", "spool", f"{spool_dir} is created when it is first needed"
        )
    return CheckResult(
        "problem",
        "spool",
        f"{spool_dir} does not exist, and this user may not write to {parent}",
        "create it, and give it to the user that the application runs as",
    )


def _find_error(spool_dir: Path) -> str | None:
    """Return why the existing *spool_dir* cannot hold a spool; None if it can."""
    try:
        error = _directory.check_access(spool_dir)
        is_usable = os.access(spool_dir, os.R_OK | os.W_OK | os.X_OK)
    except OSError:  # its owner may not list it
        error, is_usable = None, False
    return error or (None if is_usable else "this user may not write to it")


@dataclass(slots=True)
class _Contents:
    """What the files of a spool hold in all."""

    files: int = 0
    events: int = 0
    dead_letters: int = 0
    size: int = 0
    orphaned_events: int = 0
    """Events of this account, left by processes that have ended."""
    other_accounts: int = 0
    """Files with events for another key or host."""
    damaged_files: int = 0


def _read_contents(spool_dir: Path, account: str | None) -> _Contents:
    paths = _directory.list_files(spool_dir)
    contents = _Contents(files=len(paths))
    # Recovery gives this suffix to a file that it cannot read.
    contents.damaged_files = sum(1 for _ in spool_dir.glob("*.damaged"))
    for path in paths:
        is_replayable = _directory.parse_account(path) in (account, _directory.UNKNOWN)
        contents.other_accounts += not is_replayable
        try:
            with SpoolSnapshot(path) as snapshot:
                events, dead_letters, size = snapshot.read_totals()
        except SpoolError:
            # A file that does not exist any more was sent and removed meanwhile.
            contents.damaged_files += path.exists()
            continue
        contents.events += events
        contents.dead_letters += dead_letters
        contents.size += size
        # The events of a running process are not orphaned: it sends them itself.
        if is_replayable and not is_owned(path):
            contents.orphaned_events += events
    return contents


def _check_size(spool_dir: Path, contents: _Contents, max_bytes: int) -> CheckResult:
    text = (
        f"{spool_dir} holds {format_count(contents.events, 'event')} and"
        f" {format_count(contents.dead_letters, 'dead letter')} in"
        f" {format_count(contents.files, 'file')},"
        f" {contents.size:,} of {max_bytes:,} bytes"
    )
    if contents.size <= max_bytes * _NEARLY_FULL:
        return CheckResult("ok", "spool", text)
    return CheckResult(
        "hint",
        "spool",
        text,
        "nearly full: the oldest are dropped next; see why ODP does not take them",
    )


def _check_contents(contents: _Contents) -> Iterator[CheckResult]:
    if contents.orphaned_events:
        events = format_count(contents.orphaned_events, "event")
        text = f"{events} of processes that have ended wait there"
        advice = "the next process with this key sends them, or: odp-logging replay"
        yield CheckResult("hint", "spool", text, advice)
    if contents.dead_letters:
        events = format_count(contents.dead_letters, "event")
        text = f"ODP rejected {events}, with its reason"
        yield CheckResult("hint", "spool", text, "see odp-logging dead list")
    if contents.other_accounts:
        files = format_count(contents.other_accounts, "file")
        text = f"{files} there belong to other keys or hosts"
        advice = "only a process with their key and host sends them"
        yield CheckResult("hint", "spool", text, advice)
    if contents.damaged_files:
        text = f"{format_count(contents.damaged_files, 'file')} there cannot be read"
        yield CheckResult("hint", "spool", text, "inspect them, or delete them")


def _check_free_space(spool_dir: Path) -> Iterator[CheckResult]:
    # On a full disk every write fails, also far below the spool's own limit.
    free = shutil.disk_usage(spool_dir).free
    if free < _MIN_FREE_BYTES:
        text = f"its disk has {free:,} bytes left"
        yield CheckResult("problem", "spool", text, "free space, or move the spool")
