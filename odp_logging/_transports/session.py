"""One connection to ODP, with one deadline for each request as a whole.

`Http` posts batches through an `HttpSession`. `requests` has timeouts for each read
only: a server that sends one byte every few seconds would block the thread for ever,
and so would one that reads that slowly. Here connecting, sending and the whole response
share the time of a `RequestState`.

Of `requests`, only the code that reads the environment is used, see `route`, and of
urllib3 only its connections (TLS, tunnels). Sessions, adapters and pools are not
used: they hold header and body in local variables and write log lines, and other
libraries (requests_cache, instrumentation) replace them and would then see the key.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
from collections.abc import Mapping
from email.message import Message
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import urllib3.util.ssl_
from urllib3 import ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import make_headers
from urllib3.util.connection import is_connection_dropped
from urllib3.util.ssl_match_hostname import CertificateError

from .._runtime.secret import Secret
from .addresses import open_socket
from .failures import InvalidSetting
from .request_state import RequestState
from .route import DEFAULT_PORTS, Proxy, find_route

if TYPE_CHECKING:
    from .._events.batch import Batch

_TLS_WRITE_BYTES = 256 * 1024
"""Most batches are smaller, and are sent in one write."""

_MAX_RESPONSE_BYTES = 1024 * 1024

_ssl_context_at_import: object = ssl.SSLContext

_inherited_connections: list[Any] = []
"""The parent's connections, referenced in a forked child so that none is closed."""


class Response(NamedTuple):
    """An HTTP response: at most 1 MiB of its body, or None if the body was cut off."""

    status: int
    headers: Message
    content: bytes | None


