"""An application and a relay as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import TracebackType

from odp_logging.emulator import Emulator

from ..conftest import KEY

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


def environment(**more: str) -> dict[str, str]:
    """Return what a process of ours needs of the environment, and *more*."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def shop(queue_url: str, count: int, program: str = SHOP, **more: str) -> str:
    """Run an application that logs *count* events, without a key; return its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(count)],
        env=environment(ODP_QUEUE_URL=queue_url, **more),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


class RelayProcess:
    """
    ``odp-logging relay`` while the `with` lasts; ended by its id.

    Args:
        queue_url: Where it takes events from.
        odp: Where it delivers them.
        options: More of its command line.
    """

    def __init__(
        self, queue_url: str, odp: Emulator, *options: str, key: str = KEY
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "odp_logging", "relay", *options],
            env=environment(
                ODP_QUEUE_URL=queue_url, ODP_API_KEY=key, ODP_API_HOST=odp.url
            ),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    @property
    def text(self) -> str:
        """All it has said so far."""
        return "".join(self.said)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and return its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end by itself, and return its exit status."""
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
