"""A command in a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from odp_logging._runtime.lock import monotonic

PATIENCE = 60.0

LOGIN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes stdin the terminal of its session, as a login does; becomes the command."""


class Terminal:
    """The end of a pseudo-terminal at which a user sits. Used by one thread."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.text = ""
        self.process = process
        self._descriptor = descriptor

    def read_until(self, text: str) -> None:
        """Read what is printed until *text* is a part of it."""
        deadline = monotonic() + PATIENCE
        while text not in self.text:
            assert self._read(deadline), f"{text!r} is not in:\n{self.text}"

    def read_to_end(self) -> int:
        """Read what is printed until the command ends; return its exit status."""
        deadline = monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def press(self, key: bytes) -> None:
        """Type *key*."""
        os.write(self._descriptor, key)

    def _read(self, deadline: float) -> bool:
        """Read what is there; return False at the end."""
        left = max(0.0, deadline - monotonic())
        assert select.select([self._descriptor], [], [], left)[0], self.text
        try:
            content = os.read(self._descriptor, 65_536)
        except OSError:  # how Linux reports that no process has the terminal any more
            return False
        self.text += content.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(content)


@contextmanager
def open_terminal(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    columns: int = 80,
) -> Iterator[Terminal]:
    """
    Run *command* in a terminal of *columns*; kill it at the end if it is still there.

    Args:
        environment: Variables besides those of the tests.
    """
    # A terminal has its own size, and its user's shell has none of the others.
    left_out = ("CI", "NO_COLOR", "COLUMNS", "LINES")
    inherited = {k: v for k, v in os.environ.items() if k not in left_out}
    leader, follower = pty.openpty()
    size = struct.pack("HHHH", 40, columns, 0, 0)
    fcntl.ioctl(leader, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        [sys.executable, "-c", LOGIN, *command],
        env={**inherited, "TERM": "xterm-256color", **(environment or {})},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield Terminal(process, leader)
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(leader)
