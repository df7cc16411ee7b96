"""The page of the command line: its tables are true."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging._cli.parser import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "commands" / "README.md").read_text(encoding="utf-8")


def list_options(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield each command of *parser* with each of its options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield from list_options(command, f"{name} {word}".strip())
        for option in action.option_strings:
            yield name, option


def test_the_table_of_commands_is_complete() -> None:
    """Each command has its row, with its line of ``--help``."""
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)) == COMMANDS


def test_the_commands_with_json_are_named() -> None:
    """The page names every command that has ``--json``, and no other."""
    parser = build_parser(list(COMMANDS))
    found = {name for name, option in list_options(parser) if option == "--json"}
    (text,) = re.findall(r"^`--json`(.*?)\. ", PAGE, re.MULTILINE | re.DOTALL)
    named = set(re.findall("`([a-z ]+)( \\.\\.\\.)?`", text))

    assert {name for name, more in named if not more} | {
        name for name in found if name.startswith("dead ")
    } == found
    assert ("dead", " ...") in named


@pytest.mark.parametrize("status", ["0", "1", "2", "3", "130"])
def test_exit_statuses_are_explained(status: str) -> None:
    """Each has a row on the page, and is in ``odp-logging --help``."""
    (epilog,) = [build_parser([]).epilog or ""]

    assert re.search(rf"^\| {status} \| ", PAGE, re.MULTILINE)
    assert re.search(rf"\b{status} (if|after)", epilog)
