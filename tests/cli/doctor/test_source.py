"""The doctor reads the application's source for log calls that are nearly events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from odp_logging._cli.doctor.check_result import CheckResult
from odp_logging._cli.doctor.source import check_sources

Check = Callable[[str], list[CheckResult]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a package `zshop`, which is imported by a check."""
    (tmp_path / "zshop" / "views").mkdir(parents=True)
    (tmp_path / "zshop" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "zshop"
    for name in [name for name in sys.modules if name.startswith("zshop")]:
        del sys.modules[name]


def check_package() -> list[CheckResult]:
    known = frozenset(sys.modules)
    __import__("zshop")
    return list(check_sources(known, ["zshop"]))


@pytest.fixture
def check(folder: Path) -> Check:
    """Return a function that checks a module with one log call."""

    def check_call(call: str) -> list[CheckResult]:
        (folder / "views" / "orders.py").write_text(f"\n{call}\n")
        return check_package()

    return check_call


WHO = '"odp_identifiers": {"vuid": v}'


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (f'log.info("x", extra={{"odp_acton": "a", {WHO}}})', '"odp_action"?'),
        (f'log.info("x", extra={{"odp-action": "a", {WHO}}})', '"odp_action"?'),
        ('log.warning("x", extra=dict(odpAction="a"))', '"odp_action"?'),
        (f'log.log(20, "x", extra={{"odp_event": "a", {WHO}}})', '"odp_action"?'),
        (f'log.info("x", extra={{"action": "a", {WHO}}})', '"odp_action"?'),
        (f'log.info("x", extra={{"odp_data": d, {WHO}}})', 'without "odp_action"'),
        ('log.info("x", extra={"odp": {"action": "a"}})', "nested"),
        ('log.info("x", extra={"odp_action": "a", "odp_ids": i})', "odp_identifiers"),
        ('log.info("x", extra={**more, "odp_acton": "a"})', '"odp_action"?'),
        (f'log.info("x", {{"odp_action": "a", {WHO}}})', "extra={...}"),
        (f'log.info(f"x{{y}}", {{"odp_action": "a", {WHO}}})', "extra={...}"),
        (f'log.log(20, "x", {{"odp_action": "a", {WHO}}})', "extra={...}"),
        ('log.info("x", odp_acton="a", odp_identifiers=i)', '"odp_action"?'),
        ('async def f():\n    await log.ainfo("x", odp_acton="a")', '"odp_action"?'),
        ('log.bind(odp_identifierz=i).info("x", odp_action="a")', "odp_identifiers"),
    ],
)
def test_a_near_miss_in_the_source_is_a_problem(check, call, expected):
    """It is named with file and line, though its module was not imported."""
    (result,) = check(call)

    assert (result.kind, result.check) == ("problem", "source")
    line = 3 if call.startswith("async") else 2
    assert result.found.startswith(f"zshop/views/orders.py:{line}: ")
    assert expected in result.found
    assert result.advice


@pytest.mark.parametrize(
    "call",
    [
        f'log.info("x", extra={{"odp_action": "a", {WHO}, "order": 5}})',
        'log.info("x", extra={"order": 5, "action": "a"})',
        f'log.info("%(odp_action)s", {{"odp_action": "a", {WHO}}})',
        "log.info(f'{odp}', extra=fields)",
        'log.info("x", odp_action="a", odp_identifiers=i)',
        "log.bind(odp_identifiers=i)",
        "structlog.contextvars.bind_contextvars(odp_data=d)",
        'print("odp_acton", {"odp_acton": "a"})',
        "odp_acton = (",
        "odp = '\0'",
    ],
)
def test_other_log_calls_are_not_reported(check, call):
    """Neither are files that Python cannot read."""
    assert check(call) == []


@pytest.mark.parametrize(
    "call",
    [
        'log.info("x", odp_data=d)',
        f'log.info("x", extra={{**more, {WHO}}})',
    ],
)
def test_fields_that_may_be_completed_elsewhere_are_a_hint(check, call):
    """A bound odp_action, or one in another dict, is not seen here."""
    (result,) = check(call)

    assert result.kind == "hint"


def test_many_near_misses_are_counted(check):
    """The first twenty are named."""
    results = check('log.info("x", odp_acton="a")\n' * 25)

    assert len(results) == 21
    assert results[-1].found.startswith("5 more log calls")


def test_packages_inside_the_folder_are_not_read(check, folder):
    """A virtual environment or node_modules belong to others."""
    for name in (".venv", "node_modules", "site-packages"):
        (folder / name).mkdir()
        (folder / name / "a.py").write_text('log.info("x", odp_acton="a")\n')

    assert check("") == []


def test_modules_of_this_command_are_not_read(folder):
    """Only what the application has imported is checked, and what is named."""
    __import__("zshop")
    (folder / "a.py").write_text('log.info("x", odp_acton="a")\n')

    assert list(check_sources(frozenset(sys.modules), [])) == []
    assert len(list(check_sources(frozenset(sys.modules), ["zshop"]))) == 1


def test_the_command_reports_near_misses(folder, doctor, environment):
    """They are a part of the report, and make its status 1."""
    (folder / "a.py").write_text('log.info("x", odp_acton="a")\n')
    status, found = doctor("--import", "zshop")

    assert status == 1
    assert found["source"][0]["found"].startswith("zshop/a.py:1: ")
