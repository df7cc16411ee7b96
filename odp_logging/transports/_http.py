"""One POST to ODP's events API, and what its answer means.

Here and nowhere else are `requests` and HTTP statuses known. Sources: the OpenAPI file
of ODP's events API (202, 400 with ``detail.invalids``, 403) and ODP's Node SDK (hosts,
``invalids[].event`` is an index); other statuses are documented nowhere and are read
the way RFC 9110 does.
"""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .._delivery import Cause, Delivery
from .._secret import Secret
from .._tap import held
from .._version import VERSION
from ..stores._base import Batch
from ._wire import Wire

if TYPE_CHECKING:
    import requests

    from ._session import Line

PATH = "/v3/events"

_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"odp-logging/{VERSION}",
    # A packed answer could unpack to any size.
    "Accept-Encoding": "identity",
}

_PASSING = frozenset({408, 409, 421, 423, 425, 429})
_UNNAMED = frozenset({400, 422})
_UNWELCOME = frozenset({401, 403})
_MAX_ANSWER = 1024 * 1024
_LEAST_TIMEOUT = 0.05


class Http:
    """
    A `Transport`: one request a batch, over a connection that is kept.

    No redirect is followed: `requests` would carry ``x-api-key`` to the other host.

    Args:
        host: For example ``"https://api.zaius.com"``.
        api_key: ODP's public key.
        timeout: Seconds for a request, from connecting to the end of the answer.
        direct: Whether to leave out proxies from the environment (for loopback hosts).
    """

    def __init__(
        self, host: str, api_key: Secret, *, timeout: float = 10.0, direct: bool = False
    ) -> None:
        self._url = host + PATH
        self._host = host
        self._api_key = api_key
        self._timeout = timeout
        self._direct = direct
        self._wire = Wire()
        self._line: Line | None = None

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* once; a connection that went stale is replaced, once."""
        why = held(self._host)  # in tests alone
        if why is not None:
            size = len(batch.events)
            return Delivery.nothing_yet(size, Cause.CONFIGURATION, why, requests=0)
        outer = sys.exc_info()[1]
        try:
            return self._send(batch, deadline)
        except BaseException as interruption:
            self.close()
            _forget_locals(interruption, outer)
            raise

    def _send(self, batch: Batch, deadline: float | None) -> Delivery:
        body = b"[" + b",".join([event.json for event in batch.events]) + b"]"
        size = len(batch.events)
        first, stale = self._post(body, size, deadline)
        if not stale:
            return first
        second, _ = self._post(body, size, deadline)
        return _joined(first, second)

    def prepare(self) -> None:
        """Import `requests`, which takes longer than a log call may."""
        try:
            self._ready()
        except Exception:  # a bad host or proxy: the request will say so
            pass

    def close(self) -> None:
        """Close the connection; a later `send` opens a new one."""
        if self._line is not None:
            self._line.close()
        self._line = None

    def after_fork(self) -> None:
        """Forget the parent's connection without a word on it."""
        if self._line is not None:
            self._line.forget_in_child()
        self._line = None

    def _ready(self) -> Line:
        if self._line is None:
            from ._session import Line

            self._line = Line(self._url, _HEADERS, self._wire, direct=self._direct)
        return self._line

    def _post(
        self, body: bytes, size: int, deadline: float | None
    ) -> tuple[Delivery, bool]:
        """Return what became of one request, and whether to repeat it at once."""
        seconds = self._seconds(deadline)
        self._wire.begin(seconds)
        try:
            line = self._ready()
            response = line.post(body, self._api_key.reveal(), timeout=seconds)
        except Exception as error:  # the flusher must survive what a library raises
            self.close()
            return self._unanswered(error, size)
        content = self._without_key(_read(response))
        answer = read_answer(
            response.status_code,
            response.headers,
            content,
            size,
            self._host,
            key=str(self._api_key),
        )
        return answer, False

    def _seconds(self, deadline: float | None) -> float:
        """Return how long a request that starts now may take."""
        if deadline is None:
            return self._timeout
        return max(_LEAST_TIMEOUT, min(self._timeout, deadline - time.monotonic()))

    def _without_key(self, content: bytes | None) -> bytes | None:
        # An answer may quote the key it refuses, and its message is logged.
        key = self._api_key.reveal().encode()
        return content.replace(key, b"***") if content and key else content

    def _unanswered(self, error: Exception, size: int) -> tuple[Delivery, bool]:
        root = _root(error)
        # What cannot even be put into a request: a bad host, key or proxy address.
        unfit = isinstance(error, ValueError) and not self._wire.sent
        delivery = Delivery.nothing_yet(
            size,
            Cause.CONFIGURATION if unfit else Cause.PASSING,
            # The kind alone: the text may name addresses, or hold a header.
            f"{self._host} gave no answer ({type(root).__name__})",
            in_doubt=self._wire.sent,
        )
        # The peer closed a kept connection while our request was on its way.
        stale = self._wire.is_stale() and isinstance(root, ConnectionError)
        return delivery, stale


