"""What many tests need: a clean environment, an emulator, a client that sends to it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from odp_logging import OdpClient, clear_data, clear_identifiers
from odp_logging.emulator import Emulator

KEY = "test-key-that-nobody-may-see"

# Where a shell started us in the background, Ctrl-C is ignored, by our children too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in list(os.environ):
        kept = name.startswith("ODP_TEST_") or name == "ODP_BLOCK_NETWORK"
        if name.startswith(("ODP_", "ZAIUS_")) and not kept:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def clean_context() -> Iterator[None]:
    """Nothing bound or configured in one test is seen by the next."""
    yield
    clear_identifiers()
    clear_data()
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator on a free port."""
    with Emulator(key=KEY) as running:
        yield running


@pytest.fixture
def odp() -> Iterator[Emulator]:
    """An emulator that accepts any key, and runs longer than a test's processes."""
    with Emulator() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The path of a spool's directory, which does not exist yet."""
    return tmp_path / "spool"


@pytest.fixture
def client(emulator: Emulator) -> Iterator[OdpClient]:
    """A client that sends to the emulator as soon as it is asked to."""
    with OdpClient(KEY, api_host=emulator.url, handle_sigterm=False) as made:
        yield made


@pytest.fixture
def logger(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    """A logger of this test's own, without handlers, at DEBUG."""
    made = logging.getLogger(f"shop.{request.node.name}")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    for handler in made.handlers[:]:
        made.removeHandler(handler)
        handler.close()
