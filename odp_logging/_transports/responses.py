"""What an HTTP response of ODP's events API means for a batch.

`Http` passes each response to `read_response`, the one place that knows HTTP statuses.
Sources: the OpenAPI file of ODP's events API (202, 400 with ``detail.invalids``, 403)
and ODP's Node SDK (``invalids[].event`` is an index). Other statuses are documented
nowhere and are read as RFC 9110 defines them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .._events.delivery import Cause, Delivery
from .._runtime.bounded_json import parse_json
from .._runtime.diagnostics import make_printable
from .._runtime.secret import Secret

if TYPE_CHECKING:
    from email.message import Message


# ODP documents none of them, but a gateway may answer: 423 is of RFC 4918, 425 of RFC
# 8470, 429 of RFC 6585.
_TRANSIENT_STATUSES = frozenset({408, 409, 421, 423, 425, 429})
_INVALID_STATUSES = frozenset({400, 422})
_UNAUTHORIZED_STATUSES = frozenset({401, 403})
_OVERLOAD_STATUSES = frozenset({503, 511})
"""Answers of 5xx that certainly have no event of the request as their cause."""

_MAX_TEXT_READ = 10_000
_MAX_TEXT_SHOWN = 200

_NO_KEY = Secret("")


def read_response(
    status: int,
    headers: Mapping[str, str] | Message,
    content: bytes | None,
    size: int,
    host: str,
    *,
    key: Secret = _NO_KEY,
) -> Delivery:
    """
    Return what a response means for a batch of *size* events.

    Args:
        content: The body as received; None if it was cut off.
        key: Masked where the response quotes it; messages show its last characters,
            unless it is short.
    """
    message = f"{host} answered {status}"
    if 200 <= status < 300:
        if not _is_html_page(headers, content):
            return Delivery(size)
        # The login page of a captive portal comes with status 200.
        text = f"{message} with an HTML page: a captive portal or a wrong api_host"
        return Delivery.all_pending(size, Cause.TRANSIENT, text)
    if status in _INVALID_STATUSES:
        # ODP documents the list of invalid events for 400 alone.
        rejected = _read_invalids(content, size, key) if status == 400 else {}
        if rejected:
            return _build_partial_delivery(size, rejected, message)
        message += _read_reason(content, key)
        return Delivery.all_pending(size, Cause.UNIDENTIFIED, message)
    if status == 413:
        return Delivery.all_pending(size, Cause.TOO_LARGE, message)
    retry_after = parse_retry_after(headers.get("Retry-After"))
    if status in _TRANSIENT_STATUSES or status >= 500:
        return Delivery.all_pending(
            size,
            Cause.TRANSIENT,
            message,
            retry_after=retry_after,
            rate_limited=status == 429,
            server_error=status >= 500
            and status not in _OVERLOAD_STATUSES
            and "Retry-After" not in headers,
        )
    if status in _UNAUTHORIZED_STATUSES:
        message = f"{message} and refuses {key.format_masked('the key')}"
    return Delivery.all_pending(
        # 3xx, 404, 405 and the like: the host or its path is wrong.
        size,
        Cause.MISCONFIGURED,
        message,
        retry_after=retry_after,
    )


def _build_partial_delivery(
    size: int, rejected: dict[int, str], message: str
) -> Delivery:
    """Return the delivery of a batch of which only some events are *rejected*."""
    pending = tuple(index for index in range(size) if index not in rejected)
    return Delivery(
        size,
        rejected=rejected,
        pending=pending,
        cause=Cause.REMAINDER if pending else None,
        message=message,
    )


def _is_html_page(headers: Mapping[str, str] | Message, content: bytes | None) -> bool:
    if content == b"":
        return False  # some gateways label an empty response text/html
    if "html" in headers.get("Content-Type", "").lower():
        return True
    start = (content or b"")[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _parse_body(content: bytes | None) -> Any:
    try:
        return parse_json(content or b"")
    except (ValueError, RecursionError):  # the latter: the caller's stack is full
        return None


def _read_detail(content: bytes | None) -> Mapping[str, Any]:
    body = _parse_body(content)
    detail = body.get("detail") if isinstance(body, dict) else None
    return detail if isinstance(detail, dict) else {}


def _read_invalids(content: bytes | None, size: int, key: Secret) -> dict[int, str]:
    """Return ODP's reason for each event that its response names, by index."""
    invalids = _read_detail(content).get("invalids")
    reasons: dict[int, str] = {}
    for invalid in invalids if isinstance(invalids, list) else ():
        if not isinstance(invalid, dict):
            continue
        index = invalid.get("event")
        # Not isinstance: True is an int, and JSON's true is not an index.
        if type(index) is int and 0 <= index < size:
            reason = _clean_text(invalid.get("message"), key)
            reasons[index] = reason or "no reason given"
    return reasons


def _read_reason(content: bytes | None, key: Secret) -> str:
    text = _clean_text(_read_detail(content).get("message"), key)
    return f": {text}" if text else ""


def _clean_text(text: object, key: Secret) -> str:
    """Return *text* from a server as one short printable line, without *key*."""
    if not isinstance(text, str):
        return ""
    # A response may quote the key. It is masked after parsing, so that no escape hides
    # it, and before the text is cut, which could leave a part of it.
    masked = key.mask_in(text[:_MAX_TEXT_READ])
    line = " ".join(masked[: 2 * _MAX_TEXT_SHOWN].split())
    return make_printable(line)[:_MAX_TEXT_SHOWN]


def parse_retry_after(value: str | None, now: float | None = None) -> float:
    """
    Return the seconds that a Retry-After header asks for; 0.0 if it is not valid.

    It may hold seconds or an HTTP date (RFC 9110, 10.2.3).
    """
    if value is None:
        return 0.0
    try:
        seconds = float(value)
        # False for NaN, too, which float() reads.
        return seconds if 0 <= seconds < math.inf else 0.0
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    if date.tzinfo is None:  # "-0000": UTC, without a statement about the time zone
        date = date.replace(tzinfo=timezone.utc)
    current = time.time() if now is None else now
    wait = (date - datetime.fromtimestamp(current, timezone.utc)).total_seconds()
    return max(0.0, wait)
