"""The command ``replay``: send what earlier processes left in a spool.

A client sends it: a new client takes over the spool files of processes that have ended.
The command waits until these files are empty.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._client.client import OdpClient
from .._client.stats import Stats
from .._runtime.diagnostics import print_line
from .._runtime.lock import monotonic
from .._runtime.text import format_count
from .._stores.spool import directory as _directory
from .._stores.spool.errors import SpoolError
from .._stores.spool.file_lock import is_owned
from .._stores.spool.reader import SpoolReader
from .._stores.spool.rotation import Moved
from .errors import CommandError
from .old_key import add_old_key_options, load_old_account, move_old_events
from .options import (
    add_json_option,
    add_spool_option,
    add_timeout_option,
    load_config,
    load_spool_dir,
    print_message,
)
from .spool import list_files
from .terminal import SUCCESS, WARNING, has_color, print_parts

_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class Contents:
    """What a group of spool files holds."""

    events: int = 0
    dead: int = 0
    unreadable: int = 0
    """Files that cannot be read."""

    def add_file(self, path: Path) -> None:
        """Add the file at *path*, unless it was sent and removed meanwhile."""
        try:
            with SpoolReader(path) as reader:
                self.events += reader.count
                self.dead += reader.dead_count
        except SpoolError:
            self.unreadable += path.exists()


@dataclass(frozen=True, slots=True)
class SpoolFiles:
    """The files of a spool, by what `replay` does with them."""

    replayable: Sequence[Path]
    in_use: Sequence[Path]
    of_other_accounts: Sequence[Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``replay``."""
    parser.description = (
        "Sends the events that earlier processes left in a spool, with ODP_API_KEY and"
        " ODP_API_HOST. Exit status 0 only if nothing is left: no event of this or"
        " another key, and no dead letter. Events of running processes do not count:"
        " these processes send them. Exit status 1 otherwise."
    )
    add_spool_option(parser)
    add_json_option(parser)
    add_timeout_option(parser, 300)
    add_old_key_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay the spool that *options* or the environment name."""
    spool_dir = load_spool_dir(options.spool)
    account = _load_account()
    old = load_old_account(options, account)
    moved = Moved()
    if old is not None:
        moved = move_old_events(spool_dir, old=old, new=account)
        print_message(
            f"{format_count(moved.events, 'event')} and"
            f" {format_count(moved.dead, 'dead letter')} of the old key moved to the"
            " new one"
        )
    return replay(
        spool_dir,
        account,
        moved=moved.events,
        timeout=options.timeout,
        as_json=options.json,
    )


def replay(
    spool_dir: Path, account: str, *, moved: int, timeout: float, as_json: bool
) -> int:
    """
    Send the events that ended processes left for *account* in *spool_dir*.

    Args:
        moved: Events that were of another account before.
    """
    files = _sort_files(list_files(spool_dir), account)
    # Counted before the client exists, which starts to empty the files.
    total = _read_contents(files.replayable).events
    # With a thread, also if ODP_BACKGROUND is off: it takes over the files.
    client = OdpClient(spool=str(spool_dir), background=True)
    _wait_until_empty(client, files.replayable, total, timeout=timeout, as_json=as_json)
    client.close(_CLOSE_SECONDS)
    # Listed again: the client may have sent more while it was closed, and dead letters
    # are in files of its own.
    remaining = _sort_files(list_files(spool_dir), account, files.replayable)
    summary = _build_summary(total, client.stats, remaining) | {"moved": moved}
    if as_json:
        print(json.dumps(summary))
    else:
        is_complete = not any(summary[name] for name in _FAILURES)
        print_parts((_format_summary(summary), SUCCESS if is_complete else WARNING))
    for message in _format_reasons(summary):
        print_message(message)
    return int(any(summary[name] for name in _FAILURES))


_FAILURES = (
    "left",
    "other_events",
    "dead_letters",
    "unreadable",
    "dropped",
)
"""Counts of the summary that have to be 0 for the exit status 0."""


def _load_account() -> str:
    """Return the account that the environment's key and host stand for."""
    config = load_config({})
    destination = config.target()
    if destination is None:
        raise CommandError(
            "ODP_API_KEY is not set; set it to the key the events are for"
        )
    if not config.enabled:
        raise CommandError("ODP_ENABLED is off; unset it to send")
    return destination.fingerprint


