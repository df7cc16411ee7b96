"""Import the application that the doctor checks, so that its handlers are set up."""

from __future__ import annotations

import difflib
import importlib
import logging.config
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

from ...exceptions import ConfigurationError
from .check_result import CheckResult

_MISSING = object()

_MAX_CHAIN_LENGTH = 10
"""Causes of an error that are followed; the chain may be a cycle."""


@contextmanager
def search_cwd() -> Iterator[None]:
    """
    Let imports find modules of the current directory, where an application lies.

    It comes last: a file there must not replace a module of Python or of a library.
    """
    cwd = _get_cwd()
    sys.path.append(cwd)
    try:
        yield
    finally:
        _remove_last(cwd)


def _get_cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # the directory was removed
        return ""


def _remove_last(cwd: str) -> None:
    # What was imported may have changed sys.path.
    if cwd in sys.path:
        sys.path.reverse()
        sys.path.remove(cwd)
        sys.path.reverse()


def set_up_application(names: Sequence[str], *, django: bool) -> Iterator[CheckResult]:
    """
    Set up Django if *django*, then import *names*; stop at the first problem.

    What comes after a problem would fail because of it, and hide the first cause.
    """
    # Before any import, which may log events: they would be sent.
    for name in names:
        result = _check_file_name(name)
        if result is not None:
            yield result
            return
    steps = [setup_django] if django else []
    steps += [partial(import_application, name) for name in names]
    for step in steps:
        result = step()
        yield result
        if result.kind == "problem":
            return


def _check_file_name(name: str) -> CheckResult | None:
    """Return a result if *name* is that of a file: ``a/b.py`` or ``a.b.py``."""
    file, sign, member = name.partition(":")
    if not file.endswith(".py"):
        return None
    module_name = file[: -len(".py")]
    module_path = module_name.replace(".", "/")
    if _is_in_search_path(f"{module_path}/py.py"):
        return None  # a package with a module of this name
    if os.path.isfile(file):
        module_name = _derive_module_name(file)
    elif _is_in_search_path(f"{module_path}.py"):
        file = f"{module_path}.py"
    else:
        return None
    return CheckResult(
        "problem",
        "application",
        f"{file} is a file",
        f"name its module: --import {module_name}{sign}{member}",
    )


def _is_in_search_path(file: str) -> bool:
    return any(os.path.isfile(os.path.join(root, file)) for root in sys.path)


def _derive_module_name(file: str) -> str:
    """Return the name by which *file* is imported from the folders of sys.path."""
    path = Path(os.path.abspath(file)).with_suffix("")
    names = [
        ".".join(path.relative_to(root).parts)
        for root in sys.path
        if root and path.is_relative_to(root)
    ]
    # A folder of sys.path may lie in another one, as src does.
    return min(names, key=len, default=path.name)


def import_application(name: str) -> CheckResult:
    """Import *name*, ``module`` or ``module:member``, and set up logging with it."""
    module_name, _, member = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the application's code can raise any
        return _check_missing_module(module_name, error) or _report_failure(
            f"importing {module_name}", f"python -c 'import {module_name}'", error
        )
    result = _configure(module, member) if member else None
    return result or CheckResult("ok", "application", f"{name} is imported")


def _configure(module: ModuleType, member: str) -> CheckResult | None:
    """Call *member* of *module*, or give it to dictConfig; return a failure if any."""
    name = f"{module.__name__}.{member}"
    code = f"import {module.__name__}; {name}"
    try:
        value = getattr(module, member, _MISSING)
        if value is _MISSING:
            return _report_missing_member(module, member)
        if isinstance(value, dict):
            code = f"import logging.config, {module.__name__}; "
            code += f"logging.config.dictConfig({name})"
            logging.config.dictConfig(value)
        elif callable(value):
            code += "()"
            value()
        else:
            return CheckResult(
                "problem",
                "application",
                f"{name} is neither a dict nor a function, but of the type"
                f" {type(value).__name__}",
                "name a dict for dictConfig, or a function that sets up logging",
            )
    except (Exception, SystemExit) as error:  # the application's code can raise any
        return _report_failure(f"setting up {name}", f"python -c '{code}'", error)
    return None


def _report_missing_member(module: ModuleType, member: str) -> CheckResult:
    usable = [
        name
        for name, value in vars(module).items()
        if not name.startswith("__") and (isinstance(value, dict) or callable(value))
    ]
    text = f"{module.__name__} has no {member}"
    return CheckResult(
        "problem",
        "application",
        text + _suggest(member, usable),
        "name a dict for dictConfig, or a function that sets up logging",
    )


def _check_missing_module(name: str, error: BaseException) -> CheckResult | None:
    """Return a result if *error* says that a module does not exist."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    missing = error.name
    # With the dot: `shop` is a package around `shop.settings`, and not around
    # `shopping`.
    if not f"{name}.".startswith(f"{missing}."):
        return CheckResult(
            "problem",
            "application",
            f"{name} imports {missing}, and there is no such module",
            "install it into the environment of this command, or fix the import",
        )
    package, _, child = missing.rpartition(".")
    if package:
        search_paths = getattr(sys.modules.get(package), "__path__", ())
        text = f"{package} has no module {child}"
        advice = "name an existing module"
    else:
        search_paths = [_get_cwd()]
        text = (
            f"there is no module {missing} in {search_paths[0]}, and none is installed"
        )
        advice = f"run this command in the folder that holds {missing}"
    names = [module.name for module in pkgutil.iter_modules(list(search_paths))]
    return CheckResult("problem", "application", text + _suggest(child, names), advice)


def _suggest(name: str, known: Iterable[str]) -> str:
    """Return a question with the one of *known* that is most similar to *name*."""
    # Compared without case: `logging` for LOGGING is a likely mistake.
    by_text = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), by_text, n=1)
    return f"; did you mean {by_text[matches[0]]}?" if matches else ""


def setup_django() -> CheckResult:
    """Set up Django, as DJANGO_SETTINGS_MODULE says."""
    try:
        importlib.import_module("django").setup()
    except (Exception, SystemExit) as error:  # the application's code can raise any
        command = (
            "export DJANGO_SETTINGS_MODULE=mysite.settings, python manage.py check"
        )
        return _report_failure("setting up Django", command, error)
    return CheckResult("ok", "application", "Django is set up")


def _report_failure(action: str, command: str, error: BaseException) -> CheckResult:
    # Only the type: the error's text may contain a key. This library's texts do not.
    text = f"{action} raised {type(error).__name__}"
    if isinstance(error, ImportError) and error.name:
        text += f" of {error.name}"
    cause = _find_configuration_error(error)
    if cause is not None:
        return CheckResult(
            "problem", "application", f"{text}: {cause}", "fix the setting"
        )
    return CheckResult("problem", "application", text, f"see why: {command}")


def _find_configuration_error(error: BaseException | None) -> ConfigurationError | None:
    for _ in range(_MAX_CHAIN_LENGTH):
        if error is None or isinstance(error, ConfigurationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def is_installed(name: str) -> bool:
    """Whether the top-level module *name* is Python's, or an installed package."""
    module = sys.modules.get(name)
    if module is None:
        return False
    if name in sys.stdlib_module_names:
        return True
    # Debian keeps its own packages in dist-packages.
    parts = Path(getattr(module, "__file__", None) or "").parts
    return "site-packages" in parts or "dist-packages" in parts
