"""A `requests.Session` in which one deadline holds for all of a request.

`requests` bounds the wait for each piece of an answer: a peer that sends one byte every
few seconds holds the thread for ever, and so does one that reads that slowly. Here
connecting, sending and the whole answer share the time that a `Wire` gives them.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
from collections import deque
from collections.abc import Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    check_header_validity,
    select_proxy,
)
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ._wire import Wire

_TLS_PIECE = 256 * 1024
"""Bytes: most batches are less, and leave in one write."""

_inherited: list[Any] = []
"""The parent's connections, which a forked child must not even let go of."""


class Line:
    """
    A session that posts to one address, keeps one connection, and nothing else.

    It retries nothing, follows nothing, and reads neither cookies nor .netrc. What is
    the same for all requests is made once: it costs more than all else in one.

    Args:
        url: Where to post.
        headers: Those of each request.
        wire: Bounds each request, and is told how far it came.
        direct: Whether to leave out proxies from the environment.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], wire: Wire, *, direct: bool = False
    ) -> None:
        self._session = session = _Session()
        session.trust_env = not direct
        # A set `auth` keeps requests from adding an Authorization header out of
        # ~/.netrc.
        session.auth = _as_it_is
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(wire)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        blank = requests.Request("POST", url, headers=headers)
        self._request = session.prepare_request(blank)
        self._settings = session.merge_environment_settings(url, {}, True, None, None)

    def post(self, body: bytes, key: str, *, timeout: float) -> requests.Response:
        """
        Post *body*; the answer's body is not read yet.

        Raises:
            requests.RequestException: No answer came, or the request cannot be made.
        """
        request = self._request
        check_header_validity(("x-api-key", key))
        try:
            request.body = body
            request.headers["Content-Length"] = str(len(body))
            request.headers["x-api-key"] = key
            return self._session.send(
                request, timeout=timeout, allow_redirects=False, **self._settings
            )
        finally:
            request.body = None
            request.headers.pop("x-api-key", None)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def forget_in_child(self) -> None:
        """
        Make what a fork has copied harmless; the parent's connection stays open.

        urllib3 closes what is in each pool at the end of the process.
        """
        for adapter in self._session.adapters.values():
            if not isinstance(adapter, HTTPAdapter):
                continue
            managers = [adapter.poolmanager, *adapter.proxy_manager.values()]
            for manager in managers:
                for pool in list(getattr(manager.pools, "_container", {}).values()):
                    if pool.pool is not None:
                        _inherited.extend(filter(None, pool.pool.queue))
                        pool.pool.queue.clear()


class Way(NamedTuple):
    """How requests to an address leave: through whom, and whose certificates count."""

    proxy: tuple[str, int] | None
    trust: str
    """File or directory of certificates."""


def way_to(url: str, *, direct: bool = False) -> Way:
    """Return the way that a `Line` to *url* takes."""
    session = requests.Session()
    session.trust_env = not direct
    settings = session.merge_environment_settings(url, {}, None, None, None)
    proxy = None
    if chosen := select_proxy(url, settings["proxies"]):
        parts = urlsplit(chosen if "://" in chosen else f"http://{chosen}")
        if parts.hostname:
            proxy = parts.hostname, parts.port or 80
    verify = settings["verify"]
    return Way(proxy, verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        # Even with allow_redirects=False, requests reads, and unpacks, all of the
        # answer to prepare a request to that target.
        return None


class _Adapter(HTTPAdapter):
    def __init__(self, wire: Wire) -> None:
        self._pools = {
            "http": partial(_HttpPool, wire=wire),
            "https": partial(_HttpsPool, wire=wire),
        }
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Http(HTTPConnection):
    """A connection that keeps to the wire's time, and tells it how far it came."""

    # Where somebody turns it on for all connections, http.client prints each request:
    # its headers, the key among them, and its body.
    debuglevel = 0

    # urllib3 hands what a pool does not know to its connections: so the wire gets here.
    def __init__(self, *args: Any, wire: Wire, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wire = wire
        self._parts: list[bytes] | None = None
        self.response_class = partial(_Response, wire)  # type: ignore[assignment]

    def _new_conn(self) -> socket.socket:
        self._wire.connected = True
        self.timeout = self._wire.left()
        sock: socket.socket = super()._new_conn()
        self._wire.keep_time(sock)  # for a TLS handshake
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._wire.began = True
        # Head and body leave in one write: each gives up the interpreter's lock, and
        # beside a thread that never stops computing it comes back 5 ms later.
        self._parts = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._parts)
        finally:
            self._parts = None
        self.send(whole)
        self._wire.sent = True

    def send(self, data: Any) -> None:
        if self._parts is not None:
            self._parts.append(data)
        else:
            self._write(data)

    def _write(self, data: Any) -> None:
        if self.sock is not None:
            self._wire.keep_time(self.sock)
        super().send(data)


class _Https(_Http, HTTPSConnection):
    def _write(self, data: Any) -> None:
        # One time-out holds for all of a plain socket's sendall, but, where gevent or
        # pyOpenSSL stand in for the ssl module, only for each wait of a TLS socket's.
        view = memoryview(data)
        for start in range(0, len(view), _TLS_PIECE):
            super()._write(view[start : start + _TLS_PIECE])


class _Shelf:
    """
    The idle connections of a pool, for one thread, without a lock.

    A signal handler that raised within `queue.LifoQueue` left its lock taken: urllib3,
    which gives the connection back all the same, then waited for ever.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self.queue: deque[Any] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if self.qsize() >= self.maxsize:
            raise queue.Full
        self.queue.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        return len(self.queue)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http
    QueueCls = _Shelf  # type: ignore[assignment]


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https
    QueueCls = _Shelf  # type: ignore[assignment]


class _Response(http.client.HTTPResponse):
    def __init__(
        self, wire: Wire, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_PunctualSocket(wire, sock))

    def _read_status(self) -> tuple[str, int, str]:
        # http.client skips 100 alone: it would take 103 for the answer, and the answer
        # for that of the next request.
        while True:
            status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= status[1] < 200:
                return status
            http.client.parse_headers(self.fp)


class _PunctualSocket(io.RawIOBase):
    """Read from a socket until the wire's time is up."""

    def __init__(self, wire: Wire, sock: socket.socket) -> None:
        self._wire = wire
        self._sock = sock
        # A file of the socket keeps it open until the answer is read.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._wire.is_late():
            raise TimeoutError("the answer took too long")
        self._wire.keep_time(self._sock)
        count = self._file.readinto(buffer)
        self._wire.heard = self._wire.heard or bool(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
