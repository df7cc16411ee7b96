"""README: every block runs, every table is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from odp_logging._cli import main
from odp_logging._config import SETTINGS, Config
from odp_logging._mapping import FIELDS
from odp_logging.emulator import Emulator

from .conftest import KEY
from .datafiles import datafile
from .journeys import battery
from .test_spools import buried as buried
from .test_spools import home as home

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
CONSOLE = [text.strip() for language, text in BLOCKS if language == "console"]

EVENTS = [1, 1, 0, 0, 1]
"""How many events each Python block sends, in their order."""


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number, emulator, tmp_path):
    """Each Python block runs by itself, says nothing of errors, and sends its event."""
    (tmp_path / "datafile.json").write_text(datafile(emulator.url))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PYTHON[number]],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "example.com" not in run.stdout
    assert len(emulator.events()) == EVENTS[number]


def test_every_python_block_has_its_figure():
    """A block that is added says how many events it sends."""
    assert len(PYTHON) == len(EVENTS)


@pytest.mark.parametrize("number", [0, 1])
def test_the_two_commands_are_those_that_ci_runs(number):
    """What decides whether a change lands runs README's commands to the letter."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert CONSOLE[number] in lines


def test_the_spool_commands_run(buried: Path, emulator, monkeypatch, capsys):
    """Each command for a spool does what README says, one after the other."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    (block,) = [text for text in CONSOLE if text.startswith("odp-logging spool")]
    name = ""
    for line in block.splitlines():
        words = line.replace("DIR", str(buried)).replace("ID", name).split()[1:]
        assert main(words) == 0
        told = capsys.readouterr().out
        name = told.split()[0]
    assert told == "1 of 1 events sent, 0 left\n"


def test_the_curl_command_sets_a_fault(emulator: Emulator):
    """The emulator takes the fault as README shows it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (command,) = [text for text in CONSOLE if text.startswith("curl")]
    command = command.replace("http://127.0.0.1:8181", emulator.url)
    words = shlex.split(command)
    subprocess.run(words, check=True, capture_output=True, timeout=30)

    assert emulator.stats()["faults_active"] == 1


@pytest.mark.slow
def test_the_block_for_tests_is_one(tmp_path):
    """The block under "Testing your app" passes as it stands."""
    (block,) = [text for text in PYTHON if "odp_events" in text]
    (tmp_path / "test_shop.py").write_text(block, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert "2 passed" in run.stdout, run.stdout


@pytest.mark.slow
def test_the_transcript_is_the_demos(capsys):
    """What README shows of the demo is what it prints, but for the figures."""
    shown = re.findall(r"^    (\w+ {2,}.*)$", README, re.MULTILINE)
    assert main(["demo"]) == 0
    told = iter(re.sub(r"\d+", "0", capsys.readouterr().out).splitlines())

    assert len(shown) >= 4
    for line in shown:
        assert re.sub(r"\d+", "0", line) in told, line


def rows(heading: str) -> dict[str, list[str]]:
    """Return the cells of the table under *heading*, by the name in the first."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_settings_table_is_complete_and_true():
    """Every setting is in the table, in its order, with its default."""
    table = rows("Settings")
    assert list(table) == list(SETTINGS)
    for name, (shown, _) in table.items():
        default = getattr(Config(), name)
        if name in ("max_queue_bytes", "spool_max_bytes"):
            assert shown == f"{default // 1024 // 1024} MiB"
        elif isinstance(default, bool):
            assert shown == str(default).lower()
        elif isinstance(default, (int, float)):
            assert float(shown.replace(",", "")) == default
        elif isinstance(default, str):
            assert shown == f"`{default}`"
        else:
            assert not default and shown in ("–", "{}", "()", "by the key's suffix")


def test_the_fields_table_is_complete():
    """Every field of a record is explained."""
    assert set(rows("What happens to an event")) == FIELDS


def test_the_promise_table_is_what_the_battery_found():
    """README shows the battery's promises and what its last run found, no more."""
    stored = json.loads(battery.STORED.read_text(encoding="utf-8"))

    assert battery.shown(README) == battery.table(stored)


def test_readme_is_short_and_its_links_hold():
    """README stays within 350 lines, and each file it links to exists."""
    assert len(README.splitlines()) <= 350
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
