"""Clients that send to an emulator, the events that arrived, the library's warnings."""

from __future__ import annotations

from typing import Any

import pytest

from odp_logging import OdpClient
from odp_logging.emulator import Emulator

from .conftest import KEY


def build_client(emulator: Emulator, **settings: Any) -> OdpClient:
    """Return a client that sends to *emulator*."""
    return OdpClient(KEY, api_host=emulator.url, handle_sigterm=False, **settings)


def list_events(emulator: Emulator) -> list[Any]:
    """Return the events that *emulator* received, the oldest first."""
    return [entry["event"] for entry in emulator.events()]


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of the logger ``odp_logging``."""
    records = [record for record in caplog.records if record.name == "odp_logging"]
    return [record.getMessage() for record in records]
