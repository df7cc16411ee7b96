"""The emulator as an object: what a test, an example or a program holds."""

from __future__ import annotations

import ipaddress
import random
import threading
from typing import Any

from ._faults import Fault, Faults
from ._http import Handler
from ._ledger import Ledger
from ._odp import Odp
from ._server import Server


class Emulator:
    """A stand-in for ODP on a loopback address. Any thread may call anything.

    The ledger outlives `stop`, and the next `start` takes the same port again, so an
    outage can be played.

    Args:
        port: 0 takes a free one.
        key: the only API key to accept; None accepts any that is not empty.
        host: a loopback address.
        seed: makes the faults' ``rate`` repeatable.
        ping_interval: seconds between signs of life on the live stream.
    """

    def __init__(
        self,
        port: int = 0,
        key: str | None = None,
        host: str = "127.0.0.1",
        *,
        seed: int | None = None,
        ping_interval: float = 10.0,
    ) -> None:
        self._host = _loopback(host)
        self._port = port
        self._ping_interval = ping_interval
        self._odp = Odp(Ledger(), Faults(random.Random(seed)), key=key)
        self._lock = threading.Lock()
        self._server: Server | None = None

    def start(self) -> Emulator:
        """Listen and answer; nothing if it does already."""
        with self._lock:
            if self._server is None:
                self._server = Server(
                    (self._host, self._port),
                    Handler,
                    odp=self._odp,
                    ping_interval=self._ping_interval,
                )
                self._port = self._server.server_port
                self._server.begin()
        return self

    def stop(self) -> None:
        """Close all connections and end all threads; nothing if not started."""
        with self._lock:
            server, self._server = self._server, None
            if server is not None:
                server.end()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Emulator {self._host}:{self._port}>"

    @property
    def url(self) -> str:
        """Its address, without a slash at the end; known from the first `start` on."""
        if self._port == 0:
            raise RuntimeError("the emulator has no address yet: call start()")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def stats(self) -> dict[str, Any]:
        """The counts at this moment, as ``GET /_emulator/stats`` shows them."""
        return self._odp.stats()

    def events(self, since: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The latest ledger entries with a serial above *since*, oldest first."""
        return self._odp.entries(since, limit)

    def requests(self) -> list[dict[str, Any]]:
        """The latest 1,000 requests to the events API, oldest first."""
        return self._odp.ledger.requests()

    def wait_for(self, unique: int, timeout: float = 10.0) -> bool:
        """Wait until *unique* events were accepted; False if *timeout* came first."""
        return self._odp.ledger.wait_for(unique, timeout)

    def fault(self, **fields: Any) -> None:
        """Add one fault, with the fields of ``POST /_emulator/faults``.

        Raises:
            ValueError: a field cannot be used; the text names it and a good value.
        """
        self._odp.faults.add(Fault.read(fields))
        self._odp.ledger.wake()

    def clear_faults(self) -> None:
        """Unset all faults."""
        self._odp.faults.clear()
        self._odp.ledger.wake()

    def clear(self) -> None:
        """Empty the ledger; serials go on from where they were."""
        self._odp.ledger.clear()


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ValueError(f"host {host!r} is not a loopback address: give 127.0.0.1")
