"""The command ``completion``: print a script that completes words in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .._runtime.diagnostics import print_line
from .._runtime.extras import format_missing_extra
from .errors import CommandError

_SHELLS = ("bash", "zsh")

_PATHS = {"DIR": "DIRECTORY", "FILE": "FILE"}
"""Options with these values are completed with paths; shtab's name for their kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``completion``."""
    parser.description = (
        "Prints a script that completes commands, options and paths in a shell. For"
        ' bash, put eval "$(odp-logging completion bash)" into ~/.bashrc; for zsh, put'
        ' eval "$(odp-logging completion zsh)" into ~/.zshrc, after compinit. Needs the'
        " extra cli."
    )
    parser.add_argument(
        "shell", choices=_SHELLS, metavar="SHELL", help="The shell: bash or zsh."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script for the shell and the parser that *options* hold."""
    print_script(options.parser, options.shell)
    return 0


def print_script(parser: argparse.ArgumentParser, shell: str) -> None:
    """
    Print the script with which *shell* completes the words of *parser*.

    Raises:
        CommandError: The module that writes it is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise CommandError(
            format_missing_extra(
                "the module shtab is missing", requirement="shtab>=1.7", extra="cli"
            )
        ) from None
    for action in _list_actions(parser):
        kind = _PATHS.get(str(action.metavar))
        if kind is not None:
            # shtab reads this attribute. Other values are not completed.
            setattr(action, "complete", getattr(shtab, kind))  # noqa: B010
    # Line by line, since `print_line` replaces line breaks.
    for line in shtab.complete(parser, shell=shell).splitlines():
        print_line(line)


def _list_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the actions of *parser* and of its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command_parser in action.choices.values():
                yield from _list_actions(command_parser)
