"""
Run programs in forks of one process, which has imported the library.

A process of its own for each program would take ten times as long. The programs and
their environment come from stdin, as JSON; the output of each goes to stdout.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

AT_ONCE = 8
"""Programs that run at a time. Most of their time they wait for a delivery."""

MODULES = (
    "structlog",
    "requests",
    "odp_logging.emulator",
    "odp_logging._cli.doctor.run",
)
"""What takes long to import."""


def run_programs(
    programs: dict[str, str], environment: dict[str, str], folder: str
) -> dict[str, str]:
    """Return the output of each of *programs*, as one text with stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-m", "tests.repo.mistakes.runner", folder],
        input=json.dumps(programs),
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    output: dict[str, str] = json.loads(done.stdout)
    return output


def _run_all(programs: dict[str, str], folder: str) -> dict[str, str] | None:
    """Return the outputs; None in a child, whose program has run."""
    # Before the forks, which then need not import them.
    for module in MODULES:
        importlib.import_module(module)
    # The exit of each fork would traverse these modules: half of its time.
    gc.freeze()
    os.chdir(folder)
    running: dict[int, str] = {}
    waiting = [*programs]
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name = waiting.pop(0)
            pid = os.fork()
            if not pid:
                _run_program(name, programs[name])
                return None
            running[pid] = name
        pid, _ = os.wait()
        running.pop(pid, None)
    return {name: Path(f"{name}.out").read_text() for name in programs}


def _run_program(name: str, source: str) -> None:
    output = os.open(f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # As `python shop.py` would: a traceback, and what is printed at exit.
    exec(compile(source, name, "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    results = _run_all(json.load(sys.stdin), sys.argv[1])
    if results is not None:
        print(json.dumps(results))
