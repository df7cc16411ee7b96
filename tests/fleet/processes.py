"""Applications and relays as separate processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from odp_logging.emulator import Emulator

from ..conftest import KEY
from ..waiting import until

SHOP = """
import logging, sys
from odp_logging import OdpHandler

logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler())
for number in range(int(sys.argv[1])):
    logger.info("sold", extra={
        "odp_action": "sold",
        "odp_identifiers": {"fs_user_id": f"u{number % 50}"},
        "odp_data": {"n": number},
    })
"""


def build_environment(**more: str) -> dict[str, str]:
    """Return the environment of a process of these tests, with *more* variables."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def run_shop(queue_url: str, count: int, program: str = SHOP, **more: str) -> str:
    """Run an application that logs *count* events, without a key; return its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(count)],
        env=build_environment(ODP_QUEUE_URL=queue_url, **more),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


class RelayProcess:
    """
    ``odp-logging relay`` as a process, which ends with the `with` block.

    Args:
        queue_url: The queue from which it takes events.
        odp: The emulator to which it delivers them.
        options: Further options of the command.
    """

    def __init__(
        self, queue_url: str, odp: Emulator, *options: str, key: str = KEY
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "odp_logging", "relay", *options],
            env=build_environment(
                ODP_QUEUE_URL=queue_url, ODP_API_KEY=key, ODP_API_HOST=odp.url
            ),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def text(self) -> str:
        """The lines on stderr so far."""
        return "".join(self.lines)

    def end(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal, once the process handles it; return the exit status."""
        until(
            lambda: self.process.poll() is not None or self._handles(signal_number),
            "the signal handlers",
        )
        self.process.send_signal(signal_number)
        return self.wait()

    def _handles(self, signal_number: int) -> bool:
        """Whether the process has a handler of its own; true where nothing tells."""
        if signal_number == signal.SIGKILL:
            return True
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return True
        (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
        return bool(int(caught, 16) >> (signal_number - 1) & 1)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for the end of the process; return its exit status."""
        status = self.process.wait(seconds)
        self._reader.join(10)
        return status

    def __enter__(self) -> RelayProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        self._reader.join(10)
        if self.process.stderr is not None:
            self.process.stderr.close()
