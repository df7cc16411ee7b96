"""What commands show on a terminal: colour, tables, a line that changes, one key.

Elsewhere, as in a pipe, they print plain lines. Colour and tables need rich, of the
extra `cli`. It is imported only where a terminal is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from .._runtime.diagnostics import make_printable

Part = tuple[str, str]
"""A text, and its style as rich names it, such as ``"bold red"``; empty for none."""

SUCCESS, FAILURE, WARNING, DIM, STRONG = "green", "bold red", "yellow", "dim", "bold"
"""The styles of what went well, of what did not, of hints, and of what is less or more
important."""


def is_terminal(file: TextIO | None) -> bool:
    """Whether *file* is a terminal that can do more than print lines."""
    try:
        is_tty = file is not None and file.isatty()
    except ValueError:  # it is closed
        return False
    # Runners of CI have a pseudo-terminal, and keep what is written to it as a file.
    is_runner = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return is_tty and not is_runner and os.environ.get("TERM") not in _PLAIN_TERMINALS


_PLAIN_TERMINALS = ("dumb", "unknown")


def has_color(file: TextIO | None) -> bool:
    """Whether *file* is a terminal for colour, and rich is there."""
    if not is_terminal(file) or os.environ.get("NO_COLOR"):
        return False
    # Older consoles of Windows show the escape sequences as text.
    if os.name == "nt" and not os.environ.get("WT_SESSION"):
        return False
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def format_parts(parts: Sequence[Part], file: TextIO | None) -> str:
    """Return the text of *parts* on one line, with colour if *file* shows it."""
    if not has_color(file):
        return make_printable("".join(text for text, _ in parts))
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(
        Style.parse(style).render(
            make_printable(text), color_system=ColorSystem.STANDARD
        )
        for text, style in parts
    )


def print_parts(*parts: Part, file: TextIO | None = None) -> None:
    """Print *parts* as one line on *file*, by default stdout."""
    file = sys.stdout if file is None else file
    if file is not None:  # as print() does where there is no stdout
        file.write(format_parts(parts, file) + "\n")
        file.flush()


def print_block(label: Part, *parts: Part) -> None:
    """Print *label* on stdout, and right of it *parts*, wrapped between words."""
    # Imported here: pipes get plain lines.
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns - _LABEL_WIDTH - 1
    prefix: Part = (f"{label[0]:<{_LABEL_WIDTH}}", label[1])
    for text, style in parts:
        lines = textwrap.wrap(
            make_printable(text),
            max(width, 20),
            break_long_words=False,  # commands and addresses can be copied
            break_on_hyphens=False,
        )
        for line in lines:
            print_parts(prefix, (line, style))
            prefix = (" " * _LABEL_WIDTH, "")


_LABEL_WIDTH = 9


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Part]]) -> bool:
    """
    Print a table on stdout, and return True; or False if it shows none.

    The first column and numbers are not wrapped, so that they can be copied.
    """
    if not rows or not has_color(sys.stdout):
        return False
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    if console.width < _MIN_TABLE_COLUMNS:
        return False
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        is_number = all(row[index][0].replace(",", "").isdigit() for row in rows)
        table.add_column(
            name,
            justify="right" if is_number else "left",
            no_wrap=is_number or index == 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(make_printable(text), style) for text, style in row))
    console.print(table)
    return True


_MIN_TABLE_COLUMNS = 72


@contextmanager
def show_status_line(build_text: Callable[[], str]) -> Iterator[None]:
    """
    Show the text that *build_text* returns on the last line of stderr, each second.

    Other lines on stderr appear above it. Shows nothing where stderr has no colour.
    """
    if not has_color(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def build_line() -> Text:
        return Text(make_printable(build_text()), DIM, no_wrap=True)

    console = Console(file=sys.stderr)
    with Live(
        console=console, get_renderable=build_line, refresh_per_second=1, transient=True
    ):
        yield


def can_read_key() -> bool:
    """Whether a user sees stdout and can press a key."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return False
    if os.name == "nt":
        return True
    try:
        # In the background, reading would stop the process.
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False


def wait_for_key(has_ended: Callable[[], bool]) -> None:
    """Wait until a key is pressed, or *has_ended* returns True."""
    if os.name == "nt":
        _wait_for_windows_key(has_ended)
        return
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        # Keys arrive one by one and are not shown; Ctrl-C is a signal as ever.
        tty.setcbreak(descriptor)
        while not has_ended():
            if select.select([descriptor], [], [], _POLL_SECONDS)[0]:
                os.read(descriptor, 1024)  # also the rest of an arrow key
                return
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait_for_windows_key(has_ended: Callable[[], bool]) -> None:
    import msvcrt
    import threading

    pause = threading.Event()
    while not has_ended() and not msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
        pause.wait(_POLL_SECONDS)


_POLL_SECONDS = 0.2
