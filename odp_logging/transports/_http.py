"""One POST to ODP's events API, and what its answer means.

Here and nowhere else are `requests` and HTTP statuses known. Sources: the OpenAPI file
of ODP's events API (202, 400 with ``detail.invalids``, 403) and ODP's Node SDK (hosts,
``invalids[].event`` is an index); other statuses are documented nowhere and are read
the way RFC 9110 does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .._delivery import Cause, Delivery
from .._event import VERSION
from .._secret import Secret
from ..stores._base import Batch

if TYPE_CHECKING:
    import requests

PATH = "/v3/events"

_PASSING = frozenset({408, 409, 421, 423, 425, 429})
_UNNAMED = frozenset({400, 422})
_MAX_ANSWER = 1024 * 1024
_LEAST_TIMEOUT = 0.05


class Http:
    """
    A `Transport`: one request a batch, over a connection that is kept.

    No redirect is followed: `requests` would carry ``x-api-key`` to the other host.

    Args:
        host: For example ``"https://api.zaius.com"``.
        api_key: ODP's public key.
        timeout: Seconds for connecting, and again for the whole answer.
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
        self._session: requests.Session | None = None
        self._answered = False

    def send(self, batch: Batch, *, deadline: float | None = None) -> Delivery:
        """Send *batch* once; a connection that went stale is replaced, once."""
        body = b"[" + b",".join([event.json for event in batch.events]) + b"]"
        size = len(batch.events)
        reused = self._answered
        answer = self._post(body, size, deadline)
        if reused and isinstance(answer, _Reset):
            # The peer closed a kept connection while our request was on its way.
            answer = self._post(body, size, deadline)
            return _reread(answer, requests=2)
        return answer if isinstance(answer, Delivery) else answer.delivery

    def prepare(self) -> None:
        """Import `requests`, which takes longer than a log call may."""
        self._session = self._session or self._open()

    def close(self) -> None:
        """Close the connection; a later `send` opens a new one."""
        if self._session is not None:
            self._session.close()
        self.after_fork()

    def after_fork(self) -> None:
        """Forget the parent's connection without a word on it."""
        self._session = None
        self._answered = False

    def _open(self) -> requests.Session:
        from ._session import open_session

        return open_session(direct=self._direct)

    def _post(
        self, body: bytes, size: int, deadline: float | None
    ) -> Delivery | _Reset:
        import requests
        from urllib3.exceptions import HTTPError

        timeout = self._timeout
        if deadline is not None:
            left = deadline - time.monotonic()
            timeout = max(_LEAST_TIMEOUT, min(timeout, left))
        try:
            self._session = self._session or self._open()
            response = self._session.post(
                self._url,
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "x-api-key": self._api_key.reveal(),
                    "User-Agent": f"odp-logging/{VERSION}",
                    # A packed answer could unpack to any size.
                    "Accept-Encoding": "identity",
                },
                timeout=(timeout, timeout),
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, HTTPError, OSError) as error:
            return self._unanswered(error, size)
        except Exception as error:  # the flusher must survive what a library raises
            return self._unanswered(error, size)
        self._answered = True
        try:
            content = _read(response)
        finally:
            response.close()
        return read_answer(
            response.status_code, response.headers, content, size, self._host
        )

    def _unanswered(self, error: Exception, size: int) -> Delivery | _Reset:
        reset = self._answered and _is_reset(error)
        self.close()
        name, sent = _what_failed(error)
        delivery = Delivery.nothing_yet(
            size,
            Cause.PASSING,
            f"{self._host} gave no answer ({name})",
            in_doubt=sent,
        )
        return _Reset(delivery) if reset else delivery


class _Reset:
    """A kept connection was found closed: worth one more try, at once."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery


def _reread(answer: Delivery | _Reset, *, requests: int) -> Delivery:
    from dataclasses import replace

    delivery = answer if isinstance(answer, Delivery) else answer.delivery
    # The first request may have been taken all the same.
    return replace(
        delivery,
        requests=requests,
        resent=delivery.size,
        in_doubt=frozenset(delivery.pending),
    )


def _what_failed(error: Exception) -> tuple[str, bool]:
    """Return a name for *error*, and whether the request may have reached the peer."""
    import requests
    from urllib3.exceptions import NewConnectionError

    cause: Any = error
    for _ in range(5):  # requests wraps urllib3's errors, which wrap the socket's
        if isinstance(cause, NewConnectionError):
            refused = isinstance(cause.__cause__ or cause.__context__, OSError)
            name = type(cause.__cause__ or cause.__context__ or cause).__name__
            return (name if refused else "no connection"), False
        arguments = getattr(cause, "args", ())
        inner = getattr(cause, "reason", None) or (arguments[0] if arguments else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    never_sent = (
        requests.exceptions.ConnectTimeout,
        requests.exceptions.SSLError,
        requests.exceptions.ProxyError,
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidHeader,
    )
    return type(error).__name__, not isinstance(error, never_sent)


def _is_reset(error: Exception) -> bool:
    """Whether *error* says that the peer closed the connection."""
    import requests

    return isinstance(error, requests.exceptions.ConnectionError) and not isinstance(
        error, (requests.exceptions.Timeout, requests.exceptions.SSLError)
    )


def _read(response: requests.Response) -> bytes | None:
    """Return the answer's body, at most 1 MiB of it; None if it breaks off."""
    try:
        content: bytes = response.raw.read(_MAX_ANSWER, decode_content=False)
    except Exception:  # the status has come; the body only explains it
        return None
    return content


def read_answer(
    status: int,
    headers: Mapping[str, str],
    content: bytes | None,
    size: int,
    host: str,
) -> Delivery:
    """
    Return what an answer means for a batch of *size* events.

    Args:
        content: The body as it came; None if it broke off.
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
        return Delivery.nothing_yet(size, Cause.PASSING, said, retry_after=retry_after)
    return Delivery.nothing_yet(
        size, Cause.CONFIGURATION, said, retry_after=retry_after
    )


def _is_page(headers: Mapping[str, str], content: bytes | None) -> bool:
    if "html" in headers.get("Content-Type", "").lower():
        return True
    start = (content or b"")[:64].lstrip().lower()
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
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        seconds = float(value)
        return seconds if 0 <= seconds < 1e9 else 0.0
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