def _sort_files(
    paths: Sequence[Path], account: str, released: Sequence[Path] = ()
) -> SpoolFiles:
    """
    Sort the files *paths*.

    Args:
        released: Files that count as replayable, even if this process still owns them.
    """
    replayable, in_use, of_other_accounts = [], [], []
    for path in paths:
        if _directory.parse_account(path) not in (account, _directory.UNKNOWN):
            of_other_accounts.append(path)
        elif path not in released and is_owned(path):
            in_use.append(path)
        else:
            replayable.append(path)
    return SpoolFiles(replayable, in_use, of_other_accounts)


def _read_contents(paths: Sequence[Path]) -> Contents:
    contents = Contents()
    for path in paths:
        contents.add_file(path)
    return contents


def _build_summary(total: int, stats: Stats, remaining: SpoolFiles) -> dict[str, Any]:
    """Return what `--json` prints."""
    left = _read_contents(remaining.replayable)
    other = _read_contents(remaining.of_other_accounts)
    in_use = _read_contents(remaining.in_use)
    groups = (left, other, in_use)
    return {
        "found": total,
        "sent": stats.replayed,
        "left": left.events,
        "other": len(remaining.of_other_accounts),
        "in_use": len(remaining.in_use),
        "other_events": other.events,
        "in_use_events": in_use.events,
        "dead_letters": sum(contents.dead for contents in groups),
        "unreadable": sum(contents.unreadable for contents in groups),
        "dropped": sum(stats.dropped.values()),
        "error": (stats.last_error or "") if left.events else "",
    }


def _format_summary(summary: Mapping[str, Any]) -> str:
    counts = {
        "of another key or host": summary["other_events"],
        "in use by running processes": summary["in_use_events"],
        "dropped": summary["dropped"],
    }
    parts = [f"{count:,} {text}" for text, count in counts.items() if count]
    if summary["dead_letters"]:
        parts.append(format_count(summary["dead_letters"], "dead letter"))
    if summary["unreadable"]:
        parts.append(format_count(summary["unreadable"], "unreadable file"))
    return "; ".join(
        [
            f"{summary['sent']:,} of {format_count(summary['found'], 'event')} sent,"
            f" {summary['left']:,} left",
            *([", ".join(parts)] if parts else []),
        ]
    )


def _format_reasons(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield why events are left, and what to do, one line for each reason."""
    if summary["left"]:
        reason = summary["error"] or "the time of --timeout is over"
        yield (
            f"{format_count(summary['left'], 'event')} not sent: {reason}; kept in the"
            " spool. Run replay again once the cause is gone"
        )
    if summary["other_events"]:
        yield (
            f"{format_count(summary['other_events'], 'event')} of another key or host"
            " not sent; kept in the spool. Run replay with their key and host, or name"
            " their key with --from-key-env to send them with the new one"
        )
    if summary["dead_letters"]:
        yield (
            f"{format_count(summary['dead_letters'], 'dead letter')} kept in the spool;"
            " `odp-logging dead list` shows the reasons, `dead retry` sends again"
        )


def _wait_until_empty(
    client: OdpClient,
    paths: Sequence[Path],
    total: int,
    *,
    timeout: float,
    as_json: bool,
) -> None:
    """Wait until the files *paths* hold no event, for *timeout* seconds at most."""
    deadline = monotonic() + timeout
    pause = threading.Event()
    left = total
    with show_progress(total, as_json=as_json) as show:
        while left and monotonic() < deadline:
            pause.wait(_POLL_SECONDS)
            left = _read_contents(paths).events
            show(total - left)
            # A wrong key stays wrong: the client's probes would take until --timeout.
            if client.stats.state == "misconfigured":
                break


@contextmanager
def show_progress(total: int, *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows progress: a bar on a terminal, else lines."""
    if as_json or not total:
        yield lambda done: None
        return
    if has_color(sys.stderr):
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replay", total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    last = [monotonic()]

    def print_progress(done: int) -> None:
        # At most one line per second: a log file keeps all of them.
        if monotonic() - last[0] >= 1:
            last[0] = monotonic()
            total_text = format_count(total, "event")
            print_line(f"{done:,} of {total_text} sent", sys.stderr)

    yield print_progress
