"""The doctor imports an application, and prints what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from odp_logging._cli.main import main

from ...conftest import KEY
from .conftest import get_finding, list_kinds

APPLICATION = """
import logging, logging.config
early = logging.getLogger("early")
LOGGING = {
    "version": 1,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler"}},
    "root": {"level": "INFO", "handlers": ["odp"]},
}
NUMBER = 5
WRONG = {
    "version": 1,
    "handlers": {"odp": {"class": "odp_logging.OdpHandler", "flush": 1}},
}
WRONG_LEVEL = {"version": 1, "root": {"level": "LOUD"}}
def set_up():
    print("on stdout")
    logging.config.dictConfig(LOGGING)
def fails():
    raise SystemExit("the key is sesame")
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write the application into the current directory."""
    (tmp_path / "shop_settings.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("shop_settings", None)


def run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*, with the application in it."""
    (folder / "shop_settings.py").write_text(APPLICATION)
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "odp_logging", "doctor", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )


def test_an_application_may_change_the_directory(emulator, tmp_path):
    """The checks work after an import that changes the current directory."""
    (tmp_path / "elsewhere.py").write_text("import os\nos.chdir('/')\n")
    environ = {"ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    ended = run(tmp_path, "--import", "elsewhere", **environ)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert "ok       application: elsewhere is imported" in ended.stdout


def test_an_event_of_the_import_is_sent(emulator, tmp_path):
    """Without --send, no test event is sent, but what the module logs; help says so."""
    (tmp_path / "logs_at_import.py").write_text(
        "import logging, shop_settings\n"
        "shop_settings.set_up()\n"
        'extra = {"odp_action": "started", "odp_identifiers": {"fs_user_id": "u1"}}\n'
        'logging.getLogger("shop").warning("started", extra=extra)\n'
    )
    environ = {"ODP_API_KEY": KEY, "ODP_API_HOST": emulator.url}
    run(tmp_path, "--import", "logs_at_import", **environ)
    shown = run(tmp_path, "--help", COLUMNS="200").stdout

    assert [entry["event"]["action"] for entry in emulator.events()] == ["started"]
    assert (
        "Sends no event of its own without --send; what the imported module logs is"
        " sent as usual." in " ".join(shown.split())
    )


@pytest.mark.parametrize("member", ["set_up", "LOGGING"])
def test_an_application_is_imported_before_the_checks(emulator, tmp_path, member):
    """A function is called and a dict is given to dictConfig before the checks."""
    ended = run(
        tmp_path,
        "--import",
        f"shop_settings:{member}",
        ODP_API_KEY=KEY,
        ODP_API_HOST=emulator.url,
    )

    assert ended.returncode == 1, ended.stderr
    assert "ok       levels: OdpHandler on the root logger gets INFO" in ended.stdout
    assert "problem  disabled: 1 logger disabled: early" in ended.stdout
    assert '         -> set "disable_existing_loggers": False' in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("1 problem, 1 hint, ")
    assert "on stdout" not in ended.stdout
    assert KEY not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no.such.module", "there is no module no in "),
        ("shop_setings", "; did you mean shop_settings?"),
        ("json.decode:LOGGING", "json has no module decode; did you mean decoder?"),
        ("shop_settings.LOGGING", "shop_settings has no module LOGGING"),
        ("shop_broken", "shop_broken imports odp_no_such, and there is no such module"),
        ("shop_settings:fails", "setting up shop_settings.fails raised SystemExit"),
        ("shop_settings:NUMBER", "NUMBER is neither a dict nor a function, but of the"),
        ("shop_settings:LOGGGING", "has no LOGGGING; did you mean LOGGING?"),
        ("shop_settings:setup", "has no setup; did you mean set_up?"),
        ("shop_settings:logging_", "has no logging_; did you mean LOGGING?"),
        ("shop_settings:nothing", "shop_settings has no nothing"),
        ("shop_settings:WRONG", 'raised ValueError: unknown setting "flush"'),
    ],
)
def test_a_failed_import_is_the_only_problem(application, doctor, name, expected):
    """It is told in words, without the text of the error, and nothing follows it."""
    Path("shop_broken.py").write_text("import odp_no_such.part\n")
    status, found = doctor("--import", name, "--import", "shop_settings:NUMBER")

    assert status == 1
    kind, text = get_finding(found, "application")
    assert (kind, expected in text) == ("problem", True)
    assert list_kinds(found, "key") == ["hint"]
    assert get_finding(found, "handlers") == (
        "hint",
        "loggers and structlog were not checked: the application is not set up",
    )
    assert set(found) == {"application", "key", "handlers"}
    assert "sesame" not in str(found)


@pytest.mark.parametrize(
    ("name", "file", "module"),
    [
        ("shop_settings.py", "shop_settings.py", "shop_settings"),
        ("shop_settings.py:set_up", "shop_settings.py", "shop_settings:set_up"),
        ("./shop/logs.py", "./shop/logs.py", "shop.logs"),
        ("shop.logs.py", "shop/logs.py", "shop.logs"),
        ("src/shop_logs.py", "src/shop_logs.py", "shop_logs"),
    ],
)
def test_a_file_is_no_module(application, doctor, monkeypatch, name, file, module):
    """The name of its module is given, before anything is imported."""
    for folder in ("shop", "src"):
        Path(folder).mkdir()
    Path("shop/logs.py").write_text("")
    Path("src/shop_logs.py").write_text("")
    monkeypatch.syspath_prepend(Path("src").resolve())
    status, found = doctor("--import", "shop_settings", "--import", name)

    assert status == 1
    assert get_finding(found, "application") == ("problem", f"{file} is a file")
    assert found["application"][0]["advice"] == f"name its module: --import {module}"
    assert "shop_settings" not in sys.modules


