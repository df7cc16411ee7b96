"""A listening socket with a thread for each connection, all of which can be ended."""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ._odp import Odp

MAX_STREAMS = 32

_RESET = struct.pack("ii", 1, 0)

# How long serve_forever sleeps between looks at its end flag.
_POLL = 0.05


class Server(ThreadingHTTPServer):
    """Serves *odp* through *handler* until `end` is called."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        odp: Odp,
        ping_interval: float,
    ) -> None:
        self.odp = odp
        self.ping_interval = ping_interval
        self.ending = threading.Event()
        self.streams = threading.BoundedSemaphore(MAX_STREAMS)
        self.serials = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="odp-emulator", daemon=True
        )

    def begin(self) -> None:
        """Answer requests from now on, on threads of its own."""
        self._thread.start()

    def end(self, timeout: float = 2.0) -> None:
        """Close all connections and end all threads, within about *timeout*.

        Requests that were read are answered first, if that takes under half of it.
        """
        self.ending.set()
        self.odp.ledger.wake()
        self.shutdown()
        self.server_close()
        self._thread.join(timeout)
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._shut_connections(how)
            self._join_connections(timeout / 2)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's full name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection on a thread that `end` knows."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="odp-emulator-connection",
            daemon=True,
        )
        with self._lock:
            self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; with a reset and nothing else after `reset_on_close`."""
        # A shutdown would send a FIN ahead of the reset.
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _RESET:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say an unexpected error in one line that names nothing of the request."""
        error = sys.exc_info()[0]
        if error is not None and not issubclass(error, (ConnectionError, TimeoutError)):
            print(f"ODP emulator: unexpected {error.__name__}", file=sys.stderr)

    def _shut_connections(self, how: int) -> None:
        with self._lock:
            connections = list(self._open.values())
        for connection in connections:
            try:
                connection.shutdown(how)
            except OSError:
                continue  # it has just ended by itself

    def _join_connections(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = list(self._open)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def reset_on_close(connection: socket.socket) -> None:
    """Let *connection* end with a reset, as if the server had died."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
