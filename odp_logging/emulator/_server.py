"""A listening socket with a thread for each connection, all of which can be ended."""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ._access import Access
from ._api import EventsApi

MAX_STREAMS = 32

MAX_CONNECTIONS = 512
"""Each has its own thread; further connections are answered 503."""

MAX_BODIES = 64 * 2**20
"""Bytes of all bodies that are being read at the same time."""

_BODY_WAIT_SECONDS = 20.0

# A small body needs no reservation: 512 of them are 32 MiB.
_SMALL_BODY_BYTES = 65_536

_UNAVAILABLE_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)

# SO_LINGER with 0 seconds: closing sends RST, and no FIN (socket(7)).
_RESET = struct.pack("ii", 1, 0)

# Interval at which serve_forever checks its shutdown flag.
_POLL_SECONDS = 0.05


class Bodies:
    """The memory for bodies of requests that are being read. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._changed = threading.Condition()

    def reserve(self, size: int) -> bool:
        """Wait until *size* bytes are free; return False after a timeout."""
        if size <= _SMALL_BODY_BYTES:
            return True
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._left >= size, _BODY_WAIT_SECONDS
            ):
                return False
            self._left -= size
            return True

    def release(self, size: int) -> None:
        """Release the memory of a body."""
        if size > _SMALL_BODY_BYTES:
            with self._changed:
                self._left += size
                self._changed.notify_all()


class Server(ThreadingHTTPServer):
    """Serves *api* through *handler* until `stop` is called.

    Args:
        route: answers one request that *handler* has read and checked.
    """

    daemon_threads = True
    # Python's default is 5: of more clients at once, some would wait for seconds.
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        route: Callable[[Any], None],
        api: EventsApi,
        access: Access,
        ping_interval: float,
    ) -> None:
        self.route = route
        self.access = access
        self.bodies = Bodies(MAX_BODIES)
        self.api = api
        self.ping_interval = ping_interval
        self.ending = threading.Event()
        self.streams = threading.BoundedSemaphore(MAX_STREAMS)
        self.serial_counter = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)
        self._thread = threading.Thread(
            target=self.serve_forever,
            args=(_POLL_SECONDS,),
            name="odp-emulator",
            daemon=True,
        )

    def check_access(
        self, path: str, query: str, headers: Message, *, method: str
    ) -> None:
        """Raise `RequestError` unless a request is allowed."""
        self.access.check(
            path, query, headers, server_name=self.server_name, method=method
        )

    def start(self) -> None:
        """Start the thread that accepts connections."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Close all connections and end all threads, within about *timeout*.

        Requests that were read are answered first, if that takes under half of it.
        """
        self.ending.set()
        self.api.ledger.notify_all()
        self.shutdown()
        self.server_close()
        self._thread.join(timeout)
        # First no further requests; then no responses either.
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._shut_connections(how)
            self._join_connections(timeout / 2)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's full name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection on a thread that `stop` joins."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="odp-emulator-connection",
            daemon=True,
        )
        with self._lock:
            is_full = len(self._open) >= MAX_CONNECTIONS
            if not is_full:
                self._open[thread] = request
        if is_full:
            return self._reject_connection(request)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            with self._lock:
                del self._open[thread]
            self._reject_connection(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection until it is closed."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; after `reset_on_close`, with a reset only."""
        # A shutdown would send a FIN ahead of the reset.
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _RESET:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an unexpected error in one line, without contents of the request."""
        error = sys.exc_info()[0]
        if error is not None and not issubclass(error, (ConnectionError, TimeoutError)):
            print(f"ODP emulator: unexpected {error.__name__}", file=sys.stderr)

    def _reject_connection(self, request: Any) -> None:
        try:
            request.setblocking(False)
            request.send(_UNAVAILABLE_RESPONSE)
        except OSError:
            pass  # the client has closed it
        self.shutdown_request(request)

    def _shut_connections(self, how: int) -> None:
        with self._lock:
            connections = list(self._open.values())
        for connection in connections:
            try:
                connection.shutdown(how)
            except OSError:
                continue  # closed meanwhile

    def _join_connections(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = list(self._open)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def reset_on_close(connection: socket.socket) -> None:
    """Have *connection* end with a reset, as if the server had crashed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
