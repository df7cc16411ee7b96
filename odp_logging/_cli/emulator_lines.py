"""What the command ``emulator`` prints: its addresses, and a line for each request."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .._runtime.diagnostics import print_line
from .._runtime.text import format_count
from ..emulator import Emulator
from .terminal import (
    DIM,
    FAILURE,
    STRONG,
    SUCCESS,
    WARNING,
    Part,
    format_parts,
    print_parts,
)

_FIELDS = ("time", "method", "path", "status", "events", "bytes", "rejected", "lost")
"""What is printed of a request as JSON, besides why it was refused."""


class LinePrinter:
    """
    Prints what happens to an emulator, for a user or as JSON lines.

    Args:
        key: The only API key that is accepted; None if any is.
    """

    def __init__(self, *, key: str | None, as_json: bool) -> None:
        self._key = key
        self._as_json = as_json
        self._last = 0

    def print_urls(self, emulator: Emulator) -> None:
        """Print where to send events, the page, and how to set the environment."""
        if self._as_json:
            print(json.dumps({"url": emulator.url, "page": emulator.page}), flush=True)
            return
        print_parts(("ODP emulator ", ""), (emulator.url, STRONG))
        print_parts(("ODP emulator page ", ""), (emulator.page, STRONG))
        # A key that a user chose is a secret, perhaps: it is not repeated.
        key = "test" if self._key is None else "KEY"
        note = "" if self._key is None else "    # KEY: the one that --key names"
        print_parts((f"export ODP_API_KEY={key}", ""), (note, DIM))
        print_line(f"export ODP_API_HOST={emulator.url}")

    def print_requests(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Print a line for each of *requests*, oldest first."""
        lines = []
        for request in requests:
            # Serials without a request: it is not kept any more.
            missing = request["n"] - self._last - 1
            self._last = request["n"]
            if missing and not self._as_json:
                lines.append(f"{format_count(missing, 'request')} not shown")
            lines.append(self._format_request(request))
        _write("".join(f"{line}\n" for line in lines))

    def _format_request(self, request: Mapping[str, Any]) -> str:
        if self._as_json:
            fields = {name: request[name] for name in _FIELDS}
            return json.dumps({**fields, "reason": request["answer"].get("note", "")})
        return format_parts(build_parts(request), sys.stdout)


def build_parts(request: Mapping[str, Any]) -> list[Part]:
    """Return the line of *request*: time, path, answer, events, and why it failed."""
    clock = time.strftime("%H:%M:%S", time.localtime(request["time"]))
    status = request["status"]
    style = (
        SUCCESS if 200 <= status < 300 else WARNING if status in (0, 503) else FAILURE
    )
    parts = [
        (f"{clock}  ", DIM),
        (f"{request['method']} {request['path']}  ", ""),
        (str(status) if status else "no answer", style),
    ]
    if request["events"]:
        parts.append((f"  {format_count(request['events'], 'event')}", ""))
    for name, text in (("rejected", "rejected"), ("lost", "not taken")):
        if request[name]:
            parts.append((f", {request[name]:,} {text}", FAILURE))
    response = request["answer"]
    reason = "by a fault" if response.get("fault") else response.get("note")
    if reason:
        parts.append((f"  ({reason})", DIM))
    return parts


def _write(text: str) -> None:
    """Write *text* to stdout, past its buffer."""
    # A thread that waits here holds no lock of Python's. At exit it is frozen, and then
    # Python would abort on the lock of stdout's buffer.
    content = text.encode("utf-8", "backslashreplace")
    try:
        descriptor = sys.stdout.fileno()
        while content:
            content = content[os.write(descriptor, content) :]
    except (OSError, ValueError, AttributeError):
        pass  # no reader is left, or there is no stdout: requests are answered as ever
