"""The command ``doctor`` in this process, and loggers of the test alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odp_logging import OdpHandler
from odp_logging._cli.main import main

from ...conftest import KEY
from ...transports.conftest import _plain_environment as _plain_environment
from ...transports.conftest import certificate as certificate
from ...transports.conftest import peer as peer

Checks = dict[str, list[dict[str, str]]]


@pytest.fixture(autouse=True)
def isolate_loggers() -> Iterator[None]:
    """Hide all loggers but the test's own; restore them afterwards."""
    manager, root = logging.root.manager, logging.root
    saved = manager.loggerDict, root.handlers[:], root.level, manager.disable
    manager.loggerDict = {}
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    yield
    for handler in [*root.handlers, *_list_handlers()]:
        if isinstance(handler, OdpHandler):
            handler.close()
    manager.loggerDict, root.handlers[:], _, manager.disable = saved
    root.setLevel(saved[2])


def _list_handlers() -> list[logging.Handler]:
    loggers = logging.root.manager.loggerDict.values()
    return [item for logger in loggers for item in getattr(logger, "handlers", ())]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Checks]]:
    """Return a function that runs the command for its status and findings."""

    def run(*words: str) -> tuple[int, Checks]:
        status = main(["doctor", "--json", *words])
        report = json.loads(capsys.readouterr().out)
        assert status == (1 if report["problems"] else 0)
        found: Checks = {}
        for result in report["findings"]:
            assert "\n" not in result["found"] + result["advice"]
            assert result["advice"] or result["kind"] == "ok"
            found.setdefault(result["check"], []).append(result)
        return status, found

    return run


def list_kinds(found: Checks, check: str) -> list[str]:
    """Return the kinds of all findings on *check*."""
    return [result["kind"] for result in found.get(check, ())]


def get_finding(found: Checks, check: str) -> tuple[str, str]:
    """Return kind and text of the one finding on *check*."""
    (result,) = found[check]
    return result["kind"], result["found"]


@pytest.fixture
def environment(emulator, monkeypatch) -> None:
    """Set key and host of the emulator in the environment."""
    monkeypatch.setenv("ODP_API_KEY", KEY)
    monkeypatch.setenv("ODP_API_HOST", emulator.url)


def add_handler(
    name: str | None = None, logger_level: int | None = logging.INFO, **settings: Any
) -> tuple[logging.Logger, OdpHandler]:
    """Add an OdpHandler to a logger, and set the logger's level; return both."""
    logger = logging.getLogger(name)
    handler = OdpHandler(handle_sigterm=False, **settings)
    logger.addHandler(handler)
    if logger_level is not None:
        logger.setLevel(logger_level)
    return logger, handler
