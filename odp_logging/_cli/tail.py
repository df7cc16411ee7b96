"""The command ``tail``: follow the events that arrive in a spool and leave it."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._events.event import parse_event
from .._events.masking import mask_reason
from .._runtime.diagnostics import print_line
from .._runtime.lock import monotonic
from .._runtime.text import format_count
from .._stores.spool import directory as _directory
from .._stores.spool.errors import SpoolError
from .._stores.spool.reader import SpoolSnapshot
from .event_view import build_event_view, format_event
from .options import (
    MAX_SECONDS,
    add_identifiers_option,
    add_json_option,
    add_spool_option,
    load_spool_dir,
    make_int_type,
)
from .terminal import DIM, FAILURE, SUCCESS, WARNING, Part, print_parts

_POLL_SECONDS = 0.1
"""Time between two polls; events that come and go in between are only counted."""

Change = dict[str, Any]
"""One change of a spool, as ``--json`` prints it."""


class LineLimitReached(Exception):
    """As many lines as ``--lines`` allows are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``tail``."""
    parser.description = (
        "Prints a line for each event that arrives in a spool, and one when it leaves:"
        " delivered (or dropped, where the spool is full), or rejected with ODP's"
        " reason; at the end, what is left. Only reads. Ctrl-C ends it. An event that"
        " ODP takes at once never enters the spool; tail shows it only with"
        ' durability="crash".'
    )
    add_spool_option(parser)
    add_json_option(parser)
    add_identifiers_option(parser)
    parser.add_argument(
        "--seconds",
        type=make_int_type(1, MAX_SECONDS),
        metavar="N",
        help="Stop after this many seconds.",
    )
    parser.add_argument(
        "--lines",
        type=make_int_type(1, 10**9),
        metavar="N",
        help="Stop after this many lines.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Follow the spool that *options* or the environment name."""
    return follow_spool(
        load_spool_dir(options.spool),
        as_json=options.json,
        show=options.show_identifiers,
        seconds=options.seconds,
        lines=options.lines,
    )


def follow_spool(
    spool_dir: Path,
    *,
    as_json: bool,
    show: bool,
    seconds: float | None = None,
    lines: int | None = None,
) -> int:
    """
    Print a line for each event that arrives in *spool_dir* or leaves it, until Ctrl-C.

    Args:
        show: Whether to show identifiers.
        seconds: When to stop; None for no limit.
        lines: After how many lines to stop; None for no limit.
    """
    if not spool_dir.is_dir():
        print_line(f"there is no spool at {spool_dir} yet; waiting for it", sys.stderr)
    deadline = None if seconds is None else monotonic() + seconds
    printer = _ChangePrinter(as_json=as_json, limit=lines)
    try:
        _follow_until(deadline, SpoolPoller(spool_dir, show=show), printer)
    except LineLimitReached:
        pass
    return 0


def _follow_until(
    deadline: float | None, poller: SpoolPoller, printer: _ChangePrinter
) -> None:
    """Print changes until *deadline* or Ctrl-C, then what is left."""
    pause = threading.Event()
    try:
        waiting = poller.start()
        print_line(
            f"{format_count(waiting, 'event')} waiting in {poller.spool_dir}",
            sys.stderr,
        )
        while deadline is None or monotonic() < deadline:
            pause.wait(_POLL_SECONDS)
            printer.print_changes(poller.poll())
    except KeyboardInterrupt:
        pass
    printer.print_changes(poller.list_remaining())


class _ChangePrinter:
    """Prints changes, one per line, up to a limit."""

    def __init__(self, *, as_json: bool, limit: int | None) -> None:
        self._as_json = as_json
        self._limit = limit
        self._line_count = 0

    def print_changes(self, changes: Iterator[Change]) -> None:
        """
        Print *changes*.

        Raises:
            LineLimitReached: The limit is reached.
        """
        for change in changes:
            if self._as_json:
                print_line(json.dumps(change))
            else:
                print_parts(*_build_parts(change))
            self._line_count += 1
            if self._line_count == self._limit:
                raise LineLimitReached


_STYLES = {"delivered": SUCCESS, "rejected": FAILURE, "left": WARNING}


