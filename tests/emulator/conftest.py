"""What the emulator's tests need: an emulator, and a client's requests."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import pytest

from odp_logging.emulator import Emulator

from .browsing import Page, chromium

KEY = "W4WzcEs-ABgXorzY7h1LCQ"
PATIENCE = 30.0


@pytest.fixture
def odp() -> Iterator[Emulator]:
    """An emulator on a free port that takes one key."""
    with Emulator(key=KEY) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests that look at the page."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any, odp: Emulator) -> Iterator[Page]:
    """The page of this test's emulator."""
    yield Page(browser, odp.page)
    browser.get("about:blank")
    browser.get_log("browser")  # what this test provoked is nothing to the next


@dataclass(frozen=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The value in the body."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """What ODP says about the whole request."""
        text = self.json["detail"]["message"]
        assert isinstance(text, str)
        return text


def an_event(n: int = 0, **fields: Any) -> dict[str, Any]:
    """An event that ODP takes, with an id of its own."""
    return {
        "type": "fullstack",
        "action": "purchased",
        "identifiers": {"fs_user_id": f"user-{n}"},
        "data": {"idempotence_id": f"id-{n}"},
        **fields,
    }


def some_events(first: int, last: int) -> list[dict[str, Any]]:
    """Events from *first* up to *last*, which is not among them."""
    return [an_event(n) for n in range(first, last)]


def connect(odp: Emulator) -> http.client.HTTPConnection:
    """A connection that waits for no answer longer than a test should."""
    parts = urlsplit(odp.url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)


def dial(odp: Emulator) -> socket.socket:
    """A bare connection, for what no HTTP library would send."""
    parts = urlsplit(odp.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on *connection* and read the answer."""
    connection.request(method, path, body, dict(headers or {}))
    with connection.getresponse() as response:
        return Reply(response.status, response.headers, response.read())


def call(
    odp: Emulator,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a connection of its own, with the access token."""
    connection = connect(odp)
    lines = dict(headers or {})
    if "authorization" not in map(str.lower, lines):
        lines["Authorization"] = f"Bearer {odp.token}"
    try:
        return exchange(connection, method, path, body, lines)
    finally:
        connection.close()


def send(odp: Emulator, events: Any, **headers: str) -> Reply:
    """Post *events*: bytes as they are, anything else as JSON."""
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    lines = {"x-api-key": KEY, "content-type": "application/json"}
    lines.update({name.replace("_", "-"): text for name, text in headers.items()})
    return call(odp, "POST", "/v3/events", body, lines)


def ask_fault(odp: Emulator, fault: Any) -> Reply:
    """Ask for a fault as a client in any language does."""
    body = json.dumps(fault).encode()
    headers = {"content-type": "application/json"}
    return call(odp, "POST", "/_emulator/faults", body, headers)


def request_bytes(
    events: Any, *, path: str = "/v3/events", host: str = "127.0.0.1"
) -> bytes:
    """The bytes of one request, for a bare connection."""
    body = json.dumps(events).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nx-api-key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
