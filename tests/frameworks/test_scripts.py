"""Plain scripts: a job at a shell's prompt or in cron, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from odp_logging.emulator import Emulator

from ..emulated import list_events
from .workers import ROOT, actions, running

pytestmark = pytest.mark.slow
SCRIPT = ROOT / "examples" / "script.py"

JOB = """
import logging, sys, threading
from odp_logging import OdpHandler
logger = logging.getLogger("job")
logger.setLevel(logging.INFO)
logger.addHandler(OdpHandler(flush_interval=60))
logger.info("began", extra={
    "odp_action": "began", "odp_identifiers": {"fs_user_id": "user123"}})
print("ready", flush=True)
"""
ENDS = {
    "": 0,
    "raise LookupError('of its own')": 1,
    "sys.exit(3)": 3,
    "sys.exit('sorry')": 1,
    "raise SystemExit": 0,
}


@pytest.mark.parametrize(("end", "code"), ENDS.items(), ids=range(len(ENDS)))
def test_however_it_ends(tmp_path: Path, odp: Emulator, end: str, code: int) -> None:
    """Its event is delivered, its exit code is its own."""
    with running(tmp_path, "-c", JOB + end, odp=odp) as program:
        assert program.end() == code, program.text
    assert actions(odp) == {"began": 1}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal(tmp_path: Path, odp: Emulator, name: str) -> None:
    """Stopped by a service manager or by Ctrl-C, it delivers, and still fails."""
    signum = getattr(signal, name)
    with running(tmp_path, "-c", f"{JOB}threading.Event().wait()", odp=odp) as program:
        program.wait_for("ready")
        # Python forgets that it ends of Ctrl-C while a thread imports modules.
        assert program.end(signum) in ({-signum} | ({1} if name == "SIGINT" else set()))
    assert actions(odp) == {"began": 1}


def test_its_reader_goes_away(tmp_path: Path, odp: Emulator) -> None:
    """As before `| head -1`: the pipe breaks, the events arrive."""
    end = "while True: print('line', flush=True)"
    with running(tmp_path, "-c", _piped(JOB + end), odp=odp) as program:
        program.end()
        assert "1 lines were read" in program.text
    assert actions(odp) == {"began": 1}


def _piped(job: str) -> str:
    """Return a program that runs *job* and reads one line of it."""
    return f"""
import subprocess, sys
job = subprocess.Popen([sys.executable, "-c", {job!r}], stdout=subprocess.PIPE)
line = job.stdout.readline()
job.stdout.close()
job.wait(30)
print(bool(line) + 0, "lines were read")
"""


def test_orders_from_a_pipe(odp: Emulator) -> None:
    """The example reads a pipe to its end; its exit code says that ODP has all."""
    done = _script("u1,shirt\nu2,hat\n", odp, "-")

    assert (done.returncode, done.stdout) == (0, "delivered 2 of 2\n")
    assert [event["data"]["item"] for event in list_events(odp)] == ["shirt", "hat"]


def test_a_line_that_is_no_order(odp: Emulator) -> None:
    """An error in the middle ends the script; what came before is delivered."""
    done = _script("u1,shirt\nnonsense\nu2,hat\n", odp, "-")

    assert (done.returncode, "ValueError" in done.stderr) == (1, True)
    assert [event["data"]["item"] for event in list_events(odp)] == ["shirt"]


def test_odp_is_down(odp: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code tells cron, and a line on stderr how much is lost."""
    monkeypatch.setenv("ODP_SHUTDOWN_TIMEOUT", "0.2")
    odp.fault(status=503)
    done = _script("u1,shirt\n", odp, "-", "--wait", "0.2")

    assert (done.returncode, done.stdout) == (1, "delivered 0 of 1\n")
    assert "exiting with 1 undelivered event" in done.stderr


def _script(
    orders: str, odp: Emulator, *arguments: str
) -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODP_API_KEY", "test")
        patch.setenv("ODP_API_HOST", odp.url)
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            input=orders,
            capture_output=True,
            text=True,
            timeout=60,
        )
