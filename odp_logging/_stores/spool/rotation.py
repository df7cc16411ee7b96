"""Move the files of one account to another one, after a change of key or host.

The name of a spool file has the account, so no process sends the events of an old key
once all have the new one. The command ``replay`` calls this on request.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import directory as _directory
from .file import SpoolFile
from .file_lock import claim_orphans
from .opener import FileOpener
from .warnings import SpoolWarnings

_WAIT_SECONDS = 1.0
"""Seconds to wait for files that another process owns, perhaps only to look at them."""


class Moved(NamedTuple):
    """Number of events and of dead letters that belong to the new account now."""

    events: int = 0
    dead: int = 0


def move_files(
    spool_dir: Path,
    paths: Iterable[Path],
    *,
    old: str,
    new: str,
    warnings: SpoolWarnings,
) -> Moved:
    """
    Move the events and dead letters of ended processes from the account *old* to *new*.

    Args:
        paths: Spool files in *spool_dir*; those of other accounts stay.
        warnings: Gets what is wrong with a file, which then stays or is set aside.

    Raises:
        SpoolError: The disk is full, for example; what was not moved stays as it was.
        OSError: No file can be created in *spool_dir*.
    """
    opener = FileOpener(spool_dir, old, warnings)
    moved = Moved()
    # The oldest file first, which keeps the order in which the files are sent.
    for file_lock in claim_orphans(
        [path for path in paths if _directory.parse_account(path) == old],
        wait_seconds=_WAIT_SECONDS,
    ):
        modified = _directory.read_file_state(file_lock.path)[0]
        source = opener.open(file_lock)
        if source is None:
            continue
        found = Moved(source.count, source.dead_count)
        try:
            _copy_file(spool_dir, source, new, modified)
        except BaseException:
            source.close(keep_time=modified)
            raise
        source.remove()
        moved = Moved(moved.events + found.events, moved.dead + found.dead)
    return moved


def _copy_file(spool_dir: Path, source: SpoolFile, new: str, modified: int) -> None:
    """Write what is in *source* to a file of the account *new*."""
    target = SpoolFile(_directory.create_file(spool_dir, new))
    try:
        # Complete before *source* is removed: after a crash in between, the events are
        # sent twice instead of never, and ODP recognizes them by their ids.
        target.copy_from(source)
        target.read_counts()
    except BaseException:
        target.remove()
        raise
    target.close(keep_time=modified)
