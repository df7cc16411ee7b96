"""The command ``doctor``: why do I see nothing?"""

from __future__ import annotations

import importlib
import json
import logging.config
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any

from ._config import Config
from ._finding import Finding, counted
from ._logging_check import clients, of_logging
from ._network_check import of_answer, of_way
from ._settings_check import of_config, of_environment
from ._structlog_check import of_structlog
from .exceptions import ConfigurationError

TIMEOUT = 5.0
"""Seconds for each step on the network."""


def run(
    imports: Iterable[str] = (),
    *,
    django: bool = False,
    send: bool = False,
    seconds: float = TIMEOUT,
    as_json: bool = False,
) -> int:
    """
    Look, print what was found, and return 1 if there is a problem, else 0.

    Args:
        imports: ``module``, or ``module:name`` of a function to call or of a dict for
            dictConfig: what sets up the application's logging.
        django: Whether to set up Django, by DJANGO_SETTINGS_MODULE.
        send: Whether to send one event; without it none is.
        seconds: Bound for each step on the network.
        as_json: Whether to print for machines.
    """
    names = list(imports)
    found: list[Finding] = []
    # Where the application is started, modules lie; a console script starts elsewhere.
    here = _here()
    sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):
            found += [_imported(name) for name in names]
            found += [_django()] if django else []
        found += examine(imported=bool(names) or django, send=send, seconds=seconds)
    finally:
        if here in sys.path:  # what was imported may have changed it
            sys.path.remove(here)
    problems = sum(each.kind == "problem" for each in found)
    if as_json:
        told = [asdict(each) for each in found]
        print(json.dumps({"findings": told, "problems": problems}))
    else:
        _print(found)
    return 1 if problems else 0


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody removed it
        return ""


def examine(*, imported: bool, send: bool, seconds: float) -> Iterator[Finding]:
    """Look at all there is to see from within this process."""
    alone, odd = of_environment()
    yield from odd
    seen = [(where, client.config) for where, client in clients()]
    if not seen and alone is not None:
        seen = [("", alone)]
    looked_at: set[Any] = set()
    for where, config in seen:
        for each in of_config(config):
            yield _at(where if len(seen) > 1 else "", each)
        destination = None if config.queue_url else config.destination()
        if destination is not None and destination not in looked_at:
            looked_at.add(destination)
            yield from _way(config, send=send, seconds=seconds)
    yield from of_logging(imported=imported)
    yield from of_structlog()
    for where, client in clients():
        stats = client.stats
        if stats.accepted or stats.last_error:
            yield _at(where, _counts(stats))


def _way(config: Config, *, send: bool, seconds: float) -> Iterator[Finding]:
    destination = config.destination()
    assert destination is not None
    found = list(of_way(destination, seconds=seconds))
    yield from found
    if send and not any(each.kind == "problem" for each in found):
        yield of_answer(destination, seconds=seconds)


def _counts(stats: Any) -> Finding:
    lost = sum(stats.rejected.values()) + sum(stats.dropped.values())
    text = (
        f"{counted(stats.accepted, 'event')} so far: {stats.delivered} delivered,"
        f" {lost} rejected or dropped, {stats.pending + stats.spooled} waiting"
    )
    if not lost and not stats.last_error:
        return Finding("ok", "counts", text)
    last = f"; the last error: {stats.last_error}" if stats.last_error else ""
    kinds = {**stats.rejected, **stats.dropped}
    reasons = ", ".join(f"{count} {reason}" for reason, count in kinds.items())
    return Finding(
        "hint",
        "counts",
        text + (f" ({reasons})" if reasons else "") + last,
        "see the warnings of the logger odp_logging",
    )


def _at(where: str, finding: Finding) -> Finding:
    if not where:
        return finding
    told = f"{where}: {finding.found}"
    return Finding(finding.kind, finding.check, told, finding.advice)


# The application.


def _imported(name: str) -> Finding:
    module_name, _, member = name.partition(":")
    try:
        found = importlib.import_module(module_name)
        if member:
            _set_up(getattr(found, member))
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        return _failed(f"importing {name}", f"python -c 'import {module_name}'", error)
    return Finding("ok", "application", f"{name} is imported")


def _set_up(member: Any) -> None:
    if isinstance(member, dict):
        logging.config.dictConfig(member)
    elif callable(member):
        member()
    else:
        raise TypeError("neither a function nor a dict")


def _django() -> Finding:
    try:
        importlib.import_module("django").setup()
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        command = (
            "export DJANGO_SETTINGS_MODULE=mysite.settings, python manage.py check"
        )
        return _failed("setting up Django", command, error)
    return Finding("ok", "application", "Django is set up")


def _failed(what: str, command: str, error: BaseException) -> Finding:
    # The kind alone: the text may hold a key. Our own never does.
    text = f"{what} raised {type(error).__name__}"
    if isinstance(error, ImportError) and error.name:
        text += f" of {error.name}"
    ours = _configuration_error(error)
    if ours is not None:
        return Finding("problem", "application", f"{text}: {ours}", "mend the setting")
    return Finding("problem", "application", text, f"see why: {command}")


def _configuration_error(error: BaseException | None) -> ConfigurationError | None:
    for _ in range(10):  # a chain may bite its tail
        if error is None or isinstance(error, ConfigurationError):
            return error
        error = error.__cause__ or error.__context__
    return None


# On paper.


def _print(found: Iterable[Finding]) -> None:
    kinds = {"ok": 0, "hint": 0, "problem": 0}
    for each in found:
        kinds[each.kind] += 1
        print(f"{each.kind:<8} {each.check}: {each.found}")
        if each.advice:
            print(f"{'':<8} -> {each.advice}")
    print(
        f"{counted(kinds['problem'], 'problem')}, {counted(kinds['hint'], 'hint')},"
        f" {kinds['ok']} ok"
    )
