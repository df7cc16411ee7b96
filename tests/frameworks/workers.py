"""Programs that run beside a test: started, waited for, and ended by their id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from odp_logging.emulator import Emulator

from ..emulated import list_events
from ..waiting import until

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"


class Program:
    """A process of its own, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str], printed: Path) -> None:
        self.process = process
        self._printed = printed

    @property
    def text(self) -> str:
        """What it has printed so far, errors included."""
        return self._printed.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, line: str, seconds: float = 30.0) -> None:
        """Wait until it has printed *line*; fail with all it printed if it ends."""

        def came() -> bool:
            ended = self.process.poll() is not None
            assert line in self.text or not ended, self.text
            return line in self.text

        until(came, repr(line), seconds)

    def end(self, signum: int | None = None, seconds: float = 30.0) -> int:
        """Send it a signal, if one is given, and return its exit code."""
        if signum is not None:
            self.process.send_signal(signum)
        return self.process.wait(seconds)


@contextlib.contextmanager
def running(
    home: Path, *arguments: object, odp: Emulator | None = None, **environment: str
) -> Iterator[Program]:
    """Run Python with *arguments*, sending to *odp*; whatever is left is killed."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    if odp is not None:
        environ |= {"ODP_API_KEY": "test", "ODP_API_HOST": odp.url}
    printed = home / "printed.txt"
    with printed.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=home,
            env=environ | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            # Its children stand in the same group, and die with it.
            start_new_session=True,
        )
    try:
        yield Program(process, printed)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def actions(odp: Emulator) -> Counter[str]:
    """Return how often each action came; no event came twice."""
    assert (odp.stats()["duplicates"], odp.stats()["rejected"]) == (0, 0)
    return Counter(event["action"] for event in list_events(odp))
