"""The command ``send``: send events from the shell, and report what became of them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._capture.network_block import block_if_testing
from .._runtime.bounded_json import parse_json
from .._runtime.text import format_count
from .errors import CommandError
from .event_sender import EventSender, Outcome
from .options import (
    KEY_HINT,
    add_json_option,
    add_spool_option,
    add_timeout_option,
    load_config,
    parse_text,
)
from .terminal import FAILURE, SUCCESS, WARNING, print_parts

DELIVERED, REJECTED, UNDELIVERED = 0, 1, 3
"""Exit statuses; 2 stands for a command that cannot be carried out."""

_FIELDS = frozenset(
    {"action", "type", "identifiers", "data", "timestamp", "idempotence_id"}
)
"""Keys of an event on stdin."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``send``."""
    parser.description = (
        "Sends an event with ODP_API_KEY and ODP_API_HOST. Exit status 0 if it is"
        " delivered, 1 if it is rejected, 3 if it is not delivered in time, 2 if the"
        " command cannot be carried out."
    )
    parser.add_argument(
        "action",
        type=parse_text,
        metavar="ACTION",
        help='What happened; or "-" to read JSON objects with action, type,'
        " identifiers, data from stdin: one, a list of them, or one per line.",
    )
    parser.add_argument(
        "--type", type=parse_text, metavar="TYPE", help="The event's type."
    )
    for option, text in {
        "--identifier": "An identifier: name=value. May be repeated.",
        "--data": "A field of the data: name=text or name:=JSON. May be repeated.",
    }.items():
        parser.add_argument(
            option,
            type=parse_pair,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=text,
        )
    add_timeout_option(parser, 10)
    add_spool_option(parser, "Directory in which to keep what is not delivered")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send the event that *options* describe, or those on stdin."""
    hint = 'add "identifiers": {"email": "a@example.com"}'
    if options.action != "-":
        hint = "add --identifier email=a@example.com"
        descriptions = [
            {
                "action": options.action,
                "type": options.type,
                "identifiers": dict(options.identifier),
                "data": dict(options.data),
            }
        ]
    elif options.type or options.identifier or options.data:
        raise CommandError('"-" reads events from stdin, and takes none of the options')
    else:
        descriptions = parse_events(_read_stdin())
    return send_events(
        descriptions,
        identifier_hint=hint,
        seconds=options.timeout,
        spool=options.spool,
        as_json=options.json,
    )


def send_events(
    descriptions: Iterable[Mapping[str, Any]],
    *,
    identifier_hint: str,
    seconds: float,
    spool: str | None,
    as_json: bool,
) -> int:
    """
    Send events, print what became of them, and return the exit status.

    Args:
        descriptions: A mapping with the keys of an event on stdin for each event.
        identifier_hint: What to do about an event without identifiers.
        seconds: How long retries go on.
        spool: Directory in which to keep what is not delivered; None for that of
            ``ODP_SPOOL``.

    Raises:
        CommandError: There is no key, or a setting cannot be used.
    """
    config = load_config({"spool": spool})
    destination = config.destination()
    if destination is None:
        raise CommandError(f"ODP_API_KEY is not set; {KEY_HINT}")
    if not config.enabled:
        raise CommandError("ODP_ENABLED is off; unset it to send")
    # Tests of an application may start this command; they must not reach ODP.
    block_if_testing()
    sender = EventSender(config, destination)
    sender.build_events(descriptions, identifier_hint=identifier_hint)
    sender.send(seconds=seconds)
    if config.spool is not None:
        sender.keep_pending()
    if as_json:
        _print_json(sender.outcome)
    else:
        _print_outcome(sender.outcome, config.spool)
    return _get_status(sender.outcome)


def _get_status(outcome: Outcome) -> int:
    # First: a script may try again, and only this status says that it helps.
    if outcome.undelivered:
        return UNDELIVERED
    return REJECTED if outcome.rejected else DELIVERED


def _print_json(outcome: Outcome) -> None:
    summary = {
        "delivered": outcome.delivered,
        "rejected": [
            {"event": index, "reason": reason} for index, reason in outcome.rejected
        ],
        "warnings": [
            {"event": index, "text": text} for index, text in outcome.warnings
        ],
        "undelivered": outcome.undelivered,
        "kept": outcome.kept,
        "error": outcome.error if outcome.undelivered else "",
    }
    print(json.dumps(summary))


def _print_outcome(outcome: Outcome, spool: Path | None) -> None:
    for index, text in outcome.warnings:
        print_parts(
            (f"event {index + 1} warning: ", WARNING), (text, ""), file=sys.stderr
        )
    if outcome.delivered:
        print_parts((f"{format_count(outcome.delivered, 'event')} delivered", SUCCESS))
    for index, reason in outcome.rejected:
        print_parts(
            (f"event {index + 1} rejected: ", FAILURE), (reason, ""), file=sys.stderr
        )
    if outcome.undelivered:
        detail = f"kept in {spool}, and sent by the next process that uses it"
        if not outcome.kept:
            detail = "not kept; send again, or name a --spool"
        print_parts(
            (f"{format_count(outcome.undelivered, 'event')} not delivered: ", FAILURE),
            (f"{outcome.error}; {detail}", ""),
            file=sys.stderr,
        )


# Values on the command line and on stdin.


def parse_pair(text: str) -> tuple[str, Any]:
    """
    Return name and value of ``name=text`` or ``name:=JSON``.

    Raises:
        ArgumentTypeError: *text* has neither form.
    """
    # The name may contain a colon, but not end with one, which belongs to ":=".
    found = re.fullmatch(r"([^=]*?[^=:])(:?=)(.*)", text, re.DOTALL)
    if found is None:
        # The message does not repeat the text, which may hold personal data.
        raise argparse.ArgumentTypeError(
            "the value is neither name=text nor name:=JSON"
        )
    name, sign, value = found.groups()
    if sign == "=":
        return name, value
    try:
        return name, parse_json(value)
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(
            f"the text after {name}:= is no JSON"
        ) from None


def _read_stdin() -> str:
    try:
        # Python sets stdin to None if its descriptor is closed.
        return sys.stdin.read() if sys.stdin is not None else ""
    except UnicodeDecodeError:
        raise CommandError("stdin is no text in UTF-8; nothing was sent") from None


def parse_events(text: str) -> list[dict[str, Any]]:
    """
    Return the events that *text* describes: a JSON object, a list, or JSON lines.

    Raises:
        CommandError: *text* has none of these forms, or an event is not complete.
    """
    try:
        # One event over several lines is also a document, so this comes first.
        content = parse_json(text)
        events = content if isinstance(content, list) else [content]
    except (ValueError, RecursionError):
        events = [_parse_line(line) for line in text.splitlines() if line.strip()]
    for number, event in enumerate(events, 1):
        if (
            not isinstance(event, dict)
            or "action" not in event
            or event.keys() - _FIELDS
        ):
            # Before anything is sent: the input can be fixed and sent as a whole.
            raise CommandError(
                f"event {number} of the input is no object with an action and nothing"
                f" but {', '.join(sorted(_FIELDS))}; nothing was sent"
            )
    if not events:
        raise CommandError("the input is empty; give a JSON object for each event")
    return events


def _parse_line(line: str) -> Any:
    """Return the JSON of *line*, or None, which `parse_events` refuses."""
    try:
        return parse_json(line)
    except (ValueError, RecursionError):
        return None
