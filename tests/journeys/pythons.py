"""The CPythons of this machine, and programs that run on them."""

from __future__ import annotations

import fcntl
import hashlib
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

import pytest

from odp_logging.emulator import Emulator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MINORS = range(10, 20)
FLOORS = ["requests>=2.31", "structlog>=23.3"]
LIMIT = 60.0
"""Seconds that a program may take."""

_TO_TELL = 15.0
"""Seconds that a program which hangs has for saying where."""

_ASK = (
    "import platform, sys; print(platform.python_implementation(),"
    " platform.python_version(), sys.version_info.releaselevel)"
)


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def numbers(self) -> list[int]:
        """What it printed, as numbers."""
        return [int(word) for word in self.out.split()]


class Program:
    """A program that runs; ended when its `with` is left, or after *limit* seconds."""

    def __init__(
        self, command: list[str], environment: dict[str, str], limit: float = LIMIT
    ) -> None:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._limit = threading.Timer(limit + _TO_TELL, self._kill)
        self._limit.daemon = True
        self._limit.start()

    def line(self) -> str:
        """Wait for its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, timeout: float = 30.0) -> Ended:
        """End its stdin and wait for its end; say where it hangs if it does."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._kill(signal.SIGABRT)  # faulthandler writes the stacks of all threads
            _, err = self.process.communicate(timeout=_TO_TELL)
            raise AssertionError(f"hung after {timeout} s:\n{err[-8000:]}") from None
        seconds = time.monotonic() - self._began
        return Ended(self.process.returncode, out, err, seconds)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self._limit.cancel()
        self._kill()
        self.process.communicate()

    def _kill(self, signum: int = signal.SIGKILL) -> None:
        try:
            # Those that it started too: one that hangs must not outlive its test.
            os.killpg(self.process.pid, signum)
        except ProcessLookupError:
            pass


@dataclass(frozen=True)
class Python:
    """An interpreter that has what the package needs."""

    version: str
    path: str

    @property
    def minor(self) -> tuple[int, int]:
        """Its version, as far as features go."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def start(
        self, program: str, *arguments: str, limit: float = LIMIT, **settings: object
    ) -> Program:
        """Start *program* of the folder beside this file, with *settings* for ODP_."""
        kept = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment["PYTHONPATH"] = str(ROOT)
        environment |= {f"ODP_{key.upper()}": str(settings[key]) for key in settings}
        # That a process with threads forks is what some of them are about.
        quiet = ["-W", "ignore:This process:DeprecationWarning", "-X", "faulthandler"]
        path = str(HERE / "programs" / program)
        return Program([self.path, *quiet, path, *arguments], environment, limit)

    def run(
        self, program: str, *arguments: str, limit: float = LIMIT, **settings: object
    ) -> Ended:
        """Run *program* to its end, *limit* seconds at most."""
        with self.start(program, *arguments, limit=limit, **settings) as running:
            return running.end(limit)


def _candidates() -> Iterator[str]:
    yield sys.executable
    for minor in MINORS:
        for found in sorted(
            Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3")
        ):
            yield str(found)
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            found = Path(folder, f"python3.{minor}")
            # pyenv's shims name interpreters that may not be there.
            if found.is_file() and ".pyenv" not in str(found):
                yield str(found)


def _find() -> dict[str, str]:
    """Return the path of one CPython for each minor version, by full version."""
    found: dict[str, str] = {}
    for path in _candidates():
        answer = subprocess.run(
            [path, "-c", _ASK], capture_output=True, text=True, check=False, timeout=20
        )
        name, version, level = (*answer.stdout.split(), "", "", "")[:3]
        minor = tuple(version.split(".")[:2])
        known = {tuple(other.split(".")[:2]) for other in found}
        if name == "CPython" and level == "final" and minor not in known:
            found[version] = path
    return dict(sorted(found.items(), key=lambda item: _parts(item[0])))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


FOUND = _find()


def ready(version: str, cache: Path) -> Python:
    """Return the CPython *version*, with what the package needs, kept in *cache*."""
    path = FOUND[version]
    if path == sys.executable:
        return Python(version, path)
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    home = cache / f"journeys-{version}-{key}"
    home.mkdir(parents=True, exist_ok=True)
    return Python(version, installed(path, home))


def installed(path: str, home: Path, *more: str) -> str:
    """Return the Python of a virtual environment in *home*, made if it is not there."""
    interpreter = home / "venv" / "bin" / "python"
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker of the tests may be at it
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


def numbers(odp: Emulator) -> list[int]:
    """Return the numbers of all accepted events, sorted; a duplicate fails the test."""
    accepted = [each for each in odp.events() if each["status"] == "accepted"]
    found = sorted(each["event"]["data"]["n"] for each in accepted)
    twice = [number for number, count in Counter(found).items() if count > 1]
    assert not twice
    assert odp.stats()["duplicates"] == 0
    return found
