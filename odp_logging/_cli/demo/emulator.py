"""The demo's emulator, in a process of its own.

In the demo's process it would take CPU time from the log calls, which are measured.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_START_TIMEOUT = 15.0
_STOP_TIMEOUT = 5.0
_REQUEST_TIMEOUT = 5.0

_START = "from odp_logging._cli.main import main; sys.exit(main())"


class Emulator:
    """
    A running emulator.

    Args:
        url: Its address, as ``api_host``.
        page: The address of its page, with the access token; empty if it needs none.
    """

    def __init__(self, url: str, page: str = "") -> None:
        self.url = url
        self.page = page
        self._query = page.removeprefix(f"{url}/")

    def set_faults(self, faults: list[dict[str, Any]]) -> None:
        """Let requests fail as *faults* say."""
        request = self._build_request("faults")
        request.data = json.dumps(faults).encode()
        request.add_header("Content-Type", "application/json")
        _fetch_json(request)

    def read_stats(self) -> dict[str, Any]:
        """Return what it has counted."""
        stats: dict[str, Any] = _fetch_json(self._build_request("stats"))
        return stats

    def _build_request(self, name: str) -> urllib.request.Request:
        return urllib.request.Request(f"{self.url}/_emulator/{name}{self._query}")


def _fetch_json(request: urllib.request.Request) -> Any:
    # Without a proxy: the emulator runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_REQUEST_TIMEOUT) as response:
        return json.load(response)


def _build_command() -> list[str]:
    """Return how to run this command in another process."""
    # PyInstaller's programs are the command themselves, without an interpreter.
    if getattr(sys, "frozen", False):
        return [sys.executable]
    # With the same path: this package may be in an archive, such as shiv and pex make,
    # where `python -m` does not find it.
    path = [entry for entry in sys.path if entry]
    script = f"import sys; sys.path[:] = {path!r}; {_START}"
    return [sys.executable, "-c", script]


@contextmanager
def start_process(port: int) -> Iterator[subprocess.Popen[str]]:
    """Start the emulator's process; end it at the end of the block."""
    process = subprocess.Popen(
        [*_build_command(), "emulator", "--quiet", "--port", str(port)],
        stdin=subprocess.DEVNULL,  # the terminal's input is the shell's
        stdout=subprocess.PIPE,
        text=True,
        # A session of its own: Ctrl-C must not end it before the last event is counted.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT)
        if process.stdout is not None:
            process.stdout.close()


def read_urls(process: subprocess.Popen[str]) -> Emulator | None:
    """Return the emulator of *process*; None, with a line on stderr, if it failed."""
    assert process.stdout is not None
    # readline() has no time limit.
    readable, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT)
    if not readable:
        sys.stderr.write(f"the emulator did not start within {_START_TIMEOUT:.0f} s\n")
        return None
    # If it has ended, the lines are empty. It has printed the reason on stderr itself.
    url, page = [process.stdout.readline().split(" ")[-1].strip() for _ in range(2)]
    return Emulator(url, page) if url and page else None
