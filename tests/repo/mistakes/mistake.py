"""One row in the table of mistakes, and what all of its programs begin with."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = """\
import asyncio, logging, logging.config, logging.handlers, os, queue, socket, sys
import structlog
import odp_logging
from odp_logging import OdpClient, OdpHandler, OdpProcessor
from odp_logging._cli.main import main
log = logging.getLogger("shop")
URL = os.environ["ODP_API_HOST"]
WHO = {"vuid": "0123456789abcdef0123456789abcdef"}
def start(*values, **settings):
    handler = OdpHandler(*values, **settings)
    logging.basicConfig(level="INFO", format="%(message)s")
    logging.getLogger().addHandler(handler)
    return handler
"""

SEND = 'log.info("x", extra={"odp_action": "a", "odp_identifiers": WHO})\n'


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """
    A mistake, a program with it, and what its author is told where.

    In `run` and `doctor`, ``{at}`` stands for file and line of ``# here``.

    Args:
        number: Its place in the table.
        words: What was done.
        program: The program, after `HEAD`.
        run: What the program prints; several lines may stand apart in its output.
        doctor: What ``odp-logging doctor --import`` prints of it.
        page: The check on the page of the emulator; the action is ``m`` and the number.
        types: Whether mypy reports the line ``# here``.
        plugin: Whether pytest fails, with odp_strict and odp_near_misses = error.
        is_delivered: Whether the event arrives all the same.
        silent: Why the program prints nothing.
    """

    number: int
    words: str
    program: str
    run: str = ""
    doctor: str = ""
    page: str = ""
    types: bool = False
    plugin: bool = False
    is_delivered: bool = False
    silent: str = ""

    @property
    def file(self) -> str:
        """The name of the program's file."""
        return f"shop{self.number}.py"

    @property
    def line(self) -> int:
        """The line that is marked with ``# here``."""
        before, mark, _ = f"{HEAD}{self.program}".partition("# here")
        assert mark, f"no line of {self.number} is marked"
        return before.count("\n") + 1

    def expand(self, expected: str) -> str:
        """Return *expected* with file and line in the place of ``{at}``."""
        if "{at}" not in expected:
            return expected
        return expected.replace("{at}", f"{self.file}:{self.line}")


def start_and_log(fields: str) -> str:
    """Return a program that logs once, with *fields* in ``extra``."""
    return f'start()\nlog.info("x", extra={{{fields}}})  # here\n'
