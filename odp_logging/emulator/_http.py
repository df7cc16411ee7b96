"""The emulator's HTTP: which request may do what, and where it goes."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from ._checks import parse_json
from ._faults import Fault, FaultError
from ._odp import Answer, problem
from ._page import page
from ._server import Server, reset_on_close
from ._stream import Stream
from ._swallowed import CHECKS

EVENTS_PATH = "/v3/events"

MAX_EVENTS_BODY = 10 * 2**20
MAX_OTHER_BODY = 2**20

_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.I)

# A body that is too large is thrown away for so long after the answer, or the client
# that is still sending would see a broken connection instead of the answer.
_DISCARD_SECONDS = 2.0
_DISCARD_BYTES = 64 * 2**20


class Handler(BaseHTTPRequestHandler):
    """One connection, on a thread of its own."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered, so that headers and body leave in one segment and no delayed
    # acknowledgement holds up the second.
    wbufsize = -1
    timeout = 120.0

    def setup(self) -> None:
        """Number the connection."""
        super().setup()
        self._serial = next(self.server.serials)

    def do_GET(self) -> None:
        """Route one request; the other methods are the same."""
        self._path, _, self._query = self.path.partition("?")
        if self.server.ending.is_set():
            self.close_connection = True
        if not self._own_host():
            return self._refuse(403, "foreign host")
        if self._path.startswith("/_emulator/") and not self._own_origin():
            return self._refuse(403, "foreign origin")
        body = self._read_body()
        if body is not None:
            self._route(body)

    do_HEAD = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_GET

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: the answer would else stay in the buffer."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def version_string(self) -> str:
        """The Server header."""
        return "odp-emulator"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: request lines may carry identifiers."""

    def _own_host(self) -> bool:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            return False
        bound = self.server.server_name
        return _OWN_HOST.fullmatch(hosts[0]) is not None or (
            hosts[0].rpartition(":")[0] == bound
        )

    def _own_origin(self) -> bool:
        origin = self.headers.get("Origin")
        return origin is None or origin.lower() == f"http://{self.headers['Host']}"

    def _read_body(self) -> bytes | None:
        """The body, or None once the request is refused for the size of it."""
        length = self.headers.get("Content-Length", "0")
        limit = MAX_EVENTS_BODY if self._path == EVENTS_PATH else MAX_OTHER_BODY
        if "Transfer-Encoding" in self.headers:
            self._refuse(411, "give a Content-Length")
        elif not re.fullmatch("[0-9]{1,18}", length):
            self._refuse(400, "give the Content-Length in digits")
        elif int(length) > limit:
            self._refuse(413, f"a body of {length} bytes is too large")
        else:
            body = self.rfile.read(int(length))
            self.close_connection |= len(body) < int(length)
            return body if len(body) == int(length) else None
        return None

    def _discard(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the client has left already
        deadline = time.monotonic() + _DISCARD_SECONDS
        left = _DISCARD_BYTES
        while left > 0 and (patience := deadline - time.monotonic()) > 0:
            self.connection.settimeout(patience)
            chunk = self.connection.recv(65_536)
            if not chunk:
                return
            left -= len(chunk)

    def _route(self, body: bytes) -> None:
        methods = _ROUTES.get(self._path)
        if methods is None:
            return self._answer(problem(404, "There is nothing at this path."))
        act = methods.get(self.command)
        if act is None:
            allow = {"Allow": ", ".join(sorted(methods))}
            answer = problem(405, "This path does not take this method.")
            return self._answer(answer, allow)
        act(self, body)

    def _events(self, body: bytes) -> None:
        answer = self.server.odp.receive(
            self._lower_headers(), body, connection=self._serial
        )
        cut = answer.latency > 0 and self.server.ending.wait(answer.latency)
        if answer.status == 0 or cut:
            reset_on_close(self.connection)
            self.close_connection = True
            return
        self._answer(answer)

    def _lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _page(self, body: bytes) -> None:
        document, policy = page()
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        self._answer(Answer(200, document, "text/html; charset=utf-8"), headers)

    def _health(self, body: bytes) -> None:
        self._answer(Answer(200, b"ok\n", "text/plain; charset=utf-8"))

    def _stats(self, body: bytes) -> None:
        self._json(self.server.odp.stats())

    def _entries(self, body: bytes) -> None:
        self._range(self.server.odp.entries)

    def _requests(self, body: bytes) -> None:
        self._range(self.server.odp.ledger.requests)

    def _range(self, read: Callable[[int, int], Any]) -> None:
        since, limit = self._number("since", "0"), self._number("limit", "10000")
        if since is None or limit is None:
            return self._bad("since and limit must be whole numbers, such as 100")
        self._json(read(since, limit))

    def _checks(self, body: bytes) -> None:
        self._json({name: asdict(check) for name, check in CHECKS.items()})

    def _clear(self, body: bytes) -> None:
        self.server.odp.ledger.clear()
        self._answer(Answer(204))

    def _list_faults(self, body: bytes) -> None:
        self._json(self.server.odp.faults.active())

    def _add_faults(self, body: bytes) -> None:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return self._answer(problem(415, "Content-Type must be application/json."))
        try:
            given = parse_json(body)
            faults = [
                Fault.read(one)
                for one in (given if isinstance(given, list) else [given])
            ]
        except FaultError as error:
            return self._bad(str(error))
        except ValueError:
            return self._bad("the body must be JSON: one fault or a list of faults")
        self.server.odp.faults.add(*faults)
        self.server.odp.ledger.wake()
        self._list_faults(body)

    def _clear_faults(self, body: bytes) -> None:
        faults = self.server.odp.faults
        if "id" not in parse_qs(self._query, keep_blank_values=True):
            faults.clear()
        elif (serial := self._number("id", "")) is None:
            return self._bad("id must be a whole number, such as 1")
        elif not faults.remove(serial):
            return self._answer(problem(404, "No fault with this id is set."))
        self.server.odp.ledger.wake()
        self._answer(Answer(204))

    def _stream(self, body: bytes) -> None:
        since, requests = self._since(), self._number("requests", "0")
        if since is None or requests is None:
            return self._bad("since and requests must be whole numbers, such as 100")
        if not self.server.streams.acquire(blocking=False):
            busy = problem(503, "Too many pages are open: close one.")
            return self._answer(busy, {"Retry-After": "10"})
        try:
            self._run_stream(since, requests)
        finally:
            self.server.streams.release()

    def _run_stream(self, since: int, requests: int) -> None:
        self.close_connection = True
        self._head(200, {"Content-Type": "text/event-stream", **_GUARDS})
        self.wfile.flush()
        stream = Stream(
            self.server.odp,
            self._write,
            since=since,
            since_request=requests,
            ping_interval=self.server.ping_interval,
        )
        stream.run(self.server.ending, self._gone)

    def _since(self) -> int | None:
        # A browser that reconnects repeats the address but knows better where it was.
        last = self.headers.get("Last-Event-ID", "")
        if last.isascii() and last.isdigit() and len(last) < 19:
            return int(last)
        return self._number("since", "0")

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def _gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _number(self, name: str, default: str) -> int | None:
        text = parse_qs(self._query).get(name, [default])[0]
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else None

    def _bad(self, message: str) -> None:
        self._answer(problem(400, message))

    def _json(self, value: Any) -> None:
        self._answer(Answer(200, json.dumps(value).encode()))

    def _refuse(self, status: int, reason: str) -> None:
        """Answer before the body was read, so that the connection cannot go on."""
        self.close_connection = True
        text = f"{reason}\n".encode()
        answer = Answer(status, text, "text/plain; charset=utf-8")
        if self._path == EVENTS_PATH and status != 403:
            answer = self.server.odp.refuse_unread(
                self._lower_headers(), status, reason, connection=self._serial
            )
        self._answer(answer)
        self._discard()

    def _answer(self, answer: Answer, headers: Mapping[str, str] | None = None) -> None:
        guards = {} if self._path == EVENTS_PATH else _GUARDS
        bodiless = answer.status in (204, 304)
        lines = {**guards, **answer.headers, **(headers or {})}
        if not bodiless:
            lines["Content-Type"] = answer.content_type
            lines["Content-Length"] = str(len(answer.body))
        self._head(answer.status, lines)
        if not bodiless and self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_Act = Callable[[Handler, bytes], None]

_ROUTES: dict[str, dict[str, _Act]] = {
    EVENTS_PATH: {"POST": Handler._events},
    "/": {"GET": Handler._page},
    "/healthz": {"GET": Handler._health},
    "/stats": {"GET": Handler._stats},
    "/_emulator/stats": {"GET": Handler._stats},
    "/_emulator/stream": {"GET": Handler._stream},
    "/_emulator/events": {"GET": Handler._entries, "DELETE": Handler._clear},
    "/_emulator/requests": {"GET": Handler._requests},
    "/_emulator/checks": {"GET": Handler._checks},
    "/_emulator/faults": {
        "GET": Handler._list_faults,
        "POST": Handler._add_faults,
        "DELETE": Handler._clear_faults,
    },
}
