"""Find the CPythons of this machine, and run programs on them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from odp_logging.emulator import Emulator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MINORS = range(10, 20)
FLOORS = ["requests>=2.31", "structlog>=23.3"]
LIMIT = 60.0
"""Longest run of a program, in seconds."""

_STACK_DUMP_SECONDS = 15.0
"""Seconds in which a hanging program can print its stacks."""

_PRINT_VERSION = (
    "import platform, sys; print(platform.python_implementation(),"
    " platform.python_version(), sys.version_info.releaselevel)"
)


@dataclass(frozen=True)
class ProgramResult:
    """Exit status, output and duration of a program."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def numbers(self) -> list[int]:
        """The numbers that the program printed."""
        return [int(word) for word in self.out.split()]

    def read_audit(self) -> dict[str, Any]:
        """Return the counts that an audited program printed; fail if they are wrong."""
        assert (self.status, self.err.count("Traceback")) == (0, 0), self.err
        result: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        assert (result["unbalanced"], result["first_unbalanced"]) == (0, "")
        assert result["checks"] > 100
        assert result["flushed"]
        assert (result["dropped"], result["pending"]) == ({}, 0)
        return result


class Program:
    """A running program, killed at the end of its `with` block or after *limit* s."""

    def __init__(
        self, command: list[str], environment: dict[str, str], limit: float = LIMIT
    ) -> None:
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._limit = threading.Timer(limit + _STACK_DUMP_SECONDS, self._kill)
        self._limit.daemon = True
        self._limit.start()

    def read_line(self) -> str:
        """Wait for the next line of its stdout and return it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, timeout: float = 30.0) -> ProgramResult:
        """Close its stdin and wait for its end; fail with its stacks if it hangs."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._kill(signal.SIGABRT)  # faulthandler writes the stacks of all threads
            _, err = self.process.communicate(timeout=_STACK_DUMP_SECONDS)
            raise AssertionError(f"hung after {timeout} s:\n{err[-8000:]}") from None
        seconds = time.monotonic() - self._started
        return ProgramResult(self.process.returncode, out, err, seconds)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self._limit.cancel()
        self._kill()
        self.process.communicate()

    def _kill(self, signum: int = signal.SIGKILL) -> None:
        try:
            # Kills its child processes, too: a hanging one must not outlive the test.
            os.killpg(self.process.pid, signum)
        except ProcessLookupError:
            pass


@dataclass(frozen=True)
class Python:
    """An interpreter with the dependencies of the package installed."""

    version: str
    path: str
    is_strict: bool = False
    """Whether programs run in Python's development mode, with warnings as errors."""

    @property
    def minor(self) -> tuple[int, int]:
        """The major and minor version."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def start(
        self, program: str, *arguments: str, limit: float = LIMIT, **settings: object
    ) -> Program:
        """Start *program* of the folder programs, with *settings* as ODP_ variables."""
        kept = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment["PYTHONPATH"] = str(ROOT)
        environment |= {f"ODP_{key.upper()}": str(settings[key]) for key in settings}
        # Some programs fork with threads on purpose, which warns from 3.12 on.
        quiet = ["-W", "ignore:This process:DeprecationWarning", "-X", "faulthandler"]
        if self.is_strict:
            quiet = ["-X", "dev", "-W", "error", *quiet]
        path = str(HERE / "programs" / program)
        return Program([self.path, *quiet, path, *arguments], environment, limit)

    def signal(
        self,
        program: str,
        *arguments: str,
        signum: int,
        at: str = "ready",
        **settings: object,
    ) -> ProgramResult:
        """Run *program*, send it *signum* when it prints *at*, and wait for its end."""
        with self.start(program, *arguments, **settings) as running:
            assert running.read_line() == at
            running.process.send_signal(signum)
            return running.end()

    def run(
        self, program: str, *arguments: str, limit: float = LIMIT, **settings: object
    ) -> ProgramResult:
        """Run *program* to its end, at most *limit* seconds."""
        with self.start(program, *arguments, limit=limit, **settings) as running:
            return running.end(limit)


def _find_candidates() -> Iterator[str]:
    yield sys.executable
    for minor in MINORS:
        for found in sorted(
            Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3")
        ):
            yield str(found)
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            found = Path(folder, f"python3.{minor}")
            # pyenv's shims may name interpreters that are not installed.
            if found.is_file() and ".pyenv" not in str(found):
                yield str(found)


def _find_pythons() -> dict[str, str]:
    """Return the path of one CPython for each minor version, by full version."""
    found: dict[str, str] = {}
    for path in _find_candidates():
        answer = subprocess.run(
            [path, "-c", _PRINT_VERSION],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        name, version, level = (*answer.stdout.split(), "", "", "")[:3]
        minor = tuple(version.split(".")[:2])
        known = {tuple(other.split(".")[:2]) for other in found}
        if name == "CPython" and level == "final" and minor not in known:
            found[version] = path
    return dict(sorted(found.items(), key=lambda item: _parse_version(item[0])))


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


FOUND = _find_pythons()


def prepare_python(version: str, cache: Path) -> Python:
    """Return the CPython *version* with dependencies, in an environment in *cache*."""
    path = FOUND[version]
    if path == sys.executable:
        return Python(version, path)
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    home = cache / f"journeys-{version}-{key}"
    home.mkdir(parents=True, exist_ok=True)
    return Python(version, install_environment(path, home))


def install_environment(path: str, home: Path, *more: str) -> str:
    """Return the Python of the virtual environment in *home*; create it if missing."""
    interpreter = home / "venv" / "bin" / "python"
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test worker may be creating it
        if not (home / "done").exists():
            shutil.rmtree(home / "venv", ignore_errors=True)
            _call([path, "-m", "venv", str(home / "venv")])
            pip = [str(interpreter), "-m", "pip", "install", "--quiet"]
            _call([*pip, "--disable-pip-version-check", *FLOORS, *more])
            (home / "done").touch()
    return str(interpreter)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}", False)


def get_numbers(odp: Emulator) -> list[int]:
    """Return the sorted numbers of all accepted events; fail on duplicates."""
    accepted = [entry for entry in odp.events() if entry["status"] == "accepted"]
    found = sorted(entry["event"]["data"]["n"] for entry in accepted)
    twice = [number for number, count in Counter(found).items() if count > 1]
    assert not twice
    assert odp.stats()["duplicates"] == 0
    return found
