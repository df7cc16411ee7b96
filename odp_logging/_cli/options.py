"""The options that several commands have, and the types of their values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .._config.load import load
from .._config.parsers import make_int_parser
from .._config.settings import Config
from .._runtime.diagnostics import print_line
from ..exceptions import ConfigurationError
from .errors import CommandError

MAX_SECONDS = 86_400
"""The longest time that a command may be told to take: a day."""

KEY_HINT = (
    "find the public key in ODP under Account Settings > APIs, or run"
    " `odp-logging emulator` and set ODP_API_KEY=test ODP_API_HOST=http://127.0.0.1:8181"
)
"""What to do if there is no API key."""

T = TypeVar("T")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="Print JSON for programs.")


def add_spool_option(
    parser: argparse.ArgumentParser, text: str = "The spool's directory"
) -> None:
    """Add ``--spool``; `load_spool_dir` reads it."""
    parser.add_argument(
        "--spool",
        type=parse_text,
        metavar="DIR",
        help=f"{text} (default: that of ODP_SPOOL).",
    )


def add_queue_option(
    parser: argparse.ArgumentParser, *, default: str | None = None
) -> None:
    """Add ``--from``; `queue.load_queue_config` reads it."""
    parser.add_argument(
        "--from",
        dest="queue",
        default=default,
        type=parse_text,
        metavar="URL",
        help="The queue, as applications name it in queue_url (default: that of"
        " ODP_QUEUE_URL, where other users of the machine do not see its password).",
    )


def add_timeout_option(
    parser: argparse.ArgumentParser,
    default: int,
    *,
    maximum: int = MAX_SECONDS,
    text: str = "When to stop",
) -> None:
    """Add ``--timeout``, a whole number of seconds up to *maximum*."""
    parser.add_argument(
        "--timeout",
        type=make_int_type(1, maximum),
        default=default,
        metavar="SECONDS",
        help=f"{text} (default: %(default)s).",
    )


def add_port_option(parser: argparse.ArgumentParser, default: int, text: str) -> None:
    """Add ``--port``; 0 stands for a free one."""
    parser.add_argument(
        "--port", type=make_int_type(0, 65535), default=default, help=text
    )


def add_identifiers_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--show-identifiers``."""
    parser.add_argument(
        "--show-identifiers", action="store_true", help="Do not mask identifiers."
    )


# Messages.


def print_message(text: str) -> None:
    """Print *text* on stderr, which leaves stdout to the result."""
    print_line(f"odp-logging: {text}", sys.stderr)


# Settings.


def load_config(
    settings: dict[str, Any], report: Callable[[str], None] = lambda message: None
) -> Config:
    """
    Return the configuration from *settings* and the environment.

    Args:
        report: Called with each warning, if there is no error.

    Raises:
        CommandError: A setting cannot be used, or two contradict each other.
    """
    # Collected, because an error alone is to be one line.
    warnings: list[str] = []
    try:
        config = load(settings, warn=lambda kind, message: warnings.append(message))
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    for message in warnings:
        report(message)
    return config


def load_spool_dir(given: str | None) -> Path:
    """
    Return the directory *given*, or else that of ``ODP_SPOOL``.

    Raises:
        CommandError: Neither is set, or the setting is wrong.
    """
    # As a setting, because `load` then reads ODP_SPOOL and expands "~" in both.
    spool_dir = load_config({"spool": given}).spool
    if spool_dir is None:
        raise CommandError(
            "which spool? name its directory with --spool, or set ODP_SPOOL"
        )
    return spool_dir


# Types of values.


def parse_with(parse: Callable[[object], T]) -> Callable[[str], T]:
    """Return *parse*, a parser of a setting's value, as the type of an argument."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} cannot be used; give {error}"
            ) from None

    return parse_argument


def make_int_type(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return the type of an argument that is a number from *minimum* to *maximum*."""
    return parse_with(make_int_parser(minimum, maximum))


def parse_text(text: str) -> str:
    """Return *text*, which may not be empty."""
    # An empty value is more likely an unset variable of the shell than intended.
    if not text:
        raise argparse.ArgumentTypeError("the value is empty; give a text")
    return text
