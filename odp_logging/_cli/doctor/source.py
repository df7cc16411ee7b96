"""The doctor's check of source: log calls that look like an event and are none.

A log call is checked when it runs, too. This check needs no traffic: it reads the files
of the modules that the application has imported, and of the packages around them. A
settings module imports few others, so that its package is what holds the log calls.
"""

from __future__ import annotations

import ast
import os
import sys
import tokenize
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from ..._capture.fields import ACTION, FIELDS
from ..._capture.near_miss import find_missing_extra, find_near_miss
from .application import is_installed
from .check_result import CheckResult

_MAX_FILES = 5_000
"""Files that are read; a package can have a virtual environment inside it."""

_MAX_RESULTS = 20
"""Log calls that are reported one by one."""

_MAX_BYTES = 1_000_000
"""Larger files are skipped: they are generated."""

_SKIPPED_DIRS = frozenset(
    {"site-packages", "dist-packages", "node_modules", "__pycache__"}
)
_MARKERS = ("odp", "opd", "dop", "oddp")
"""One of these is in every name that `find_near_miss` reports."""

_LEVELS = frozenset(
    {"debug", "info", "warn", "warning", "error", "exception", "critical", "fatal"}
)
_LOG_METHODS = _LEVELS | {f"a{level}" for level in _LEVELS} | {"log", "alog", "msg"}
"""Methods of loggers: of logging, structlog (await log.ainfo()) and loguru."""

_BIND_METHODS = frozenset({"bind", "new", "bind_contextvars", "bound_contextvars"})
"""Functions that add fields to later log calls."""

_OWN_ARGUMENTS = frozenset({"extra", "exc_info", "stack_info", "stacklevel"})


class _Fields(NamedTuple):
    """The names that a log call gives, each with the names nested in it."""

    names: dict[str, Any]
    is_complete: bool


def check_sources(
    known: Collection[str], named: Collection[str]
) -> Iterator[CheckResult]:
    """
    Check the log calls in the application's source.

    Args:
        known: Modules that were imported before the application.
        named: Modules that the command line names; they may be installed packages.
    """
    paths = islice(_find_files(known, named), _MAX_FILES)
    results = [result for path in paths for result in _check_file(path)]
    yield from results[:_MAX_RESULTS]
    more = results[_MAX_RESULTS:]
    if more:
        yield CheckResult(
            "hint",
            "source",
            f"{len(more)} more log calls look like events that are not sent",
            "fix those that are named, and run this command again",
        )


# Files.


def _find_files(known: Collection[str], named: Collection[str]) -> Iterator[Path]:
    named_packages = {name.partition(".")[0] for name in named}
    packages: set[str] = set()
    found: set[Path] = set()
    for name, module in [*sys.modules.items()]:
        package = name.partition(".")[0]
        if package == "odp_logging" or (name in known and name not in named):
            continue
        if package not in named_packages and is_installed(package):
            continue
        packages.add(package)
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py"):
            found.add(Path(path))
    for package in packages:
        for root in getattr(sys.modules.get(package), "__path__", ()):
            found.update(_walk(root))
    yield from sorted(found)


def _walk(top: str) -> Iterator[Path]:
    for root, dirs, files in os.walk(top):
        dirs[:] = [
            name
            for name in sorted(dirs)
            if name not in _SKIPPED_DIRS and not name.startswith(".")
        ]
        yield from (Path(root, name) for name in files if name.endswith(".py"))


def _check_file(path: Path) -> Iterator[CheckResult]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return
        # It reads the encoding that the file declares (PEP 263).
        with tokenize.open(path) as file:
            text = file.read()
        # Most files have none, and parsing takes far longer than a search.
        if not any(marker in text.lower() for marker in _MARKERS):
            return
        calls = [node for node in ast.walk(ast.parse(text)) if _is_log_call(node)]
    # ast.parse: ValueError for a null byte, RecursionError for deep nesting.
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for call in sorted(calls, key=lambda call: call.lineno):
        result = _check_call(call)
        if result is not None:
            yield result.add_location(f"{_format_path(path)}:{call.lineno}")


def _format_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the directory was removed
        return str(path)


# Log calls.


def _is_log_call(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and (
        _read_name(node) in _LOG_METHODS or _read_name(node) in _BIND_METHODS
    )


def _read_name(call: ast.Call) -> str:
    """Return the name of the function or method that is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _check_call(call: ast.Call) -> CheckResult | None:
    for fields in _list_fields(call):
        text = find_near_miss(fields.names)
        if text is None:
            continue
        # Fields of an event may be complete without it: bound, or from "**fields".
        rest = {
            name: value for name, value in fields.names.items() if name not in FIELDS
        }
        is_certain = fields.is_complete or ACTION in fields.names
        is_certain = is_certain or find_near_miss(rest) is not None
        return _build_result(text, is_certain=is_certain)
    text = _find_missing_extra(call)
    return _build_result(text, is_certain=True) if text else None


def _build_result(text: str, *, is_certain: bool) -> CheckResult:
    return CheckResult(
        "problem" if is_certain else "hint", "source", text, "fix that log call"
    )


def _list_fields(call: ast.Call) -> Iterator[_Fields]:
    """Yield the names that *call* gives: in ``extra=``, and as keywords."""
    for keyword in call.keywords:
        if keyword.arg == "extra":
            fields = _read_dict(keyword.value)
            if fields is not None:
                yield fields
    # Keywords of structlog and loguru, where fields can be bound before the call.
    names = {
        keyword.arg: _read_nested(keyword.value)
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in _OWN_ARGUMENTS
    }
    if names and _read_name(call) in _BIND_METHODS and ACTION not in names:
        # What is bound is a part of an event, even without a tag.
        names = {name: names[name] for name in names if name not in FIELDS}
    yield _Fields(names, is_complete=False)


def _read_dict(node: ast.expr) -> _Fields | None:
    """Return the names in a dict that is written out: ``{...}`` or ``dict(...)``."""
    names: dict[str, Any] = {}
    is_complete = True
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                names[key.value] = _read_nested(value)
            else:  # a variable, or "**fields"
                is_complete = False
        return _Fields(names, is_complete)
    if isinstance(node, ast.Call) and _read_name(node) == "dict":
        for keyword in node.keywords:
            if keyword.arg is None:
                is_complete = False
            else:
                names[keyword.arg] = _read_nested(keyword.value)
        return _Fields(names, is_complete and not node.args)
    return None


def _read_nested(node: ast.expr) -> dict[str, Any] | None:
    fields = _read_dict(node)
    return None if fields is None else fields.names


def _find_missing_extra(call: ast.Call) -> str | None:
    """Return a suggestion if the only argument of the message holds an event."""
    arguments = call.args[1:] if _read_name(call) == "log" else call.args
    if len(arguments) != 2:
        return None
    message, last = arguments
    fields = _read_dict(last)
    if fields is None or not fields.is_complete:
        return None
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return find_missing_extra(message.value, fields.names)
    # A formatted string has its values already.
    is_formatted = isinstance(message, ast.JoinedStr)
    return find_missing_extra("", fields.names) if is_formatted else None
