"""The parser of the command line: every command, and the arguments of the one in use.

`main` calls it. A command's module declares its arguments and carries the command out.
It is imported only when its name is on the command line, so that `odp-logging --help`
does not load what sends events.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .._version import VERSION
from .command_parser import CommandParser, add_commands

COMMANDS = {
    "demo": "See it work without an account, in 6 seconds.",
    "emulator": "Run a stand-in for ODP on this machine.",
    "spool": "See what waits in a spool.",
    "dead": "List, retry or delete events that ODP rejected.",
    "replay": "Send what earlier processes left in a spool.",
    "doctor": 'Answer "why do I see nothing?"',
    "send": "Send an event from the shell.",
    "tail": "Watch events arrive in a spool and leave it.",
    "relay": "Deliver what applications put into a queue.",
    "queue": "Create the tables of a queue, or print their SQL.",
    "completion": "Print a script that completes words in a shell.",
}
"""Each command with its line in ``odp-logging --help``."""

_DESCRIPTION = "Sends ODP events from the log calls that an application already has."

_EPILOG = (
    "Exit status: 0 if all went well; 1 if something was found, lost or left, as the"
    " help of the command says; 2 if the command line or a setting is wrong; 3 if ODP"
    " cannot be reached or refuses the key (relay, send); 130 after Ctrl-C. Colour and"
    " tables are for terminals, and need the extra cli; NO_COLOR=1 turns them off."
)


def build_parser(words: Sequence[str]) -> CommandParser:
    """Return a parser of *words*, with the arguments of the commands named there."""
    parser = CommandParser(prog="odp-logging", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"%(prog)s {VERSION}",
        help="Show the version.",
    )
    for name, command_parser in add_commands(parser, COMMANDS).items():
        # A value may be the name of a command, too. Then one module more is loaded.
        # The script for completion has the arguments of every command.
        if name in words or "completion" in words:
            _add_arguments(name, command_parser)
    parser.set_defaults(parser=parser)  # for the command `completion`
    return parser


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    """Let the module of the command *name* declare its arguments."""
    # Import statements, because PyInstaller finds no module that importlib is given.
    match name:
        case "demo":
            from .demo.run import add_arguments
        case "emulator":
            from .emulator import add_arguments
        case "spool":
            from .spool import add_arguments
        case "dead":
            from .dead import add_arguments
        case "replay":
            from .replay import add_arguments
        case "doctor":
            from .doctor.run import add_arguments
        case "send":
            from .send import add_arguments
        case "tail":
            from .tail import add_arguments
        case "relay":
            from .relay import add_arguments
        case "queue":
            from .queue_schema import add_arguments
        case "completion":
            from .completion import add_arguments
    add_arguments(parser)
