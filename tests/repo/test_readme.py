"""README and the pages beside the examples: every block runs, every table is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from odp_logging._capture.fields import FIELDS
from odp_logging._cli.main import main
from odp_logging._config.settings import SETTINGS, Config
from odp_logging.emulator import Emulator
from odp_logging.emulator._faults import Fault
from odp_logging.emulator._routes import _ROUTES, SEGMENTS_PATH

from ..cli.test_spool import spool_with_dead_letters as spool_with_dead_letters
from ..conftest import KEY
from ..datafiles import datafile
from ..journeys import battery

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    "README": README,
    **{
        path.parent.name: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "examples").glob("*/README.md"))
    },
}
"""README and the pages of single subjects, by the name of their folder."""


def find_blocks(page: str, language: str) -> list[str]:
    """Return the blocks of *page* that are in *language*."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    return [text for name, text in blocks if name == language]


CONSOLE = [text.strip() for text in find_blocks("README", "console")]

PYTEST = ".venv/bin/python -m pytest -n auto"

EVENTS = {
    "README": [0, 1, 1, 2],
    "emulator": [0],
    "metrics": [1, 0],
    "migration": [1],
    "testing": [0],
}
"""
How many events the Python blocks of each page send to the emulator of the test.

The first block of README, and that of `emulator`, start an emulator of their own.
"""
PYTHON = [(page, number) for page in EVENTS for number in range(len(EVENTS[page]))]


@pytest.mark.parametrize(("page", "number"), PYTHON)
def test_python_blocks_run(page, number, emulator, tmp_path):
    """Each Python block runs by itself, says nothing of errors, and sends its event."""
    (tmp_path / "datafile.json").write_text(datafile(emulator.url))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", find_blocks(page, "python")[number]],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url},
        input="\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "example.com" not in run.stdout
    assert len(emulator.events()) == EVENTS[page][number]


def test_the_first_event_is_on_its_page(tmp_path):
    """README's first block delivers one event to its own emulator and prints so."""
    run = subprocess.run(
        [sys.executable, "-c", find_blocks("README", "python")[0]],
        input="\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert "delivered 1" in run.stdout
    assert "Your event is on the page http://127.0.0.1:" in run.stdout


def test_ci_runs_the_command_for_the_tests_and_the_tests_that_it_leaves_out():
    """CI runs README's command, which leaves out the slow tests, and then these."""
    (command,) = [text for text in CONSOLE if "pytest" in text]
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    slow = [
        number
        for number, step in enumerate(steps)
        if re.match(r"\.venv/bin/python -m pytest .*-m slow\b", step)
    ]
    assert slow and steps.index(command) < slow[0]
    assert command.endswith(PYTEST)


def test_every_python_block_is_run():
    """A block that is added says how many events it sends."""
    # Those of the page `outbox` need a database: tests/client/outbox/test_page.py.
    pages = PAGES.keys() - {"outbox"}
    blocks = {page: len(find_blocks(page, "python")) for page in pages}

    assert {page: count for page, count in blocks.items() if count} == {
        page: len(counts) for page, counts in EVENTS.items()
    }


@pytest.mark.parametrize("number", [0, 1])
def test_the_two_commands_are_those_that_ci_runs(number):
    """What decides whether a change lands runs README's commands to the letter."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert CONSOLE[number] in lines


def test_the_spool_commands_run(
    spool_with_dead_letters: Path, emulator, monkeypatch, capsys
):
    """Each command for a spool does what the page says, one after the other."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)
    (block, _) = find_blocks("operations", "console")
    name = ""
    for line in block.splitlines():
        words = (
            line.replace("DIR", str(spool_with_dead_letters))
            .replace("ID", name)
            .split()[1:]
        )
        # The other dead letter is left, so replay ends with status 1.
        assert main(words) == int(words[0] == "replay")
        told = capsys.readouterr().out
        name = told.split()[0]
    assert told == "1 of 1 event sent, 0 left; 1 dead letter\n"


def test_the_curl_command_sets_a_fault(emulator: Emulator):
    """The emulator takes the fault as its page shows it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (command,) = find_blocks("emulator", "console")
    command = command.replace("http://127.0.0.1:8181", emulator.url)
    command = command.replace("$TOKEN", emulator.token)
    words = shlex.split(command)
    subprocess.run(words, check=True, capture_output=True, timeout=30)

    assert emulator.stats()["faults_active"] == 1


@pytest.mark.slow
def test_the_block_for_tests_is_one(tmp_path):
    """The block for tests passes as it stands."""
    (block,) = find_blocks("testing", "python")
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


def find_rows(page: str) -> dict[str, list[str]]:
    """Return the cells of the table in *page*, by the name in the first."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGES[page].splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_settings_table_is_complete_and_true():
    """Every setting is in the table, in its order, with its default."""
    table = find_rows("settings")
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
    assert set(find_rows("events")) == FIELDS


def test_the_emulators_tables_are_complete():
    """Every field of a fault and every path is on the page, and no other."""
    names = {
        name
        for line in PAGES["emulator"].splitlines()
        if line.startswith("| `")
        for name in re.findall("`([a-z_/0-9]+)`", line.split("|")[1])
    }
    paths = {name for name in names if name.startswith("/")}

    assert names - paths == {field.name for field in fields(Fault)}
    assert paths == _ROUTES.keys() - {"/stats", SEGMENTS_PATH}


def test_the_promise_table_is_what_the_battery_found():
    """The page shows the battery's promises and what its last run found, no more."""
    stored = json.loads(battery.STORED.read_text(encoding="utf-8"))

    assert battery.find_table(PAGES["guarantees"]) == battery.build_table(stored)


def test_readme_is_short():
    """A front page: what a newcomer needs, in 220 lines."""
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("page", PAGES)
def test_links_hold(page):
    """Each file that a page links to exists, and each heading."""
    folder = ROOT if page == "README" else ROOT / "examples" / page
    for target, _, anchor in re.findall(
        r"\]\((?!https?:)([^)#]+)(#([^)]+))?\)", PAGES[page]
    ):
        path = folder / target
        assert path.exists(), target
        if anchor:
            headings = re.findall("^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            slugs = {
                re.sub("[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
                for heading in headings
            }
            assert anchor in slugs, f"{target}#{anchor}"


def test_readme_links_to_every_page():
    """A page that README does not name is not found."""
    linked = re.findall(r"\(examples/(\w+)/README\.md", README)

    assert set(linked) >= PAGES.keys() - {"README"}
