"""A framework's own server, in a process of its own, and requests to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from odp_logging.emulator import Emulator

from ..journeys.pythons import ROOT, Program, ProgramResult

APPS = Path(__file__).parent / "apps"
LIMIT = 20.0
"""Seconds until a server answers, or has ended."""


class Server:
    """
    A server that runs in *folder*, a copy of the applications beside this file.

    Args:
        command: What is typed after ``python -m``, with ``{port}`` for its port and
            ``{folder}`` for *folder*.
        program: What comes before *command*, if it is not ``python -m``.
        settings: For the environment: our own in small letters, others in capitals.
    """

    def __init__(
        self,
        command: str,
        folder: Path,
        odp: Emulator,
        *,
        program: Sequence[str] = (sys.executable, "-m"),
        **settings: object,
    ) -> None:
        self.folder = folder
        shutil.copytree(APPS, folder, dirs_exist_ok=True)
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        port = self._held.getsockname()[1]
        if sys.platform != "linux":
            # Elsewhere the server could not have it; here nobody else can.
            self._held.close()
        self.url = f"http://127.0.0.1:{port}"
        words = command.format(port=port, folder=folder).split()
        self._program = Program([*program, *words], _environment(folder, odp, settings))
        self.process = self._program.process

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self.wait_for_another()

    def wait_for_another(self, *known: int) -> int:
        """Wait until a process that is none of those *known* answers; return which."""
        found = self._another(known, LIMIT)
        assert found is not None, f"no other answers at {self.url}: {self._kill()}"
        return found

    def reload(self, name: str, known: int) -> int:
        """Have *name* look changed, and wait for another process than *known*."""
        for attempt in range(1, 7):
            # Again if need be: the reloader may not have seen it as it was before.
            later = time.time() + 10 * attempt
            os.utime(self.folder / name, (later, later))
            found = self._another((known,), LIMIT / 6)
            if found is not None:
                return found
        raise AssertionError(f"nothing was reloaded: {self._kill()}")

    def _another(self, known: tuple[int, ...], seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found = self.get("/ready")
                if found not in known:
                    return found
            except requests.ConnectionError:
                pass
            self._pause()
        return None

    def get(self, path: str) -> int:
        """Request *path*; return the process that answered."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before loopback
            answer = session.get(self.url + path, timeout=LIMIT)
        assert answer.status_code == 200, answer.text
        return int(answer.text)

    def buy(self, *numbers: int) -> None:
        """Have an event logged for each of *numbers*."""
        for number in numbers:
            self.get(f"/buy/{number}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and to no other."""
        self.process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM to the process that was started."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """Do as a terminal does for Ctrl-C: tell it and all that it started."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> ProgramResult:
        """Wait for its end."""
        return self._program.end(LIMIT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> ProgramResult:
        """Send *number* and wait for its end."""
        self.send(number)
        return self.ended()

    def close(self) -> None:
        """End it and all that it started, whatever has happened."""
        self._program.__exit__()
        self._held.close()

    def _pause(self) -> None:
        try:
            self.process.wait(0.05)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended: {self._kill()}")

    def _kill(self) -> str:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self._program.end().err[-2000:]


def accepted(odp: Emulator) -> list[int]:
    """Return the numbers of the events that ODP took, each but once."""
    return sorted(
        each["event"]["data"]["n"]
        for each in odp.events()
        if each["status"] == "accepted"
    )


def _environment(
    folder: Path, odp: Emulator, settings: dict[str, object]
) -> dict[str, str]:
    kept = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TMPDIR")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    found["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    found |= {"ODP_API_KEY": "test", "ODP_API_HOST": odp.url}
    # What is logged waits for its process's end, which has to deliver it.
    settings = {"flush_interval": 60, **settings}
    for name, value in settings.items():
        found[name if name.isupper() else f"ODP_{name.upper()}"] = str(value)
    return found
