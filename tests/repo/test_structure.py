"""Outside modules, and uses of the interpreter, have one place in the package."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import odp_logging

PACKAGE = Path(odp_logging.__file__).parent

COMMANDS = {
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("_cli/**/*.py")
}
IMPORTERS = {
    "requests": {"_transports/route.py"},
    "urllib3": {"_transports/session.py"},
    "atexit": {"_runtime/hooks.py"},
    "signal": {
        "_runtime/shutdown.py",
        "_runtime/signals.py",
        "_runtime/fork.py",
        "_flusher/relay.py",
        "_cli/demo/run.py",
        "emulator/_main.py",
    },
    "multiprocessing": {"_runtime/hooks.py"},
    "argparse": {*COMMANDS, "emulator/_main.py", "emulator/__main__.py"},
    "random": {
        "_transports/retry.py",
        "emulator/_faults.py",
        "emulator/_emulator.py",
        "emulator/_api.py",
        "_cli/demo/shop.py",
    },
    "structlog": {"_cli/demo/shop.py"},
    "pytest": {"pytest_plugin.py"},
    "sqlite3": {
        "_stores/spool/checkpoint.py",
        "_stores/spool/connection.py",
        "_stores/spool/errors.py",
        "_stores/spool/file.py",
        "_stores/spool/schema.py",
    },
    "ctypes": {"_stores/spool/connection.py"},
    "fcntl": {"_stores/spool/file_lock.py"},
    "queue": {"_transports/addresses.py"},
    "optimizely": {"optimizely.py"},
    "prometheus_client": {"prometheus.py", "_cli/relay_metrics.py"},
    "opentelemetry": {"opentelemetry.py"},
    "billiard": set(),  # only looked up in sys.modules
    "celery": {"celery.py"},
    "django": {"django.py"},
    "asgiref": {"django.py"},
    "flask": {"wsgi.py"},
    "trio": set(),
    "redis": {"_stores/queue/redis/connection.py"},
    "psycopg": {"_stores/queue/postgresql/connection.py"},
    "concurrent": set(),
    "pickle": set(),
}
EMULATOR = {f"emulator/{path.name}" for path in PACKAGE.glob("emulator/*.py")}
USERS = {
    "sleep": set(),
    # freezegun stops it: deadlines are on the clock of _runtime/lock.py.
    "monotonic": {"_runtime/lock.py", *EMULATOR},
    # pytest's plugin loads the network block, and not the settings.
    "environ": {
        "_config/environment.py",
        "_config/load.py",
        "_capture/network_block.py",
        "_transports/route.py",
        "_cli/terminal.py",  # NO_COLOR, TERM and CI
    },
    "register_at_fork": {"_runtime/hooks.py"},
    "Handler": {
        "_inputs/handler.py",
        "_inputs/processor.py",
        "_cli/demo/run.py",
        "_cli/demo/shop.py",
        "_cli/doctor/logger_tree.py",
        "_cli/doctor/loggers.py",
        "_runtime/diagnostics.py",
    },
}


@cache
def parse_package() -> Mapping[str, list[ast.AST]]:
    """Return all nodes of each file of the package, by the file's path in it."""
    return {
        path.relative_to(PACKAGE).as_posix(): list(
            ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def scan_package() -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """Return the files that import each outside module, and use each attribute."""
    importers: dict[str, set[str]] = defaultdict(set)
    users: dict[str, set[str]] = defaultdict(set)
    for file, nodes in parse_package().items():
        for node in nodes:
            for module in imported_packages(node):
                importers[module].add(file)
            if isinstance(node, ast.Attribute):
                users[node.attr].add(file)
    return importers, users


def imported_packages(node: ast.AST) -> list[str]:
    """Return the outside packages that *node* imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or "").partition(".")[0]]
    return []


@pytest.mark.parametrize("module", IMPORTERS)
def test_each_outside_module_is_imported_in_its_place(module):
    """An outside module is imported where it belongs, and nowhere else."""
    importers, _ = scan_package()

    assert importers.get(module, set()) <= IMPORTERS[module]


@pytest.mark.parametrize("name", USERS)
def test_each_use_of_the_interpreter_is_in_its_place(name):
    """time.sleep is not used; environment, fork hooks and handlers have one file."""
    _, users = scan_package()

    assert users.get(name, set()) <= USERS[name]


def test_text_for_people_is_printed_in_one_place():
    """Only `print_line` prints text; all else that is printed is JSON or a constant."""
    prints = [
        (file, node)
        for file, nodes in parse_package().items()
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not file.startswith("emulator/")
    ]
    others = {
        file
        for file, node in prints
        if not all(is_json(part) for part in list_alternatives(node.args[0]))
    }

    # The line at the exit holds numbers and advice.
    assert others == {"_runtime/diagnostics.py", "_runtime/shutdown.py"}


def list_alternatives(node: ast.AST) -> list[ast.AST]:
    """Return both values of a conditional expression, or the expression itself."""
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def is_json(node: ast.AST) -> bool:
    """Whether *node* is a call of json.dumps."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps"


def test_every_engine_is_named_by_an_import_statement():
    """A program that PyInstaller made has no module that no statement imports."""
    folder = PACKAGE / "_stores" / "queue"
    modules = {module.name for module in pkgutil.iter_modules([str(folder)])}
    named = {
        alias.name
        for node in parse_package()["_stores/queue/engines.py"]
        if isinstance(node, ast.ImportFrom) and node.level == 1 and not node.module
        for alias in node.names
    }

    engines = {
        module
        for module in modules
        if hasattr(
            importlib.import_module(f"odp_logging._stores.queue.{module}"), "Engine"
        )
    }
    assert engines == named == {"postgresql", "redis"}
