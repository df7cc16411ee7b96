"""Clients for the tests of this folder, and what became of their events."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging import OdpClient
from odp_logging.emulator import Emulator

from ..conftest import KEY

WHO = {"fs_user_id": "u1"}
LOGGED = {"odp_identifiers": WHO}


def list_events(emulator: Emulator) -> list[Any]:
    """Return the events that the emulator accepted."""
    return [entry["event"] for entry in emulator.events()]


def make_client(emulator: Emulator, **settings: Any) -> OdpClient:
    """Return a client that sends to *emulator*."""
    return OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def read_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the library's own log lines."""
    return [
        record.getMessage() for record in caplog.records if record.name == "odp_logging"
    ]
