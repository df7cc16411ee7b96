"""A session: one deadline for all of a request, and what others see of it."""

from __future__ import annotations

import logging
import socket
import sys
import time
from typing import Any

import pytest
import requests

from odp_logging._events.batch import Batch
from odp_logging._events.delivery import Cause
from odp_logging._events.event import OdpEvent
from odp_logging._runtime.secret import Secret
from odp_logging._transports.request_state import RequestState
from odp_logging._transports.session import (
    HttpSession,
    _DeadlineReader,
)

from .conftest import (
    ACCEPTED,
    KEY,
    Certificate,
    Connection,
    NewHttp,
    NewPeer,
    always,
    build_batch,
    is_all_pending,
    replies,
    reply,
)


def test_one_deadline_holds_for_handshake_and_answer(
    http: NewHttp, peer: NewPeer, trusted: Certificate
) -> None:
    """A slow handshake and a slow answer share one timeout."""
    path = trusted("IP:127.0.0.1")

    def script(connection: Connection) -> None:
        connection.peer.released.wait(0.6)
        connection.secure(path)
        connection.request()
        connection.hang()

    server = peer(script)
    transport = http(
        server.url.replace("http:", "https:"), ignore_proxy=False, timeout=1
    )

    start = time.monotonic()
    answer = transport.send(build_batch())

    assert is_all_pending(answer, in_doubt=True)
    assert time.monotonic() - start < 1.4


def test_request_state_is_reset_for_each_request() -> None:
    """The progress of one request is not that of the next."""
    state = RequestState()
    state.connection_opened = state.connection_ready = state.request_sent = (
        state.response_started
    ) = True

    state.start(10)

    assert not (
        state.connection_opened
        or state.connection_ready
        or state.request_sent
        or state.response_started
    )
    assert not state.has_timed_out()
    assert 9 < state.remaining_seconds <= 10


def test_remaining_seconds_are_never_zero() -> None:
    """After the deadline, the timeout for a socket is still more than 0."""
    state = RequestState()

    assert state.has_timed_out()
    assert state.remaining_seconds > 0


def test_a_socket_without_gettimeout_gets_a_timeout() -> None:
    """The socket class of urllib3 for pyOpenSSL has settimeout only."""

    class SocketWithoutGettimeout:
        def settimeout(self, seconds: float) -> None:
            self.seconds = seconds

    state, sock = RequestState(), SocketWithoutGettimeout()
    state.start(10)
    state.apply_timeout(sock)  # type: ignore[arg-type]

    assert 9 < sock.seconds <= 10


def test_a_read_after_the_deadline_raises() -> None:
    """After the deadline nothing is read, even if there is data."""
    state = RequestState()
    sock, server = socket.socketpair()
    with sock, server:
        server.sendall(reply())
        reader = _DeadlineReader(state, sock)

        with pytest.raises(TimeoutError):
            reader.readinto(bytearray(10))
        state.start(10)
        assert reader.readinto(bytearray(10)) == 10
        reader.close()
        reader.close()


class _RecordingSocket:
    """A socket that records each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def gettimeout(self) -> float:
        return 10.0

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        pass


def test_head_and_body_are_sent_in_one_write() -> None:
    """No second write waits for the GIL, or for an acknowledgement of the first."""
    state = RequestState()
    state.start(10)
    session = HttpSession(
        "http://127.0.0.1:1/v3/events", {}, Secret("k"), state, ignore_proxy=True
    )
    connection = session._create_connection()
    connection.sock = sock = _RecordingSocket()

    batch = build_batch(1)
    connection.write(session._build_request(batch))

    assert len(sock.writes) == 1
    assert sock.writes[0].startswith(b"POST /v3/events HTTP/1.1\r\n")
    length = len(batch.events[0].json) + 2
    end = b"x-api-key: k\r\nContent-Length: %d\r\n\r\n[" % length
    assert sock.writes[0].endswith(end + batch.events[0].json + b"]")


def test_a_replaced_requests_session_gets_no_request(
    http: NewHttp, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that replaces requests.Session, like requests_cache, gets no request.

    It would keep the key, which is a header, in plain text.
    """
    seen: list[Any] = []

    class Cached(requests.Session):
        def send(self, request: Any, **more: Any) -> Any:
            seen.append(request)
            return super().send(request, **more)

    monkeypatch.setattr(requests, "Session", Cached)
    monkeypatch.setattr(requests.sessions, "Session", Cached)
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", seen.append)
    server = peer(always(reply()))

    assert http(server.url).send(build_batch()) == ACCEPTED
    assert seen == []


def test_requests_log_nothing(
    http: NewHttp, peer: NewPeer, trusted: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    """With the root logger at DEBUG, no library logs the requests."""
    caplog.set_level(logging.DEBUG)
    plain = peer(always(reply()))
    secure = peer(always(reply(503)), certificate=trusted("IP:127.0.0.1"))
    odd = peer(replies(reply(202, b"{}", "Content-Length: x", "no colon")))

    for server in (plain, secure, odd):
        transport = http(server.url)
        for _ in range(2):
            transport.send(build_batch())
            transport.close()
        server.close()
        transport.send(build_batch())

    assert caplog.records == []


@pytest.mark.parametrize("secure", [False, True])
def test_no_frame_of_a_request_holds_key_or_event(
    http: NewHttp, peer: NewPeer, trusted: Certificate, secure: bool
) -> None:
    """No local variable of a frame holds key or event at any point of a request.

    A traceback with local variables would show them, wherever a signal handler raises.
    """
    certificate = trusted("IP:127.0.0.1") if secure else None
    server = peer(replies(reply(), reply(403)), certificate=certificate)
    batch = Batch([OdpEvent("bought", {"email": "zoe@example.com"}, data={"a": "Zoë"})])
    transport = http(server.url)
    seen: set[str] = set()
    shown: set[str] = set()

    def look(frame: Any, event: str, _: object) -> None:
        while frame is not None and frame.f_code is not here:
            seen.add(frame.f_code.co_name)
            for value in list(frame.f_locals.values()):
                if isinstance(value, (bytes, str, list, tuple, dict)):
                    shown.add(repr(value))
            frame = frame.f_back

    here = sys._getframe().f_code
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        answers = [transport.send(batch) for _ in range(2)]
    finally:
        sys.setprofile(before)

    assert [answer.cause for answer in answers] == [None, Cause.MISCONFIGURED]
    assert {"post", "write", "receive", "open_socket"} <= seen
    for secret in (KEY, "zoe@example.com", "Zo"):
        assert not [text for text in shown if secret in text]
