"""One outside thing, one room: where each module of the outside may be known."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import odp_logging

PACKAGE = Path(odp_logging.__file__).parent

ROOMS = {
    "requests": {"transports/_http.py", "transports/_session.py"},
    "urllib3": {"transports/_http.py", "transports/_session.py", "transports/_wire.py"},
    "atexit": {"_lifecycle.py"},
    "signal": {"_lifecycle.py", "_relay.py", "_demo.py", "emulator/_program.py"},
    "multiprocessing": {"_lifecycle.py"},
    "argparse": {"_cli.py", "emulator/_program.py", "emulator/__main__.py"},
    "random": {
        "transports/_retry.py",
        "emulator/_faults.py",
        "emulator/_emulator.py",
        "emulator/_odp.py",
        "_shop.py",
    },
    "structlog": {"_shop.py"},
    "pytest": {"pytest_plugin.py"},
    "sqlite3": {"stores/_rescue.py", "stores/_spoolfile.py", "stores/_visit.py"},
    "ctypes": {"stores/_spoolfile.py"},
    "fcntl": {"stores/_directory.py"},
    "queue": {"transports/_session.py"},  # its exceptions, for urllib3
    "optimizely": {"optimizely.py"},
    "prometheus_client": {"prometheus.py"},
    "opentelemetry": {"opentelemetry.py"},
    "billiard": set(),  # asked if they are loaded already
    "celery": set(),
    "trio": set(),
    "redis": {"stores/_servers.py"},
    "concurrent": set(),
    "pickle": set(),
}
USES = {
    "sleep": set(),
    "environ": {"_config.py"},
    "register_at_fork": {"_lifecycle.py"},
    "Handler": {"_handler.py", "_demo.py", "_logging_check.py", "_shop.py"},
}


def parts() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of every file of the package, with the file's place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path.relative_to(PACKAGE).as_posix(), node


def imported(node: ast.AST) -> list[str]:
    """Return the outside packages that *node* imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or "").partition(".")[0]]
    return []


@pytest.mark.parametrize("module", ROOMS)
def test_each_outside_module_has_its_room(module):
    """What is imported from outside is imported where it belongs, and only there."""
    found = {place for place, node in parts() if module in imported(node)}

    assert found <= ROOMS[module]


@pytest.mark.parametrize("name", USES)
def test_each_use_of_the_interpreter_has_its_room(name):
    """time.sleep stands nowhere; the environment, forks and handlers in one file."""
    found = {
        place
        for place, node in parts()
        if isinstance(node, ast.Attribute) and node.attr == name
    }

    assert found <= USES[name]