def _forget_locals(error: BaseException | None, outer: BaseException | None) -> None:
    """
    Clear the local variables below `send` of *error*, and of what it came out of.

    Ctrl-C, or a time limit of the application's, passes through here on the thread of a
    log call with ``background=False``. In the frames of `requests` that it leaves,
    header and key are local variables, which some tracebacks show.

    Args:
        outer: What was being handled before: the application's, and left as it is.
    """
    for _ in range(10):  # a chain may bite its tail
        if error is None or error is outer:
            break
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _joined(first: Delivery, second: Delivery) -> Delivery:
    """Return the delivery of a batch that was sent twice in a row."""
    # The first request may have been taken, even though its connection was closed.
    doubtful = second.in_doubt | first.in_doubt.intersection(second.pending)
    return replace(second, in_doubt=doubtful, requests=2, resent=second.size)


def _root(error: BaseException) -> BaseException:
    """Return what came first: `requests` wraps urllib3's errors, they the socket's."""
    for _ in range(10):  # a chain may bite its tail
        inner = error.__cause__
        if inner is None and not error.__suppress_context__:
            inner = error.__context__
        if inner is None:
            break
        error = inner
    return error


def _read(response: requests.Response) -> bytes | None:
    """Return the answer's body, at most 1 MiB of it; None if it breaks off."""
    try:
        content: bytes = response.raw.read(_MAX_ANSWER, decode_content=False)
    except Exception:  # the status has come; the body only explains it
        return None
    finally:
        response.close()  # gives the connection back, or closes it if more is to come
    return content


def read_answer(
    status: int,
    headers: Mapping[str, str],
    content: bytes | None,
    size: int,
    host: str,
    *,
    key: str = "",
) -> Delivery:
    """
    Return what an answer means for a batch of *size* events.

    Args:
        content: The body as it came; None if it broke off.
        key: The end of the key, for people.
    """
    said = f"{host} answered {status}"
    if 200 <= status < 300:
        if _is_page(headers, content):
            return Delivery.nothing_yet(
                size,
                Cause.PASSING,
                f"{said} with an HTML page: a captive portal or a wrong api_host",
            )
        return Delivery(size)
    retry_after = parse_retry_after(headers.get("Retry-After"))
    if status in _UNNAMED:
        rejected = _invalids(content, size) if status == 400 else {}
        if not rejected:
            return Delivery.nothing_yet(
                size, Cause.UNNAMED, f"{said}{_explained(content)}"
            )
        pending = tuple(place for place in range(size) if place not in rejected)
        return Delivery(
            size,
            rejected=rejected,
            pending=pending,
            cause=Cause.REST if pending else None,
            message=said,
        )
    if status == 413:
        return Delivery.nothing_yet(size, Cause.TOO_LARGE, said)
    if status in _PASSING or status >= 500:
        return Delivery.nothing_yet(
            size,
            Cause.PASSING,
            said,
            retry_after=retry_after,
            throttled=status == 429,
        )
    if status in _UNWELCOME:
        said = f"{said} and refuses the key {key}".rstrip()
    return Delivery.nothing_yet(
        size, Cause.CONFIGURATION, said, retry_after=retry_after
    )


def _is_page(headers: Mapping[str, str], content: bytes | None) -> bool:
    if content == b"":
        return False  # some gateways call an empty answer text/html
    if "html" in headers.get("Content-Type", "").lower():
        return True
    start = (content or b"")[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except (ValueError, RecursionError):
        return None


def _detail(content: bytes | None) -> Mapping[str, Any]:
    answer = _json(content)
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return detail if isinstance(detail, dict) else {}


def _invalids(content: bytes | None, size: int) -> dict[int, str]:
    """Return ODP's reason for each event its answer names by index."""
    invalids = _detail(content).get("invalids")
    named: dict[int, str] = {}
    for invalid in invalids if isinstance(invalids, list) else ():
        if not isinstance(invalid, dict):
            continue
        position = invalid.get("event")
        if type(position) is int and 0 <= position < size:
            named[position] = _line(invalid.get("message")) or "no reason given"
    return named


def _explained(content: bytes | None) -> str:
    line = _line(_detail(content).get("message"))
    return f": {line}" if line else ""


def _line(text: object) -> str:
    """Return *text* from a server as one short printable line."""
    if not isinstance(text, str):
        return ""
    flat = " ".join(text[:400].split())
    return "".join(c if c.isprintable() else "?" for c in flat)[:200]


def parse_retry_after(value: str | None, now: float | None = None) -> float:
    """Return the seconds a Retry-After header asks for; 0.0 if it asks for nothing.

    It may hold seconds or an HTTP date (RFC 9110, 10.2.3); nonsense counts as nothing.
    """
    if value is None:
        return 0.0
    try:
        seconds = float(value)
        return seconds if 0 <= seconds < math.inf else 0.0
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    current = time.time() if now is None else now
    later = (moment - datetime.fromtimestamp(current, timezone.utc)).total_seconds()
    return max(0.0, later)
