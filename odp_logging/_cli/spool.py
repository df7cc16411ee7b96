"""The command ``spool``, and the dead letters of a spool for the command ``dead``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .._events.event import parse_event
from .._runtime.diagnostics import print_line
from .._runtime.text import format_count
from .._stores.spool import directory as _directory
from .._stores.spool.errors import SpoolError
from .._stores.spool.file import SpoolFile
from .._stores.spool.file_lock import claim_file, is_owned
from .._stores.spool.reader import SpoolReader
from .._stores.spool.schema import DeadLetterRow
from .command_parser import add_commands
from .dead_letters import StoredLetter
from .errors import CommandError
from .event_view import format_table_time, format_time
from .options import add_json_option, add_spool_option, load_spool_dir
from .terminal import DIM, FAILURE, WARNING, Part, print_table

KeyType = TypeVar("KeyType")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``spool``."""
    parser.description = "Shows what waits in a spool, file by file."
    (status_parser,) = add_commands(
        parser, {"status": "Count events and dead letters."}
    ).values()
    add_spool_option(status_parser)
    add_json_option(status_parser)
    status_parser.set_defaults(run=run_status)


def run_status(options: argparse.Namespace) -> int:
    """Print the status of the spool that *options* or the environment name."""
    return show_status(load_spool_dir(options.spool), as_json=options.json)


def show_status(spool_dir: Path, *, as_json: bool) -> int:
    """Print the counts of each file in *spool_dir*; return the exit status."""
    states = [_read_file_state(path) for path in list_files(spool_dir)]
    if as_json:
        print(json.dumps({"spool": str(spool_dir), "files": states}))
        return 0
    if not print_table(_COLUMNS, [_build_row(state) for state in states]):
        for state in states:
            print_line(_format_state(state))
    events, dead = (sum(state[name] for state in states) for name in ("events", "dead"))
    print_line(
        f"{spool_dir}: {format_count(events, 'event')},"
        f" {format_count(dead, 'dead letter')} in {format_count(len(states), 'file')}"
    )
    return 0


_COLUMNS = ("file", "events", "dead", "bytes", "state", "oldest event")


def _build_row(state: dict[str, Any]) -> list[Part]:
    """Return the row of a file in a terminal's table."""
    # The texts of --json: scripts compare them.
    is_readable = state["state"] in ("in use", "waiting")
    return [
        (state["file"], ""),
        (f"{state['events']:,}", ""),
        (f"{state['dead']:,}", WARNING if state["dead"] else ""),
        (f"{state['bytes']:,}", ""),
        (state["state"], "" if is_readable else FAILURE),
        (format_table_time(state["oldest"] or ""), DIM),
    ]


def _format_state(state: dict[str, Any]) -> str:
    oldest = f", oldest event {state['oldest']}" if state["oldest"] else ""
    return (
        f"{state['file']}: {format_count(state['events'], 'event')},"
        f" {format_count(state['dead'], 'dead letter')},"
        f" {state['bytes']:,} bytes, {state['state']}{oldest}"
    )


def list_files(spool_dir: Path) -> list[Path]:
    """
    Return the files of the spool in *spool_dir*.

    Raises:
        CommandError: There is no such directory.
    """
    if not spool_dir.is_dir():
        raise CommandError(
            f"there is no spool at {spool_dir}; name its directory with --spool"
        )
    return _directory.list_files(spool_dir)


def _read_file_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = {
        "file": path.name,
        "account": _directory.parse_account(path),
        "events": 0,
        "dead": 0,
        "bytes": 0,
        "oldest": None,
    }
    state["state"] = "in use" if is_owned(path) else "waiting"
    try:
        with SpoolReader(path) as reader:
            state |= {"events": reader.count, "dead": reader.dead_count}
            state["bytes"] = reader.size + reader.dead_size
            state["oldest"] = _read_log_time(reader.read_first_event())
    except SpoolError as error:
        state["state"] = f"unreadable: {error}"
    return state


def _read_log_time(body: bytes | None) -> str | None:
    """Return the time at which the event of *body* was logged."""
    try:
        stamp = parse_event(body or b"").data.get("ts")
    except ValueError:
        return None
    return format_time(stamp) if isinstance(stamp, (int, float)) else stamp


# Dead letters.


@dataclass(frozen=True, slots=True)
class SpoolLetter:
    """A dead letter and its spool file."""

    path: Path
    letter: DeadLetterRow


class SpoolLetters:
    """The dead letters of the spool in *spool_dir*, for the command ``dead``."""

    def __init__(self, spool_dir: Path) -> None:
        self._spool_dir = spool_dir

    def read_letters(self) -> list[StoredLetter[SpoolLetter]]:
        """Return all dead letters, the oldest first."""
        found = []
        for path in list_files(self._spool_dir):
            try:
                with SpoolReader(path) as reader:
                    letters = reader.read_dead_letters()
            except SpoolError as error:
                print_line(f"odp-logging: {path.name}: {error}; left out", sys.stderr)
                continue
            found += [SpoolLetter(path, letter) for letter in letters]
        found.sort(key=lambda stored: stored.letter.dead_since)
        return [_build_stored_letter(stored) for stored in found]

    def retry_letters(self, letters: Sequence[StoredLetter[SpoolLetter]]) -> None:
        """Requeue *letters*; the next process that uses the spool sends them."""
        for account, group in _group_letters(letters, _get_account).items():
            # Written first, then deleted: after a crash in between they are sent
            # twice instead of never.
            file = SpoolFile(_directory.create_file(self._spool_dir, account))
            file.add([stored.body for stored in group], 1)
            file.close()
            self.delete_letters(group)

    def delete_letters(self, letters: Sequence[StoredLetter[SpoolLetter]]) -> None:
        """Delete *letters*, and files that become empty."""
        for path, group in _group_letters(
            letters, lambda stored: stored.letter.path
        ).items():
            numbers = [stored.letter.letter.number for stored in group]
            with SpoolReader(path) as reader:
                reader.delete_dead_letters(numbers)
                # The reader still sees the file as it was before.
                is_empty = not (reader.count or reader.dead_count - len(numbers))
            ownership = claim_file(path) if is_empty else None
            if ownership is not None:
                SpoolFile(ownership).close()  # which removes an empty file


def _build_stored_letter(found: SpoolLetter) -> StoredLetter[SpoolLetter]:
    # account-pid-token.spool
    token = found.path.stem.rpartition("-")[2]
    letter = found.letter
    details = {"file": found.path.name, "buried": format_time(letter.dead_since)}
    return StoredLetter(
        f"{token}-{letter.number}", letter.body, letter.reason, details, found
    )


def _get_account(stored: StoredLetter[SpoolLetter]) -> str:
    return _directory.parse_account(stored.letter.path)


def _group_letters(
    letters: Sequence[StoredLetter[SpoolLetter]],
    get_key: Callable[[StoredLetter[SpoolLetter]], KeyType],
) -> dict[KeyType, list[StoredLetter[SpoolLetter]]]:
    groups: dict[KeyType, list[StoredLetter[SpoolLetter]]] = {}
    for stored in letters:
        groups.setdefault(get_key(stored), []).append(stored)
    return groups
