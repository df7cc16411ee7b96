"""The mistakes of the first hour: what their author is told, and where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import pytest

import odp_logging
from odp_logging.emulator import Emulator
from odp_logging.emulator._lint import find_warnings

from ..conftest import KEY
from .mistakes.log_calls import LOG_CALLS
from .mistakes.mistake import HEAD, Mistake
from .mistakes.runner import run_programs
from .mistakes.settings import SETTINGS

pytestmark = pytest.mark.timeout(400)
"""Seconds for the programs on a busy machine; they need a few on a quiet one."""

MISTAKES = sorted([*SETTINGS, *LOG_CALLS], key=lambda mistake: mistake.number)
COUNT = 55

SILENT = {5, 12, 18, 21, 22, 23, 28, 42, 44, 54}
"""Mistakes of which a running program prints nothing; each row has the reason."""

NOT_REPORTED = {5, 18, 42, 44}
"""Those that no tool reports either, since the event arrives as it was meant."""

DELIVERED = """
odp_logging.flush(10)
print(odp_logging.stats().delivered, "delivered")
"""

DOCTOR = """
import sys
from odp_logging._cli.main import main
sys.exit(main(["doctor", "--timeout", "1", "--import", {name!r}]))
"""


REPORTED = re.compile("(ok|hint|problem) +[a-zA-Z ]+: | +-> ")
"""A line of the doctor's report."""


class Results(NamedTuple):
    """What all programs printed, and the doctor; which checks the page shows."""

    output: dict[str, str]
    doctor: dict[str, str]
    page: dict[str, list[str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """Run all programs, and the doctor on those of which it says something."""
    folder = tmp_path_factory.mktemp("mistakes")
    programs, checks = {}, {}
    for mistake in MISTAKES:
        text = HEAD + mistake.program
        (folder / mistake.file).write_text(text)
        programs[mistake.file] = text + (DELIVERED if mistake.is_delivered else "")
        if mistake.doctor:
            name = mistake.file.removesuffix(".py")
            checks[mistake.file] = DOCTOR.format(name=name)
    with Emulator(key=KEY) as emulator:
        environment = {
            "ODP_API_KEY": KEY,
            "ODP_API_HOST": emulator.url,
            "ODP_SHUTDOWN_TIMEOUT": "0.5",
            # One program is for a host that does not exist.
            "ODP_BLOCK_NETWORK": "0",
        }
        output = run_programs(programs, environment, str(folder))
        page: dict[str, list[str]] = {}
        for entry in emulator.events():
            found = [finding["check"] for finding in find_warnings(entry)]
            page.setdefault(entry["event"]["action"], []).extend(found)
        yield Results(output, run_programs(checks, environment, str(folder)), page)


def test_the_table_is_complete() -> None:
    """Each mistake is one row, and one that no program reports has the reason."""
    assert [mistake.number for mistake in MISTAKES] == [*range(1, COUNT + 1)]
    silent = [mistake for mistake in MISTAKES if mistake.silent]
    for mistake in silent:
        print(f"{mistake.number:>2} SILENT: {mistake.words}: {mistake.silent}")
    assert {mistake.number for mistake in silent} == SILENT
    assert {mistake.number for mistake in MISTAKES if not mistake.run} == SILENT


def test_what_nothing_reports_arrives() -> None:
    """Where nothing is said at all, the event is delivered."""
    found = {
        mistake.number
        for mistake in MISTAKES
        if not (mistake.run or mistake.doctor or mistake.page or mistake.types)
    }
    assert found == NOT_REPORTED
    assert all(mistake.is_delivered for mistake in MISTAKES if mistake.number in found)


def name_row(mistake: Mistake) -> str:
    """Return the id of the test of *mistake*."""
    return f"{mistake.number}-{mistake.words.replace(' ', '-')}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=name_row)
def test_the_program_reports_it(results: Results, mistake: Mistake) -> None:
    """The program prints the text of the table, and none where there is none."""
    output = results.output[mistake.file]
    if mistake.run:
        for line in mistake.expand(mistake.run).splitlines():
            assert line in output
        assert KEY not in output
    else:
        assert re.findall(rf"odp_logging: .*|{mistake.file}:.*", output) == []
    if mistake.is_delivered:
        assert "1 delivered" in output


@pytest.mark.parametrize(
    "mistake", [mistake for mistake in MISTAKES if mistake.doctor], ids=name_row
)
def test_the_doctor_finds_it(results: Results, mistake: Mistake) -> None:
    """Its report has the text of the table, once; the program prints before it."""
    lines = results.doctor[mistake.file].splitlines(keepends=True)
    report = "".join(filter(REPORTED.match, lines))
    assert report.count(mistake.expand(mistake.doctor)) == 1, report


@pytest.mark.parametrize(
    "mistake", [mistake for mistake in MISTAKES if mistake.page], ids=name_row
)
def test_the_page_shows_it(results: Results, mistake: Mistake) -> None:
    """The page of the emulator has a check of it."""
    assert mistake.page in results.page[f"m{mistake.number}"]


@pytest.mark.slow
def test_type_checkers_find_them(tmp_path: Path) -> None:
    """Mypy reports the lines that the table says, in one run for all programs."""
    pytest.importorskip("mypy")
    rows = [mistake for mistake in MISTAKES if mistake.types]
    for mistake in rows:
        (tmp_path / mistake.file).write_text(HEAD + mistake.program)
    root = str(Path(odp_logging.__file__).parents[1])
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    options += ["--enable-error-code=unused-coroutine", "--output=json"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *[row.file for row in rows]],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "MYPYPATH": root, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert not done.stderr, done.stderr
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(error["file"], error["line"]) for error in errors}
    assert {(row.file, row.line) for row in rows} <= found, done.stdout


@pytest.mark.slow
def test_the_pytest_plugin_fails_their_tests(tmp_path: Path) -> None:
    """With its strict options, a test of such a log call fails."""
    rows = [mistake for mistake in MISTAKES if mistake.plugin]
    tests = [
        f"def test_{row.number}(odp_events):\n{indent(row.program, '    ')}"
        for row in rows
    ]
    (tmp_path / "test_rows.py").write_text(
        "\n".join([HEAD, "log.setLevel(20)", *tests])
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nodp_strict = true\nodp_near_misses = error\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ODP_API_HOST": "http://127.0.0.1:9",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    for row in rows:
        assert f"ERROR test_rows.py::test_{row.number} " in done.stdout, done.stdout
