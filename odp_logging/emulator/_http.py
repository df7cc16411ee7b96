"""One HTTP connection: it reads requests, checks them, and writes responses.

`_server` creates one `Handler` for each connection, and `_routes` decides the response.
"""

from __future__ import annotations

import io
import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any

from ._api import Response, build_error_response
from ._ledger import EVENTS_PATH
from ._requests import RequestError, check_single_headers, parse_size, read_head
from ._server import Server, reset_on_close

# After the response, a body that is too large is read and discarded for this time: else
# a client that is still sending would get a broken connection instead of the response.
_DISCARD_SECONDS = 2.0
_DISCARD_BYTES = 64 * 2**20

_CHUNK_BYTES = 65_536

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Handler(BaseHTTPRequestHandler):
    """One connection, on its own thread.

    Routes read the current request from *url_path*, *query*, *headers* and *body*.
    """

    server: Server
    protocol_version = "HTTP/1.1"
    # Not HTTP/0.9: its responses have no status line.
    default_request_version = "HTTP/1.0"
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    disable_nagle_algorithm = True
    # Buffered, so that headers and body are sent in one segment: a second segment would
    # wait for a delayed acknowledgement.
    wbufsize = -1
    timeout = 120.0

    def setup(self) -> None:
        """Assign a serial to the connection."""
        super().setup()
        self.serial = next(self.server.serial_counter)

    # Reading a request.

    def parse_request(self) -> bool:
        """Read the head of a request, strictly and within limits."""
        # send_error reads these attributes.
        self.command, self.requestline = "", ""
        self.request_version = self.protocol_version
        connection = self.rfile
        try:
            head = read_head(connection)
            if head is None:
                self.close_connection = True
                return False
            self.rfile = io.BytesIO(head)
            if not super().parse_request():
                return False
            if not isinstance(self.headers, Message):
                # Python 3.14 accepts it; the response would have no status line.
                raise RequestError(400, "the request line has no version")
            check_single_headers(self.headers)
        except RequestError as error:
            self.request_version = self.protocol_version
            self.send_error(error.status, error.reason or None)
            return False
        finally:
            self.rfile = connection
        return True

    def do_GET(self) -> None:
        """Check and route one request of any method."""
        self.url_path, _, self.query = self.path.partition("?")
        self.body = b""
        if self.server.ending.is_set():
            self.close_connection = True
        try:
            self.server.check_access(
                self.url_path, self.query, self.headers, method=self.command
            )
            size = parse_size(self.url_path, self.headers)
        except RequestError as error:
            return self._refuse(error.status, error.reason)
        if not self.server.bodies.reserve(size):
            return self._refuse(503, "too many large bodies at a time")
        self._reserved = size
        try:
            if self._read_body(size):
                self.server.route(self)
        finally:
            self.release_body()

    do_HEAD = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_GET

    def lower_headers(self) -> dict[str, str]:
        """Return the request's headers by lower-case name."""
        return {name.lower(): value for name, value in self.headers.items()}

    def release_body(self) -> None:
        """Forget the body, and let other connections use its memory."""
        self.body = b""
        size, self._reserved = self._reserved, 0
        self.server.bodies.release(size)

    def handle_expect_100(self) -> bool:
        """Ask for the body; flush, because the response is buffered."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _read_body(self, size: int) -> bool:
        """Read the body; return False if the connection was closed before its end."""
        self.body = self.rfile.read(size)
        self.close_connection |= len(self.body) < size
        return len(self.body) == size

    def _refuse(self, status: int, reason: str) -> None:
        """Answer without reading the body, and close the connection."""
        self.close_connection = True
        text = f"{reason}\n".encode()
        response = Response(status, text, "text/plain; charset=utf-8")
        # Not for 403: a page of another site must not fill the ledger.
        if self.url_path == EVENTS_PATH and status != 403:
            response = self.server.api.record_refusal(
                self.lower_headers(), status, reason, connection=self.serial
            )
        self.send(response)
        self._discard()

    def _discard(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the client has closed the connection
        deadline = time.monotonic() + _DISCARD_SECONDS
        left = _DISCARD_BYTES
        while left > 0 and (remaining := deadline - time.monotonic()) > 0:
            self.connection.settimeout(remaining)
            chunk = self.connection.recv(65_536)
            if not chunk:
                return
            left -= len(chunk)

    # Writing a response.

    def send(
        self, response: Response, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send *response*, with more *headers*."""
        # Responses of the API are to look like ODP's.
        security = {} if self.url_path == EVENTS_PATH else _SECURITY_HEADERS
        has_body = response.status not in (204, 304)
        fields = {**security, **response.headers, **(headers or {})}
        if has_body:
            fields["Content-Type"] = response.content_type
            fields["Content-Length"] = str(len(response.body))
        self._send_head(response.status, fields)
        if has_body and self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def send_json(self, value: Any) -> None:
        """Send *value* as JSON."""
        self.send(Response(200, json.dumps(value).encode()))

    def send_api_error(self, status: int, message: str) -> None:
        """Send an error in the form of ODP's."""
        self.send(build_error_response(status, message))

    def send_list(self, parts: Iterator[bytes]) -> None:
        """Send a JSON list of *parts* in chunks, because it may be large."""
        is_chunked = self.request_version >= "HTTP/1.1"
        headers = {"Content-Type": "application/json", **_SECURITY_HEADERS}
        if is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            self.close_connection = True
        self._send_head(200, headers)
        chunk = bytearray(b"[")
        for index, part in enumerate(parts):
            chunk += b", " * (index > 0) + part
            if len(chunk) >= _CHUNK_BYTES:
                self.write(_frame_chunk(chunk) if is_chunked else bytes(chunk))
                chunk.clear()
        chunk += b"]"
        self.write(_frame_chunk(chunk) + b"0\r\n\r\n" if is_chunked else bytes(chunk))

    def start_stream(self) -> None:
        """Send the head of a stream of server-sent events."""
        self.close_connection = True
        # The end of the connection ends it, because it has no length.
        self._send_head(200, {"Content-Type": "text/event-stream", **_SECURITY_HEADERS})
        self.wfile.flush()

    def write(self, data: bytes) -> None:
        """Send *data* at once."""
        self.wfile.write(data)
        self.wfile.flush()

    def reset(self) -> None:
        """End the connection with a reset instead of a response."""
        reset_on_close(self.connection)
        self.close_connection = True

    def is_closed_by_client(self) -> bool:
        """Return whether the client has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer an error without the text that the base class quotes."""
        if message is not None:
            message = message.partition(" (")[0]
        super().send_error(code, message, explain)

    def version_string(self) -> str:
        """Return the value of the header Server."""
        return "odp-emulator"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: request lines may carry identifiers."""

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _frame_chunk(chunk: bytes | bytearray) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), bytes(chunk))
