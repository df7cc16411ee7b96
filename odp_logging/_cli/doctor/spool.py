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
from ..._stores.spool.ownership import is_owned
from ..._stores.spool.reader import SpoolSnapshot
from .finding import Finding

_NEARLY_FULL = 0.8
"""Share of ``spool_max_bytes`` from which on the spool is reported as nearly full."""

_MIN_FREE_BYTES = 100 * 1024 * 1024
"""A disk with less free space than this is a problem."""


def check_spool(
    directory: Path, account: str | None, *, max_bytes: int
) -> Iterator[Finding]:
    """
    Check *directory* and the spool files in it; creates and changes nothing.

    Args:
        account: The account that this process sends to.
        max_bytes: The limit of the spool's size.
    """
    if not directory.exists():
        # The first client creates it; the doctor only reads.
        yield _check_parent(directory)
        return
    problem = _find_problem(directory)
    if problem is not None:
        yield Finding(
            "problem",
            "spool",
            f"{directory} cannot be used: {problem}",
            "name a directory of its own that only this user can enter",
        )
        return
    if _directory.is_network_filesystem(directory):
        text = f"{directory} is on a network file system, where locks are not reliable"
        yield Finding("hint", "spool", text, "use a local disk")
    contents = _read_contents(directory, account)
    yield _check_size(directory, contents, max_bytes)
    yield from _check_contents(contents)
    yield from _check_free_space(directory)


def _check_parent(directory: Path) -> Finding:
    """Check that *directory*, which does not exist, can be created."""
    # The folders between the two are created as well.
    parent = next(folder for folder in directory.parents if folder.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return Finding("ok", "spool", f"{directory} is created when it is first needed")
    return Finding(
        "problem",
        "spool",
        f"{directory} does not exist, and this user may not write to {parent}",
        "create it, and give it to the user that the application runs as",
    )


def _find_problem(directory: Path) -> str | None:
    """Return why the existing *directory* cannot hold a spool; None if it can."""
    try:
        problem = _directory.find_problem(directory)
        is_accessible = os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    except OSError:  # its owner may not list it
        problem, is_accessible = None, False
    return problem or (None if is_accessible else "this user may not write to it")


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


def _read_contents(directory: Path, account: str | None) -> _Contents:
    paths = _directory.list_files(directory)
    contents = _Contents(files=len(paths))
    # Recovery gives this suffix to a file that it cannot read.
    contents.damaged_files = sum(1 for _ in directory.glob("*.damaged"))
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


def _check_size(directory: Path, contents: _Contents, max_bytes: int) -> Finding:
    text = (
        f"{directory} holds {format_count(contents.events, 'event')} and"
        f" {format_count(contents.dead_letters, 'dead letter')} in"
        f" {format_count(contents.files, 'file')},"
        f" {contents.size:,} of {max_bytes:,} bytes"
    )
    if contents.size <= max_bytes * _NEARLY_FULL:
        return Finding("ok", "spool", text)
    return Finding(
        "hint",
        "spool",
        text,
        "nearly full: the oldest are dropped next; see why ODP does not take them",
    )


def _check_contents(contents: _Contents) -> Iterator[Finding]:
    if contents.orphaned_events:
        events = format_count(contents.orphaned_events, "event")
        text = f"{events} of processes that have ended wait there"
        advice = "the next process with this key sends them, or: odp-logging replay"
        yield Finding("hint", "spool", text, advice)
    if contents.dead_letters:
        events = format_count(contents.dead_letters, "event")
        text = f"ODP rejected {events}, with its reason"
        yield Finding("hint", "spool", text, "see odp-logging dead list")
    if contents.other_accounts:
        files = format_count(contents.other_accounts, "file")
        text = f"{files} there belong to other keys or hosts"
        advice = "only a process with their key and host sends them"
        yield Finding("hint", "spool", text, advice)
    if contents.damaged_files:
        text = f"{format_count(contents.damaged_files, 'file')} there cannot be read"
        yield Finding("hint", "spool", text, "inspect them, or delete them")


def _check_free_space(directory: Path) -> Iterator[Finding]:
    # On a full disk every write fails, also far below the spool's own limit.
    free = shutil.disk_usage(directory).free
    if free < _MIN_FREE_BYTES:
        text = f"its disk has {free:,} bytes left"
        yield Finding("problem", "spool", text, "free space, or move the spool")