def test_a_file_elsewhere_is_named_by_its_own_name(application, doctor, tmp_path):
    """No folder of sys.path holds it, so its folders are no part of the name."""
    Path("inner").mkdir()
    os.chdir("inner")  # the fixture restores the directory
    _, found = doctor("--import", "../shop_settings.py")

    assert found["application"][0]["advice"] == (
        "name its module: --import shop_settings"
    )


def test_a_module_may_have_the_name_py(application, doctor):
    """It is imported, as any other module of its package."""
    Path("shop_package").mkdir()
    Path("shop_package/py.py").write_text("")
    _, found = doctor("--import", "shop_package.py")
    for name in ("shop_package", "shop_package.py"):
        sys.modules.pop(name)

    assert get_finding(found, "application") == (
        "ok",
        "shop_package.py is imported",
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("shop_settings:fails", "python -c 'import shop_settings; shop_settings.fails"),
        ("shop_settings:WRONG_LEVEL", "dictConfig(shop_settings.WRONG_LEVEL)'"),
        ("shop_fails", "python -c 'import shop_fails'"),
    ],
)
def test_the_command_in_the_advice_shows_the_error(application, doctor, name, command):
    """It does what the doctor did, and not only a part of it."""
    Path("shop_fails.py").write_text("1 / 0\n")
    _, found = doctor("--import", name)
    (result,) = found["application"]
    assert command in result["advice"]

    code = result["advice"].split("'")[1]
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0


def test_a_variable_that_made_the_import_fail_is_reported_once(
    application, doctor, monkeypatch
):
    """The check of the environment would repeat the error of the application."""
    monkeypatch.setenv("ODP_API_KEY", '"sesame"')
    Path("shop_client.py").write_text("import odp_logging\nodp_logging.OdpHandler()\n")
    _, found = doctor("--import", "shop_client")

    assert "ODP_API_KEY has quotes" in get_finding(found, "application")[1]
    assert "environment" not in found
    assert "sesame" not in str(found)


def test_a_missing_folder_is_named(application, doctor):
    """The folder in which a module was looked for is the most likely mistake."""
    _, found = doctor("--import", "mysite.settings")
    (result,) = found["application"]

    assert result["found"] == (
        f"there is no module mysite in {os.getcwd()}, and none is installed"
    )
    assert result["advice"] == "run this command in the folder that holds mysite"


def test_the_report_is_human_readable(application, environment, capsys):
    """Problems come first, each with its advice; the last line counts the findings."""
    path = sys.path[:]
    status = main(["doctor", "--import", "shop_settings:set_up"])
    shown = capsys.readouterr()

    assert (status, sys.path) == (1, path)
    assert shown.err == "on stdout\n"
    lines = shown.out.splitlines()
    assert lines[0] == "problem  disabled: 1 logger disabled: early"
    assert lines[1].startswith('         -> set "disable_existing_loggers": False')
    assert lines[2].startswith("hint     ")
    assert lines[4] == "ok       application: shop_settings:set_up is imported"
    assert lines[-1] == "1 problem, 1 hint, 6 ok"
    assert "hint     console: the root logger has no handler that prints" in shown.out


def test_a_missing_django_is_a_problem(doctor, monkeypatch):
    """--django without Django is reported in one line."""
    monkeypatch.setitem(sys.modules, "django", None)
    _, found = doctor("--django")

    text = "setting up Django raised ModuleNotFoundError of django"
    assert get_finding(found, "application") == ("problem", text)


def test_django_is_set_up(tmp_path, emulator):
    """--django calls django.setup() before the checks."""
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text(
        "from shop_settings import set_up as setup"
    )
    ended = run(
        tmp_path,
        "--django",
        ODP_API_KEY=KEY,
        ODP_API_HOST=emulator.url,
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )

    assert "ok       application: Django is set up" in ended.stdout
    assert "ok       levels: OdpHandler on the root logger" in ended.stdout


PLANTED = ("difflib", "requests", "structlog", "ssl", "ipaddress", "argparse")


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--import", "shop_settings"]])
@pytest.mark.parametrize("script", [True, False])
def test_files_of_the_current_directory_replace_no_module(tmp_path, words, script):
    """They are imported only for --import, after the standard library and packages."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w').close()\n")
    (tmp_path / "shop_settings.py").write_text("import difflib, requests\n")
    installed = Path(sys.executable).with_name("odp-logging")
    command = [installed] if script else [sys.executable, "-m", "odp_logging"]
    ended = subprocess.run(
        [*command, "doctor", "--timeout", "1", *words],
        env={**os.environ, "ODP_API_KEY": KEY, "ODP_API_HOST": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    assert ended.returncode == 1, ended.stderr
    assert ("shop_settings is imported" in ended.stdout) == bool(words)
    assert [path.name for path in tmp_path.glob("ran-*")] == []
