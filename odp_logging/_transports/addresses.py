"""Opens a socket to a host: resolves its name and tries its addresses.

A connection of `session` calls `open_socket`, which shares the time of the request. The
system's own calls have no common time limit.
"""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from .._runtime.lock import monotonic
from .request_state import RequestState

_ATTEMPT_DELAY_SECONDS = 0.25
"""Delay before the next address of a host is tried in parallel (RFC 8305, section
5)."""

_CONNECT_IN_PROGRESS = frozenset(
    {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN}
)


def open_socket(host: str, port: int, state: RequestState) -> socket.socket:
    """
    Return a socket that is connected to one of the addresses of *host*.

    A host may have addresses that do not answer: IPv6 without a route, or a zone of a
    load balancer that is down. So the next address is tried 250 ms after the previous
    one, and the first that answers is used (RFC 8305). One that worked before is tried
    first.

    Raises:
        OSError: None answered in time.
        UnicodeError: *host* is not a valid name.
    """
    addresses = _sort_addresses(_resolve(host, port, state), state)
    if len(addresses) == 1:
        sock = socket.socket(*addresses[0][:3])
        try:
            _disable_nagle(sock)
            sock.settimeout(state.remaining_connect_seconds)
            sock.connect(addresses[0][4])
        except BaseException:
            sock.close()
            raise
        state.address = addresses[0][4]
        return sock
    race = _ConnectRace(addresses, state)
    try:
        return race.run()
    finally:
        race.close()


def _resolve(host: str, port: int, state: RequestState) -> list[Any]:
    """
    Return the addresses of *host*, looked up within the time to connect.

    getaddrinfo has no timeout: if the name server does not answer, it takes 15 to 30 s,
    and interpreter exit would wait for it. So a separate thread makes the call. If none
    can be started (at exit of CPython 3.12.0 to 3.12.2, in some sub-interpreters), this
    thread makes the call, however long it takes.

    Raises:
        OSError: The name is unknown, or was not resolved in time.
        UnicodeError: *host* is not a valid name.
    """
    resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        return resolve(
            flags=socket.AI_NUMERICHOST
        )  # an IP address needs no name server
    except socket.gaierror:
        pass
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put_result() -> None:
        try:
            results.put(resolve())
        except Exception as error:
            results.put(error)

    try:
        threading.Thread(target=put_result, name="odp-logging-dns", daemon=True).start()
    except RuntimeError:
        put_result()
    try:
        result = results.get(timeout=state.remaining_connect_seconds)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered") from None
    if isinstance(result, Exception):
        raise result
    return list(result)


def _disable_nagle(sock: socket.socket) -> None:
    # A last short segment would wait for the acknowledgement of the one before, 40 ms
    # and more with delayed acknowledgements.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _sort_addresses(found: Sequence[Any], state: RequestState) -> list[Any]:
    """Return addresses, alternating families; the good one first, the bad one last."""
    by_family: dict[int, deque[Any]] = {}
    for address_info in dict.fromkeys(found):
        by_family.setdefault(address_info[0], deque()).append(address_info)
    # As RFC 8305, section 4: a family without a route costs one step, not all of its
    # own.
    ordered = []
    while queues := [queue for queue in by_family.values() if queue]:
        ordered += [queue.popleft() for queue in queues]
    return sorted(ordered, key=lambda info: state.get_priority(info[4]))


class _ConnectRace:
    """Connects to several addresses in parallel, with staggered starts (RFC 8305)."""

    def __init__(self, addresses: Sequence[Any], state: RequestState) -> None:
        self._state = state
        self._remaining = deque(addresses)
        self._open: dict[socket.socket, Any] = {}
        self._error: OSError | None = None
        # Looked up at run time: gevent or eventlet may have replaced the class.
        self._selector = selectors.DefaultSelector()

    def run(self) -> socket.socket:
        """Return the first socket that is connected."""
        start_next = 0.0
        while self._remaining or self._open:
            now = monotonic()
            if self._remaining and (not self._open or now >= start_next):
                self._start(*self._remaining.popleft())
                start_next = now + _ATTEMPT_DELAY_SECONDS
                continue
            if self._state.has_connect_timed_out():
                raise TimeoutError("timed out")
            seconds = self._state.remaining_connect_seconds
            if self._remaining:
                seconds = min(seconds, start_next - now)
            for ready, _ in self._selector.select(seconds):
                connected = self._finish(ready.fileobj)
                if connected is not None:
                    return connected
                start_next = 0.0  # refused: start the next one at once
        raise self._error or OSError("the host has no address")

    def _start(
        self, family: int, type_: int, protocol: int, name: str, address: Any
    ) -> None:
        try:
            sock = socket.socket(family, type_, protocol)
        except OSError as error:  # this machine does not support the family
            self._error = error
            return
        self._open[sock] = address
        try:
            _disable_nagle(sock)
            # Connecting goes on while the next address is tried.
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code not in _CONNECT_IN_PROGRESS:
                raise OSError(code, os.strerror(code))
            self._selector.register(sock, selectors.EVENT_WRITE)
        except OSError as error:
            self._error = _clear_traceback(error)
            del self._open[sock]
            sock.close()

    def _finish(self, sock: Any) -> socket.socket | None:
        self._selector.unregister(sock)
        address = self._open.pop(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            self._state.address = address
            connected: socket.socket = sock
            return connected
        sock.close()
        self._error = OSError(code, os.strerror(code))
        return None

    def close(self) -> None:
        """Close the sockets that are not connected yet."""
        self._error = None
        for sock in self._open:
            sock.close()
        self._selector.close()


def _clear_traceback(error: OSError) -> OSError:
    error.__traceback__ = None  # its frames refer to the error: a reference cycle
    return error
