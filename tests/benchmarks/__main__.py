"""Run the benchmarks and write one table: ``python -m tests.benchmarks [NAME ...]``."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from importlib import import_module
from pathlib import Path

from .figures import Figure, table

NAMES = (
    "limits",
    "caller",
    "untagged",
    "structlog_calls",
    "application",
    "process",
    "throughput",
    "flusher",
    "memory",
    "imports",
    "exits",
    "crash",
    "growth",
    "heartbeat",
    "fleet",
    "outbox",
    "peers",
)
"""A module each, with a function ``measure`` that returns its figures."""

PAGE = Path(__file__).with_name("README.md")
_TABLE = re.compile(r"(<!-- table -->\n).*(<!-- /table -->)", re.DOTALL)


def main() -> None:
    """Run what is asked for, print the table, and put it into README.md if wanted."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--write", action="store_true", help="put the table into the page README.md"
    )
    asked = parser.parse_args()
    names = asked.names or list(NAMES)
    if unknown := sorted({*names} - {*NAMES}):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    figures: list[Figure] = []
    began = time.monotonic()
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        figures += import_module(f"{__package__}.{name}").measure()
    machine = (
        f"CPython {platform.python_version()}, {platform.system()}"
        f" {platform.machine()}, {os.cpu_count()} cores,"
        f" {time.monotonic() - began:.0f} s in all."
    )
    shown = f"{machine}\n\n{table(figures)}\n"
    print(shown)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            _TABLE.sub(lambda m: f"{m[1]}\n{shown}\n{m[2]}", page), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
