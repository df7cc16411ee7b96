"""Colour, tables and keys in a real terminal; plain lines everywhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from odp_logging._cli.main import main

from .conftest import COMMAND, fetch_stats
from .terminals import open_terminal
from .test_demo import has_ended, parse_rows
from .test_spool import EMAIL
from .test_spool import spool_with_dead_letters as spool_with_dead_letters

ESCAPE = "\x1b"

LINE = """
from odp_logging._cli.terminal import SUCCESS, print_parts
print_parts(("1 event ", ""), ("delivered\\x1b", SUCCESS))
import sys
print(*[name for name in sys.modules if name.partition(".")[0] == "rich"])
"""


def run_line(environment: dict[str, str]) -> list[str]:
    """Return what a program prints in a terminal: a line, and the modules of rich."""
    command = [sys.executable, "-W", "error", "-c", LINE]
    with open_terminal(command, environment) as terminal:
        assert terminal.read_to_end() == 0
    return terminal.text.splitlines()


def remove_styles(text: str) -> str:
    """Return *text* without escape sequences that set a style."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_a_terminal_shows_colour() -> None:
    """A part is printed in its style, without control characters of its own."""
    line, modules = run_line({})

    assert line == f"1 event {ESCAPE}[32mdelivered?{ESCAPE}[0m"
    assert "rich.style" in modules.split()


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CI": "true"}]
)
def test_the_environment_turns_colour_off(environment: dict[str, str]) -> None:
    """The line is plain, and nothing of rich is imported."""
    assert run_line(environment) == ["1 event delivered?", ""]


def test_a_pipe_gets_plain_lines() -> None:
    """The line is plain, and nothing of rich is imported."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", LINE],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stdout.splitlines() == ["1 event delivered?", ""]


def test_a_terminal_without_rich_gets_plain_lines() -> None:
    """Without the extra, the line is plain."""
    program = f"import sys; sys.modules['rich'] = None\n{LINE}"
    with open_terminal([sys.executable, "-W", "error", "-c", program]) as terminal:
        assert terminal.read_to_end() == 0

    assert terminal.text.splitlines()[0] == "1 event delivered?"


@pytest.mark.slow
def test_the_demo_stays_until_a_key_is_pressed() -> None:
    """On a terminal the emulator answers until a key, which ends the demo with 0."""
    with open_terminal([*COMMAND, "demo", "--events", "20"]) as terminal:
        terminal.read_until("until a key is pressed")
        rows = parse_rows(remove_styles(terminal.text))
        page = rows["ODP emulator"]
        assert fetch_stats(page)["unique"] == 20

        terminal.press(b"q")
        assert terminal.read_to_end() == 0
    assert rows["lost"] == "0"
    assert has_ended(page)


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_that_stays() -> None:
    """Ctrl-C in place of a key ends it with the status of the demo."""
    with open_terminal([*COMMAND, "demo", "--events", "20"]) as terminal:
        terminal.read_until("until a key is pressed")
        terminal.press(b"\x03")

        assert terminal.read_to_end() == 0
    assert "Traceback" not in terminal.text


def run_in_terminal(
    *words: str, status: int = 0, columns: int = 80, **environment: str
) -> str:
    """Return what the command prints in a terminal, without styles."""
    with open_terminal([*COMMAND, *words], environment, columns=columns) as terminal:
        assert terminal.read_to_end() == status, terminal.text
    assert ESCAPE in terminal.text
    return remove_styles(terminal.text)


def test_a_spool_is_a_table(spool_with_dead_letters: Path) -> None:
    """The files are rows, whose names are whole; the last line has the sums."""
    text = run_in_terminal("spool", "status", "--spool", str(spool_with_dead_letters))
    heading, row, total = (line.split() for line in text.splitlines()[:3])
    (file,) = spool_with_dead_letters.glob("*.spool")

    assert heading == ["file", "events", "dead", "bytes", "state", "oldest", "event"]
    assert row[:3] == [file.name, "0", "2"]
    assert total[1:] == ["0", "events,", "2", "dead", "letters", "in", "1", "file"]


@pytest.mark.parametrize("columns", [80, 120])
def test_dead_letters_are_a_table(spool_with_dead_letters: Path, columns: int) -> None:
    """Each has a row with its whole id, and identifiers are masked."""
    spool = ("--spool", str(spool_with_dead_letters))
    text = run_in_terminal("dead", "list", *spool, columns=columns)
    rows = [line for line in text.splitlines() if "sold" in line]
    ids = [row.split()[0] for row in rows]

    assert text.split()[0] == "id"
    assert len(ids) == 2
    assert EMAIL not in text.replace("\n", "")
    assert main(["dead", "show", ids[0], *spool]) == 0


def test_a_narrow_terminal_gets_lines(spool_with_dead_letters: Path) -> None:
    """A table that is too wide for a terminal is not printed."""
    command = [*COMMAND, "dead", "list", "--spool", str(spool_with_dead_letters)]
    with open_terminal(command, columns=60) as terminal:
        assert terminal.read_to_end() == 0

    assert len(terminal.text.splitlines()) == 2


def test_the_doctor_shows_what_to_do_first() -> None:
    """A problem comes before what is well, and its advice before what was found."""
    text = run_in_terminal(
        "doctor", status=1, ODP_API_KEY="W4Wz1u", ODP_API_HOST="http://127.0.0.1:9"
    )
    lines = text.splitlines()

    assert lines[0] == (
        "problem  check firewall and proxy (HTTPS_PROXY), or that the emulator runs"
    )
    assert lines[1].startswith("         connection: 127.0.0.1:9 cannot be reached")
    assert lines[-1].startswith("1 problem, ")
    assert max(map(len, lines)) < 80
