"""The class `Emulator`, for tests, examples and programs."""

from __future__ import annotations

import ipaddress
import random
import secrets
import threading
from typing import Any
from urllib.parse import quote

from ._access import Access
from ._api import EventsApi
from ._faults import Fault, Faults
from ._http import Handler
from ._ledger import EVENTS_PATH, Ledger
from ._routes import route
from ._server import Server


class Emulator:
    """An emulator of ODP on this machine. Thread-safe.

    The ledger survives `stop`, and the next `start` uses the same port, so a test can
    simulate an outage.

    Args:
        port: 0 takes a free one.
        key: the only API key to accept; None accepts any that is not empty.
        host: the address to listen on; a loopback one without *allow_remote*.
        token: required to read or change anything over HTTP, and by the page; None
            creates one, "" requires none. The events API needs the API key alone, and
            the methods here need nothing.
        allow_remote: whether *host* may be an address that other machines reach, such
            as 0.0.0.0. They can then send events, without encryption.
        seed: makes the faults' ``rate`` repeatable.
        ping_interval: seconds between pings on the live stream.
    """

    def __init__(
        self,
        port: int = 0,
        key: str | None = None,
        host: str = "127.0.0.1",
        *,
        token: str | None = None,
        allow_remote: bool = False,
        seed: int | None = None,
        ping_interval: float = 10.0,
    ) -> None:
        self._host = _check_address(host, allow_remote=allow_remote)
        token = secrets.token_urlsafe(18) if token is None else token
        self._access = Access(token, allow_remote=allow_remote)
        self._port = port
        self._ping_interval = ping_interval
        self._api = EventsApi(Ledger(), Faults(random.Random(seed)), key=key)
        self._lock = threading.Lock()
        self._server: Server | None = None

    def start(self) -> Emulator:
        """Start to listen and answer; do nothing if started."""
        with self._lock:
            if self._server is None:
                self._server = Server(
                    (self._host, self._port),
                    Handler,
                    route=route,
                    api=self._api,
                    access=self._access,
                    ping_interval=self._ping_interval,
                )
                self._port = self._server.server_port
                self._server.start()
        return self

    def stop(self) -> None:
        """Close all connections and end all threads; do nothing if not started."""
        with self._lock:
            server, self._server = self._server, None
            if server is not None:
                server.stop()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Emulator {self._host}:{self._port}>"

    @property
    def url(self) -> str:
        """The URL, without a trailing slash; known from the first `start` on."""
        if self._port == 0:
            raise RuntimeError("the emulator has no address yet: call start()")
        # A client cannot connect to the address of all interfaces on every platform.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self._port}"

    @property
    def page(self) -> str:
        """The URL of the page, with the access token."""
        query = f"?token={quote(self.token, safe='')}" if self.token else ""
        return f"{self.url}/{query}"

    @property
    def token(self) -> str:
        """The access token, for the header ``Authorization: Bearer ...``."""
        return self._access.token

    @property
    def is_remote(self) -> bool:
        """Whether other machines can reach it."""
        return not ipaddress.ip_address(self._host).is_loopback

    def stats(self) -> dict[str, Any]:
        """Return the current counts, as ``GET /_emulator/stats`` does."""
        return self._api.get_stats()

    def events(self, since: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the latest entries with a serial above *since*, oldest first."""
        return self._api.list_entries(since, limit)

    def requests(self) -> list[dict[str, Any]]:
        """Return the latest 1,000 requests to the events API, oldest first."""
        requests = self._api.ledger.list_requests()
        return [request for request in requests if request["path"] == EVENTS_PATH]

    def wait_for_requests(
        self, since: int = 0, timeout: float = 10.0
    ) -> list[dict[str, Any]]:
        """Wait for a request with a serial ``n`` above *since*; return all of them.

        Requests to other paths are among them. Returns none after *timeout* seconds.
        """
        return self._api.ledger.wait_for_requests(since, timeout)

    def diagnostics(self) -> list[dict[str, Any]]:
        """Return the latest 500 lines that libraries reported, oldest first."""
        return self._api.diagnostics.list_lines()

    def wait_for(self, unique: int, timeout: float = 10.0) -> bool:
        """Wait until *unique* events were accepted; return False after *timeout*."""
        return self._api.ledger.wait_for(unique, timeout)

    def fault(self, **fields: Any) -> None:
        """Add one fault, with the fields of ``POST /_emulator/faults``.

        Raises:
            ValueError: a field is invalid; the message names it and a valid value.
        """
        self._api.faults.add(Fault.read(fields))
        self._api.ledger.notify_all()

    def clear_faults(self) -> None:
        """Unset all faults."""
        self._api.faults.clear()
        self._api.ledger.notify_all()

    def clear(self) -> None:
        """Empty the ledger; serials continue."""
        self._api.clear()


def _check_address(host: str, *, allow_remote: bool) -> str:
    # The name may lead to ::1, where a client of 127.0.0.1 finds nothing.
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"host {host!r} is not an IP address: give 127.0.0.1"
        ) from None
    if not (address.is_loopback or allow_remote):
        raise ValueError(
            f"host {host!r} is not a loopback address: give 127.0.0.1, or"
            " allow_remote=True to let other machines send events"
        )
    return host