def _build_parts(change: Change) -> list[Part]:
    """Return *change* as a human-readable line."""
    kind = change["what"]
    time_ = (f"{change['at'][11:19]}  ", DIM)
    parts = [time_, (f"{kind:<9}  ", _STYLES.get(kind, ""))]
    if kind == "unseen":
        events = format_count(change["count"], "event")
        return [*parts, (f"{events} came and went in between", "")]
    event = change["event"] or {"type": "?", "action": "?", "identifiers": {}}
    parts.append((f"{change['id']}  {format_event(event)}", ""))
    if "reason" in change:
        parts.append((f"  {change['reason']}", FAILURE))
    return parts


@dataclass(slots=True)
class _FileState:
    """What was in a spool file at the last poll."""

    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    """A description of each waiting event, by its number."""
    dead: set[int] = field(default_factory=set)
    max_number: int | None = None
    """The highest number seen; None before the first poll."""


class SpoolPoller:
    """
    Compares the files of a spool with what they held at the last poll.

    Each file is opened for reading only, and closed after each poll: no writer waits
    for it, and a file may appear and vanish.
    """

    def __init__(self, spool_dir: Path, *, show: bool) -> None:
        self.spool_dir = spool_dir
        self._show = show
        self._files: dict[Path, _FileState] = {}

    def start(self) -> int:
        """Read what is there without reporting it; return the number of events."""
        for _ in self.poll():
            pass
        return sum(len(file.events) for file in self._files.values())

    def poll(self) -> Iterator[Change]:
        """Yield what has changed since the last poll."""
        paths = _directory.list_files(self.spool_dir)
        for path in paths:
            yield from self._read_changes(path)
        for path in [path for path in self._files if path not in paths]:
            # A file is removed after its last event has left it.
            for event in self._files.pop(path).events.values():
                yield _build_change("delivered", event)

    def list_remaining(self) -> Iterator[Change]:
        """Yield the events that still wait."""
        for file in self._files.values():
            for event in file.events.values():
                yield _build_change("left", event)

    def _read_changes(self, path: Path) -> list[Change]:
        """Return the changes of one file."""
        changes = []
        try:
            # The changes are printed later: a blocked stdout must not keep the
            # snapshot open, which would keep the owner from shortening its log.
            with SpoolSnapshot(path) as snapshot:
                # One by one: those before an error are kept.
                for change in self._compare(path, snapshot):
                    changes.append(change)
        except SpoolError:
            pass  # removed meanwhile, or not complete yet: the next poll decides
        return changes

    def _compare(self, path: Path, snapshot: SpoolSnapshot) -> Iterator[Change]:
        """Yield the differences between *snapshot* and the last one."""
        file = self._files.setdefault(path, _FileState())
        waiting, dead = snapshot.read_row_ids(), snapshot.read_dead_ids()
        previous_max = file.max_number
        file.max_number = max(previous_max or 0, *waiting, *dead, 0)
        for number in sorted(waiting - file.events.keys()):
            event = self._serialize_event(path, number, snapshot.read_event(number))
            file.events[number] = event
            yield _build_change("arrived", event)
        for number in sorted(dead - file.dead):
            file.dead.add(number)
            known = file.events.pop(number, None)
            letter = snapshot.read_dead_letter(number)
            if letter is not None:
                event = known or self._serialize_event(path, number, letter[0])
                yield _build_change("rejected", event, reason=self._mask(*letter))
        for number in sorted(file.events.keys() - waiting):
            yield _build_change("delivered", file.events.pop(number))
        # Forget what `dead retry` and `dead drop` have removed.
        file.dead &= dead
        if previous_max is not None:
            new = set(range(previous_max + 1, file.max_number + 1))
            # Numbers of events that came and went between two polls.
            unseen = len(new - waiting - dead)
            if unseen:
                yield _build_change("unseen", {"file": path.name, "count": unseen})

    def _serialize_event(
        self, path: Path, number: int, body: bytes | None
    ) -> dict[str, Any]:
        """Return id, file and content of an event; None as content if unreadable."""
        # account-pid-token.spool
        token = path.stem.rpartition("-")[2]
        try:
            event = build_event_view(parse_event(body or b""), show=self._show)
        except ValueError:  # removed meanwhile, or damaged
            event = None
        return {"id": f"{token}-{number}", "file": path.name, "event": event}

    def _mask(self, body: bytes, reason: str) -> str:
        """Return *reason*, without the identifiers that it repeats."""
        try:
            return reason if self._show else mask_reason(reason, parse_event(body))
        except ValueError:  # the event is damaged: what to mask is unknown
            return "***"


def _build_change(name: str, event: dict[str, Any], **more: Any) -> Change:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"at": now, "what": name, **event, **more}
