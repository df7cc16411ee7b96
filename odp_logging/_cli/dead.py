"""The command ``dead``: look after events that ODP rejected, in a spool or a queue."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._runtime.diagnostics import print_line
from .._runtime.text import format_count
from . import queue, spool
from .command_parser import add_commands
from .dead_letters import DeadLetterStore, StoredLetter
from .errors import CommandError
from .event_view import (
    build_letter_view,
    format_event,
    format_identifiers,
    format_table_time,
)
from .options import (
    add_identifiers_option,
    add_json_option,
    add_queue_option,
    add_spool_option,
    load_config,
    load_spool_dir,
)
from .terminal import DIM, FAILURE, STRONG, Part, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``dead``."""
    parser.description = (
        "Shows dead letters: events that ODP rejected, with its reason. Identifiers are"
        " masked unless --show-identifiers is given."
    )
    texts = {
        "list": "Print one line for each dead letter.",
        "show": "Print all fields of one dead letter.",
        "retry": "Have the next process or relay send dead letters again.",
        "drop": "Delete dead letters.",
    }
    list_, show, retry, drop = add_commands(parser, texts).values()
    for command_parser in (list_, show, retry, drop):
        add_spool_option(command_parser)
        add_json_option(command_parser)
        add_queue_option(command_parser)
    for command_parser in (list_, show):
        add_identifiers_option(command_parser)
    show.add_argument("id", metavar="ID", help="As `dead list` shows it.")
    for command_parser in (retry, drop):
        # Required: a forgotten id must not retry or delete all of them.
        group = command_parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--all", action="store_true", help="All of them.")
        group.add_argument(
            "id", metavar="ID", nargs="*", default=[], help="As `dead list` shows it."
        )
    list_.set_defaults(run=run_list)
    show.set_defaults(run=run_show)
    retry.set_defaults(run=run_retry)
    drop.set_defaults(run=run_drop)


def run_list(options: argparse.Namespace) -> int:
    """Print the dead letters, one per line."""
    # Closed before printing: a blocked stdout must not keep a connection open.
    with _open_store(options) as store:
        letters = store.read_letters()
    views = [_build_view(letter, show=options.show_identifiers) for letter in letters]
    if options.json:
        print(json.dumps(views))
        return 0
    if not print_table(_COLUMNS, [_build_row(view) for view in views]):
        for view in views:
            event = format_event(view["event"])
            print_line(f"{view['id']}  {view['buried']}  {event}  {view['reason']}")
    if not views:
        print_line("no dead letters")
    return 0


# `buried` is a key of the public --json, and `dead_since` the same value in code.
_COLUMNS = ("id", "rejected at", "event", "identifiers", "reason")


def _build_row(view: dict[str, Any]) -> list[Part]:
    """Return the row of a dead letter in a terminal's table."""
    event = view["event"]
    return [
        (view["id"], STRONG),
        (format_table_time(view["buried"]), DIM),
        (f"{event['type']}/{event['action']}", ""),
        (format_identifiers(event), ""),
        (view["reason"], FAILURE),
    ]


def run_show(options: argparse.Namespace) -> int:
    """Print all fields of one dead letter."""
    with _open_store(options) as store:
        (letter,) = _select_letters(store, [options.id])
    view = _build_view(letter, show=options.show_identifiers)
    print(json.dumps(view) if options.json else json.dumps(view, indent=2))
    return 0


def run_retry(options: argparse.Namespace) -> int:
    """Requeue dead letters; the next process or relay sends them."""
    with _open_store(options) as store:
        letters = _select_letters(store, options.id)
        store.retry_letters(letters)
    return _print_count("retried", len(letters), as_json=options.json)


def run_drop(options: argparse.Namespace) -> int:
    """Delete dead letters."""
    with _open_store(options) as store:
        letters = _select_letters(store, options.id)
        store.delete_letters(letters)
    return _print_count("dropped", len(letters), as_json=options.json)


@contextmanager
def _open_store(options: argparse.Namespace) -> Iterator[DeadLetterStore[Any]]:
    """Yield the store that *options* name, or else the environment."""
    # What the command line names comes before the environment; there, a spool does.
    if options.queue or not (options.spool or _is_spool_configured()):
        url, _ = queue.load_queue_config(options.queue)
        with queue.open_engine(url) as engine:
            yield queue.QueueLetters(engine)
    else:
        yield spool.SpoolLetters(load_spool_dir(options.spool))


def _is_spool_configured() -> bool:
    """Whether the environment names a spool, or else names no queue."""
    config = load_config({})
    return config.spool is not None or config.queue_url is None


def _select_letters(
    store: DeadLetterStore[Any], names: Sequence[str]
) -> list[StoredLetter[Any]]:
    """Return the dead letters with the ids *names*; all if *names* is empty."""
    by_id = {letter.id: letter for letter in store.read_letters()}
    for name in names:
        if name not in by_id:
            raise CommandError(
                f"there is no dead letter {name}; see odp-logging dead list"
            )
    return [by_id[name] for name in names] if names else list(by_id.values())


def _build_view(letter: StoredLetter[Any], *, show: bool) -> dict[str, Any]:
    """Return what is printed of *letter*; unless *show*, identifiers are masked."""
    content = build_letter_view(letter.body, letter.reason, show=show)
    return {"id": letter.id, **letter.details, **content}


def _print_count(outcome: str, count: int, *, as_json: bool) -> int:
    text = f"{format_count(count, 'dead letter')} {outcome}"
    print_line(json.dumps({outcome: count}) if as_json else text)
    return 0
