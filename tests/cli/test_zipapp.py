"""The command from one file, as shiv, pex and zipapp make it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import odp_logging
from odp_logging.emulator import Emulator

pytestmark = pytest.mark.slow

PACKAGE = Path(odp_logging.__file__).parent
MAIN = "odp_logging._cli.main:main"


def list_distributions(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return the distributions *names*, and those that they require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    while names:
        name = names.pop()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            required = map(Requirement, found[name].requires or [])
            names += [
                each.name
                for each in required
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and what it needs, as `pip install --target` makes."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(
        PACKAGE, folder / "odp_logging", ignore=shutil.ignore_patterns("__pycache__")
    )
    for distribution in list_distributions(["requests", "structlog"]).values():
        for file in distribution.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    return folder


def build_archive(name: str, site: Path, target: Path) -> None:
    """Make *target* of *site* with the tool *name*."""
    commands = {
        "shiv": ["--site-packages", str(site), "-e", MAIN, "-o", str(target)],
        "pex": ["-D", str(site), "-m", "odp_logging", "-o", str(target)],
        "zipapp": [str(target.parent / "site"), "-o", str(target)],
    }
    if name == "zipapp":
        # Its option -m ignores the status that the function returns.
        shutil.copytree(site, target.parent / "site")
        program = "import sys; from odp_logging._cli.main import main; sys.exit(main())"
        (target.parent / "site" / "__main__.py").write_text(program)
    subprocess.run(
        [sys.executable, "-m", name, *commands[name]],
        env={**os.environ, "PEX_ROOT": str(target.parent / "pex-build")},
        check=True,
        capture_output=True,
        timeout=110,
    )


class Archive:
    """Runs commands of the archive in its folder, with nothing else installed."""

    def __init__(self, file: Path) -> None:
        roots = {name: str(file.parent / "root") for name in ("SHIV_ROOT", "PEX_ROOT")}
        # Not the virtual environment's interpreter, which would find its packages.
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self._command = [f"{sys.base_prefix}/bin/{python}", "-I", str(file)]
        self._folder = file.parent
        self._environ = {**os.environ, **roots, "ODP_API_KEY": "test"}

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self._command, *words],
            env={**self._environ, **variables},
            capture_output=True,
            text=True,
            timeout=110,
            cwd=self._folder,
        )

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command, which is ended with the block."""
        process = subprocess.Popen(
            [*self._command, *words],
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="module", params=["shiv", "pex", "zipapp"])
def archive(
    request: pytest.FixtureRequest,
    site: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Archive:
    """The package and what it needs in one file, as a tool makes it."""
    file = tmp_path_factory.mktemp(request.param) / "app.pyz"
    build_archive(request.param, site, file)
    return Archive(file)


def test_the_demo_loses_nothing(archive: Archive) -> None:
    """Its emulator finds the package, and every event arrives."""
    ended = archive.run("demo", "--json", "--events", "20")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["delivered"] == 20


def test_other_commands_work(archive: Archive, odp: Emulator, tmp_path: Path) -> None:
    """Each command does what it does when it is installed."""
    (tmp_path / "spool").mkdir()
    spool = ("--spool", str(tmp_path / "spool"))
    for words in (
        ("--help",),
        ("spool", "status", *spool),
        ("dead", "list", *spool),
        ("replay", *spool),
        ("tail", "--seconds", "1", *spool),
        ("send", "sold", "--identifier", "fs_user_id=ada"),
        ("doctor", "--send", "--json"),
    ):
        ended = archive.run(*words, ODP_API_HOST=odp.url)
        assert ended.returncode == 0, (words, ended)
    assert odp.stats()["unique"] == 2

    # Their modules are of extras, which this archive does not have.
    for words in (
        ("relay", "status", "--from", "redis://127.0.0.1:9/0"),
        ("queue", "apply", "postgresql://127.0.0.1:9/shop"),
        ("completion", "bash"),
    ):
        ended = archive.run(*words)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), (words, ended)
        assert "missing; pip install '" in ended.stderr


def test_the_page_of_the_emulator_is_in_the_archive(archive: Archive) -> None:
    """The emulator serves its page from the archive's files."""
    with archive.start("emulator", "--port", "0", "--json") as process:
        assert process.stdout is not None
        page = json.loads(process.stdout.readline())["page"]
        with urllib.request.urlopen(page, timeout=20) as response:
            assert "<title>" in response.read().decode()
