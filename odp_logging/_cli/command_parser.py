"""The parser of one command line: subcommands, and messages that say what is meant.

It has a file of its own because `parser` imports the commands, and they import this.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from .._runtime.text import pluralize
from .errors import UsageError, mask_arguments

_MIN_RATIO = 0.6
"""Of difflib, from which on a word is a misspelt one."""

_IDENTIFIER = "--identifier"


class CommandParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, without the usage above it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(add_help=False, **arguments)
        self.add_argument("-h", "--help", action="help", help="Show this help.")

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """
        Return the options in *words*.

        Raises:
            UsageError: A word is not understood, or one is missing.
        """
        # parse_args() would repeat the unknown words in its message: they may be keys.
        options: argparse.Namespace = self.parse_known_args(words)[0]
        return options

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """
        Return the options in *args*; argparse calls it for each subcommand, too.

        Raises:
            UsageError: A word is not understood, or one is missing.
        """
        # First, because a misspelt option is the cause of most other mistakes.
        self._reject_unknown_options(list(self._find_unknown_options(args)))
        options, unknown = super().parse_known_args(args, namespace)
        # Here, where the subcommand is known, and with it the right help.
        self._reject_unknown_options([word for word in unknown if word[:1] == "-"])
        if unknown:
            label = pluralize("argument", len(unknown))
            text = f"unexpected {label} {mask_arguments(unknown)}"
            # name=value is the form of an identifier.
            if _IDENTIFIER in self._option_string_actions and "=" in unknown[0]:
                text += f"; did you mean {_IDENTIFIER}?"
            self.error(text)
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`; the parser of a command calls it, too."""
        see = " See" if message.endswith("?") else "; see"
        raise UsageError(f"{self.prog}: {message}{see} {self.prog} --help")

    def _find_unknown_options(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the long options in *words* that this parser does not have."""
        known = self._option_string_actions
        commands = self._get_commands()
        is_value = False
        for word in words:
            name, sign, _ = word.partition("=")
            if not word.startswith("-") or word == "--":
                if word == "--" or (commands and not is_value):
                    return  # a subcommand, and what belongs to it
                is_value = False
                continue
            action = known.get(name)
            is_value = not sign and (action is None or action.nargs != 0)
            # argparse takes the beginning of a name for the name, and words with a
            # blank for values.
            is_known = any(option.startswith(name) for option in known)
            if name.startswith("--") and " " not in word and not is_known:
                yield word

    def _reject_unknown_options(self, words: Sequence[str]) -> None:
        if words:
            names = [word.partition("=")[0] for word in words]
            known = [name for name in self._option_string_actions if name[:2] == "--"]
            self.error(
                f"unknown {pluralize('option', len(words))} {mask_arguments(words)}"
                + suggest(names, known)
            )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a *value* of *action* that is none of its choices."""
        choices = action.choices
        if choices is None or value in choices:
            return
        hint = suggest([str(value)], choices)
        if choices is self._get_commands():
            self.error(f"there is no command {value!r}{hint}")
        self.error(f"{value!r} is none of {', '.join(map(str, choices))}{hint}")

    def _get_commands(self) -> dict[str, Any]:
        """Return the parsers of the subcommands, by their names."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                commands: dict[str, Any] = action.choices
                return commands
        return {}


def suggest(words: Iterable[str], known: Iterable[str]) -> str:
    """Return a question with those of *known* that are most similar to *words*."""
    # Imported here: most command lines have no mistake.
    import difflib

    choices = list(known)
    matches = [
        difflib.get_close_matches(word, choices, 1, _MIN_RATIO) for word in words
    ]
    found = list(dict.fromkeys(name for names in matches for name in names))
    return f"; did you mean {', '.join(found)}?" if found else ""


def add_commands(
    parser: argparse.ArgumentParser, texts: dict[str, str]
) -> dict[str, argparse.ArgumentParser]:
    """
    Add the commands *texts*, each with its help; return their parsers by name.

    Without a command, *parser* prints its help.
    """
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="subcommand"
    )

    def print_help(options: argparse.Namespace) -> int:
        parser.print_help()
        return 2  # a script with an empty variable in the command's place has failed

    parser.set_defaults(run=print_help)
    return {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in texts.items()
    }
