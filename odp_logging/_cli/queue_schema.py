"""The command ``queue``: print or create what a kind of queue needs in its server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .._runtime.diagnostics import print_line
from .._stores.queue.engines import import_engine
from .command_parser import add_commands
from .errors import CommandError
from .options import parse_text, print_message
from .queue import load_queue_config, open_engine

if TYPE_CHECKING:
    from .._config.queue_url import QueueUrl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``queue``."""
    parser.description = (
        "What a queue needs in its server before applications and relays use it:"
        " tables, for PostgreSQL. Applications and relays never create any, so that"
        " they need no rights for it."
    )
    texts = {
        "schema": "Print the SQL that creates the tables, or grants the rights.",
        "apply": "Create it, or bring it to the newest version.",
    }
    schema, apply = add_commands(parser, texts).values()
    _add_queue_argument(schema, "The queue as in queue_url, or a kind: postgresql")
    schema.add_argument(
        "--grants",
        nargs=2,
        type=parse_text,
        metavar=("PRODUCER", "RELAY"),
        help="Print the SQL that gives two roles the rights they need, and no others."
        " PRODUCER is the role of the applications, RELAY that of relays and commands.",
    )
    schema.set_defaults(run=run_schema)
    _add_queue_argument(
        apply, "The queue as in queue_url, with a user that may create tables"
    )
    apply.set_defaults(run=run_apply)


def _add_queue_argument(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "queue",
        nargs="?",
        type=parse_text,
        metavar="URL",
        help=f"{text} (default: that of ODP_QUEUE_URL, where other users of the machine"
        " do not see its password).",
    )


def run_schema(options: argparse.Namespace) -> int:
    """Print the SQL of the queue, for a person or a program that applies it."""
    url = _load_url(options.queue)
    engine = import_engine(url)
    producer, relay = options.grants or ("", "")
    script = (
        engine.build_schema(url)
        if producer == relay == ""
        else (engine.build_grants(url, producer=producer, relay=relay))
    )
    if not script:
        print_message(f"a queue in {url.engine} needs no schema")
    for line in script.splitlines():
        print_line(line)
    return 0


def run_apply(options: argparse.Namespace) -> int:
    """Create or upgrade what the queue needs; repeating it changes nothing."""
    with open_engine(_load_url(options.queue)) as engine:
        print_line(engine.apply_schema())
    return 0


def _load_url(given: str | None) -> QueueUrl:
    """
    Return the queue that is *given*, or else that of the environment.

    Raises:
        CommandError: There is none, or it cannot be used.
    """
    if given and given.isalnum():  # the kind alone
        # Any host does: SQL is built without a connection.
        given = f"{given}://localhost"
    try:
        return load_queue_config(given)[0]
    except CommandError as error:
        raise CommandError(
            str(error).replace("name it with --from URL", "name it")
        ) from None