class HttpSession:
    """
    Posts to one address, over one connection that is kept open.

    It does not retry, follows no redirects, and supports neither cookies nor .netrc.
    The part that all requests share is built once: it costs more than the rest of a
    request.

    Args:
        url: The address to post to.
        headers: Headers of each request.
        key: ODP's public key, for the header ``x-api-key``.
        state: Limits the time of each request, and records its progress.
        ignore_proxy: Whether to ignore proxies from the environment.

    Raises:
        ValueError: No request can be made to *url*.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        key: Secret,
        state: RequestState,
        *,
        ignore_proxy: bool = False,
    ) -> None:
        target = urlsplit(url)
        if target.scheme not in DEFAULT_PORTS or not target.hostname:
            raise InvalidSetting("api_host is not the URL of a host")
        if not key.is_visible_ascii():
            raise InvalidSetting("the key is not printable ASCII without blanks")
        self._state = state
        self._host = target.hostname
        self._port = target.port or DEFAULT_PORTS[target.scheme]
        self._secure = target.scheme == "https"
        self._route = find_route(url, ignore_proxy=ignore_proxy)
        self._head = self._build_head(target, headers, key)
        self._connection: _HttpConnection | None = None

    @property
    def proxy(self) -> Proxy | None:
        """The proxy that requests go through."""
        return self._route.proxy

    @property
    def peer(self) -> tuple[str, int]:
        """Host and port that the connection is opened to: the proxy's, if any."""
        proxy = self._route.proxy
        return (self._host, self._port) if proxy is None else (proxy.host, proxy.port)

    def post(self, batch: Batch) -> Response:
        """
        Post the events of *batch* as a JSON array, within the time of the state.

        Neither the key nor the JSON of an event is ever a local variable of a frame:
        tracebacks, debuggers and error reporters show local variables.

        Raises:
            OSError, http.client.HTTPException: There was no response.
        """
        connection = self._get_connection()
        self._state.connection_ready = True
        connection.write(self._build_request(batch))
        self._state.request_sent = True
        response, keep_alive = connection.receive()
        if not keep_alive:
            self.close()
        return response

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def discard_in_child(self) -> None:
        """Disconnect the copy in a forked child; the parent's connection stays open."""
        if self._connection is not None:
            _inherited_connections.append(self._connection)
            _disconnect_copy(self._connection.sock)
            self._connection = None

    def _get_connection(self) -> _HttpConnection:
        """Return a connected connection; replace one that the server closed."""
        if self._connection is not None and is_connection_dropped(self._connection):
            self.close()
        if self._connection is None:
            # Stored before it is connected, so that `close` closes it after any error.
            self._connection = self._create_connection()
            try:
                self._connection.connect()
            except CertificateError as error:  # a ValueError of urllib3
                raise ssl.SSLCertVerificationError("for another name") from error
            if not self._state.has_time_for_response():
                raise TimeoutError("no time was left for an answer")
        return self._connection

    def _create_connection(self) -> _HttpConnection:
        proxy = self._route.proxy
        host, port = self.peer
        secure = self._secure or (proxy is not None and proxy.scheme == "https")
        connection_type = _HttpsConnection if secure else _HttpConnection
        connection = connection_type(host, port=port, state=self._state)
        if isinstance(connection, _HttpsConnection):
            connection.trust_certificates(self._route.ca_path)
        if proxy is not None and self._secure:
            connection.configure_tunnel(self._host, self._port, proxy)
        return connection

    def _build_head(
        self, target: SplitResult, headers: Mapping[str, str], key: Secret
    ) -> Secret:
        """Return the start of all requests, up to the length of the body."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        if self._port != DEFAULT_PORTS[target.scheme]:
            host += f":{self._port}"
        request_target = target.path
        lines = {"Host": host, **headers, "Accept": "*/*", "Connection": "keep-alive"}
        if self._route.proxy is not None and not self._secure:
            request_target = f"http://{host}{request_target}"
            lines.update(_build_login_header(self._route.proxy))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        start = f"POST {request_target} HTTP/1.1\r\n{text}x-api-key: "
        return key.surround(start.encode("ascii"), b"\r\nContent-Length: ")

    def _build_request(self, batch: Batch) -> memoryview:
        # One write for head and body: each write releases the GIL, and next to a thread
        # that computes without a pause it is acquired again 5 ms later. The repr of a
        # memoryview does not show its content.
        events = memoryview(b",".join([event.json for event in batch.events]))
        length = len(events) + len(b"[]")
        return memoryview(
            b"".join(
                (
                    self._head.get_secret_value(),
                    b"%d\r\n\r\n[" % length,
                    events,
                    b"]",
                )
            )
        )


def _build_login_header(proxy: Proxy) -> dict[str, str]:
    if not proxy.login.get_secret_value():
        return {}
    headers = make_headers(proxy_basic_auth=proxy.login.get_secret_value())
    return {"Proxy-Authorization": headers["proxy-authorization"]}


class _HttpConnection(HTTPConnection):
    """A connection that keeps the deadline of a state and records progress there."""

    # http.client prints what is sent if an application sets it for all connections.
    debuglevel = 0

    def __init__(self, host: str, *, port: int, state: RequestState) -> None:
        super().__init__(host, port=port)
        self._state = state
        self._address = host, port
        # http.client reads the response to CONNECT with it.
        self.response_class = partial(_HttpResponse, state)  # type: ignore[assignment]

    def configure_tunnel(self, host: str, port: int, proxy: Proxy) -> None:
        """Make `connect` request a tunnel to *host* from *proxy*."""
        headers = _build_login_header(proxy)
        self.set_tunnel(host, port, headers)
        if proxy.scheme != "https":
            return
        # TLS to the proxy, and within it TLS to the host.
        proxy_host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
        manager = ProxyManager(f"https://{proxy_host}:{proxy.port}")
        self.proxy, self.proxy_config = manager.proxy, manager.proxy_config
        self._tunnel_scheme = "https"
        self.tls_in_tls_required = True  # read by urllib3 1.26

    def _new_conn(self) -> socket.socket:
        self._state.connection_opened = True
        sock = open_socket(*self._address, self._state)
        # It limits the CONNECT of a tunnel and the TLS handshake.
        sock.settimeout(self._state.remaining_connect_seconds)
        return sock

    def write(self, data: memoryview) -> None:
        """Send *data*."""
        self._state.apply_timeout(self.sock)
        self.sock.sendall(data)

    def receive(self) -> tuple[Response, bool]:
        """Return the response, and whether the connection can carry another request."""
        http_response = _HttpResponse(self._state, self.sock, method="POST")
        try:
            http_response.begin()
            content = _read_body(http_response)
            keep_alive = http_response.isclosed() and not http_response.will_close
        finally:
            http_response.close()
        response = Response(http_response.status, http_response.headers, content)
        return response, keep_alive and content is not None


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    def trust_certificates(self, path: str) -> None:
        """Trust the certificates in the file or directory *path*, and no others."""
        self.cert_reqs = "CERT_REQUIRED"
        urllib3_context: object = urllib3.util.ssl_.SSLContext
        if (
            urllib3_context is _ssl_context_at_import
            and urllib3_context is not ssl.SSLContext
        ):
            # gevent or eventlet patched ssl after urllib3 was imported. Contexts that
            # urllib3 creates then raise RecursionError.
            self.ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.assert_hostname = None  # urllib3 1.26 does not set it
        if os.path.isdir(path):
            self.ca_cert_dir = path
        else:
            self.ca_certs = path

    def write(self, data: memoryview) -> None:
        # The timeout of a plain socket limits sendall as a whole. That of a TLS socket
        # of gevent or pyOpenSSL limits each wait only, so it is set for each part.
        for start in range(0, len(data), _TLS_WRITE_BYTES):
            super().write(data[start : start + _TLS_WRITE_BYTES])


def _read_body(response: http.client.HTTPResponse) -> bytes | None:
    try:
        return response.read(_MAX_RESPONSE_BYTES)
    except Exception:  # the status is known; the body only explains it
        return None


def _disconnect_copy(sock: Any) -> None:
    """
    Redirect *sock* to the null device in this process only, not in the parent.

    A signal handler may fork during a request. The child that returns from it continues
    the request, and would read the response that the parent waits for.
    """
    try:
        null_device = os.open(os.devnull, os.O_RDWR)
        try:
            # The descriptor stays in use: closing the socket later closes this one.
            os.dup2(null_device, sock.fileno(), inheritable=False)
        finally:
            os.close(null_device)
    except (AttributeError, OSError):  # not connected yet, or closed
        pass


class _HttpResponse(http.client.HTTPResponse):
    def __init__(
        self, state: RequestState, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(state, sock))

    def _read_status(self) -> tuple[str, int, str]:
        # http.client skips status 100 only. It would read 103 as the response, and the
        # real response as that of the next request.
        while True:
            status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= status[1] < 200:
                return status
            http.client.parse_headers(self.fp)


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until the deadline of a state."""

    def __init__(self, state: RequestState, sock: socket.socket) -> None:
        self._state = state
        self._sock = sock
        # The file keeps the socket open until the response is read.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._state.has_timed_out():
            raise TimeoutError("the answer took too long")
        self._state.apply_timeout(self._sock)
        count = self._file.readinto(buffer)
        self._state.response_started |= bool(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
