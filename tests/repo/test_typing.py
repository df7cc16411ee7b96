"""What type checkers and editors see of the public names and the settings."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import odp_logging
from odp_logging import OdpClient, OdpHandler, OdpProcessor, Settings
from odp_logging._config.settings import ALIASES, SETTINGS

from ..interpreter import run_code

ROOT = Path(odp_logging.__file__).parents[1]
CLASSES = [OdpHandler, OdpClient, OdpProcessor]

RIGHT = """
import odp_logging
from odp_logging import OdpClient, OdpHandler, OdpProcessor, Settings

handler = OdpHandler("key", level="INFO", flush_interval=0.5, overflow="block")
client = OdpClient(api_key="key", max_batch_size=3, spool="directory")
processor = OdpProcessor(api_key="key", strip=False, on_drop=lambda events, why: None)
shared = OdpProcessor(handler.client)
settings: Settings = {"timeout": 3.0, "hash_identifiers": ["email"]}
OdpClient(**settings)
accepted: int = client.stats.accepted
capture = odp_logging.testing.capture
middleware = odp_logging.wsgi.IdentifierMiddleware
odp_logging.flush(5)
"""

WRONG = """
import odp_logging
from odp_logging import OdpClient, OdpHandler, OdpProcessor
OdpHandler("key", flush_intervall=0.5)
OdpClient(max_batch_size="many")
OdpProcessor(durability="always")
OdpHandler(client="key")
OdpHandler("key", None, "INFO")
odp_logging.OdpHandlr
odp_logging.flush("5")
OdpClient(before_send=lambda first, second: None)
"""


@pytest.fixture(params=["right", "wrong"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / f"{request.param}.py"
    path.write_text(RIGHT if request.param == "right" else WRONG)
    return path


def find_wrong_lines(program: Path) -> list[int]:
    """Return the lines in which a type checker has to find a mistake."""
    count = len(program.read_text().splitlines())
    return list(range(4, count + 1)) if program.stem == "wrong" else []


def run_tool(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_mypy(program: Path, tmp_path: Path) -> None:
    """Strict mypy accepts right settings and finds each wrong one."""
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\nfollow_imports = silent\n"
        "[mypy-celery.*,django.*,asgiref.*]\nignore_missing_imports = true\n"
    )
    text = run_tool("mypy", "--output", "json", program.name, folder=tmp_path)
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    errors = [each["line"] for each in found if each["severity"] == "error"]
    assert sorted(set(errors)) == find_wrong_lines(program), text


@pytest.mark.slow
def test_pyright(program: Path, tmp_path: Path) -> None:
    """Pyright, and Pylance with it, does so too."""
    pytest.importorskip("pyright")
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT)], "typeCheckingMode": "standard"})
    )
    options = ("--outputjson", "--pythonpath", sys.executable)
    text = run_tool("pyright", *options, program.name, folder=tmp_path)
    found = json.loads(text[text.index("{") :])["generalDiagnostics"]
    errors = {each["range"]["start"]["line"] + 1 for each in found}
    assert sorted(errors) == find_wrong_lines(program), text


@pytest.fixture
def jedi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Jedi with a cache of its own: processes that share one read unfinished files."""
    module = pytest.importorskip("jedi")
    monkeypatch.setattr(module.settings, "cache_directory", str(tmp_path))
    return module


def test_editors_complete_the_public_names(jedi: Any) -> None:
    """Jedi, which many editors use, lists every public name after the dot."""
    script = jedi.Script(
        "import odp_logging\nodp_logging.", project=jedi.Project(str(ROOT))
    )
    names = {found.name for found in script.complete()}
    assert {*odp_logging.__all__, "testing", "wsgi", "optimizely"} <= names


@pytest.mark.parametrize("kind", CLASSES)
def test_notebooks_complete_the_settings(jedi: Any, kind: type) -> None:
    """In IPython, jedi completes the keywords of the public classes."""
    names = {"Kind": kind}
    found = jedi.Interpreter("Kind(flush_i", [names]).complete()
    assert [each.name for each in found] == ["flush_interval="]
    [signature] = jedi.Interpreter("Kind(", [names]).get_signatures()
    assert {*SETTINGS} <= {parameter.name for parameter in signature.params}


@pytest.mark.parametrize("kind", CLASSES)
def test_signatures_show_settings_with_default_and_unit(kind: type) -> None:
    """`inspect.signature` and `help` name each setting once."""
    signature = inspect.signature(kind)
    parameters = signature.parameters
    assert {*SETTINGS} <= parameters.keys()
    assert not {*ALIASES} & parameters.keys()
    for name, setting in SETTINGS.items():
        assert parameters[name].default == setting.default
    assert "flush_interval: \"Annotated[float, 'seconds']\" = 1.0" in f"{signature}"


def test_a_subclass_has_its_own_signature() -> None:
    """Only a class that passes settings on shows them."""

    class Narrow(OdpHandler):
        def __init__(self, shop: str) -> None:
            super().__init__(shop)

    assert [*inspect.signature(Narrow).parameters] == ["shop"]


def test_each_setting_has_a_type() -> None:
    """The types name exactly the settings there are."""
    assert get_type_hints(Settings).keys() == SETTINGS.keys() - {"api_key"} | {*ALIASES}


def test_the_stub_has_the_public_names() -> None:
    """What type checkers see is what `__all__` lists, and the public modules."""
    stub = (ROOT / "odp_logging" / "__init__.pyi").read_text()
    names = {line.rpartition(" as ")[2] for line in stub.splitlines() if " as " in line}
    public = {
        path.stem
        for path in (ROOT / "odp_logging").iterdir()
        if path.stem[0] != "_" and (path.suffix == ".py" or path.is_dir())
    }
    # Nobody imports these two for their names.
    modules = public - {"pytest_plugin", "exceptions"}
    assert names | {"__version__"} == {*odp_logging.__all__, *modules}


@pytest.mark.parametrize("name", ["emulator", "prometheus", "testing", "wsgi"])
def test_submodules_need_no_import_of_their_own(name: str) -> None:
    """`import odp_logging` alone is enough for `odp_logging.testing` and the others."""
    code = f"import odp_logging; print(odp_logging.{name}.__name__)"
    assert run_code(code) == [f"odp_logging.{name}"]
