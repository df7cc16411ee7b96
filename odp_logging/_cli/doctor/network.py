"""The doctor's checks of the network: proxy, name, connection, certificate, answer."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..._events.batch import Batch
from ..._events.event import OdpEvent
from ..._events.masking import mask_reason
from ..._flusher.senders import build_http
from ..._transports.route import InvalidProxy, find_route
from .check_result import CheckResult

if TYPE_CHECKING:
    from ..._config.destination import Destination

_EXPIRY_WARNING_SECONDS = 14 * 86_400.0
"""A certificate that expires within this time is reported."""

# The same customer each time: ODP deletes neither events nor profiles.
TYPE, ACTION, IDENTIFIER = "odp_logging", "doctor", "odp-logging-doctor"
"""Of the event that ``--send`` sends; the identifier is a ``fs_user_id``."""


def check_network(destination: Destination, *, seconds: float) -> Iterator[CheckResult]:
    """Check the way to *destination*, each step within *seconds*; sends no event."""
    try:
        route = find_route(destination.api_host, ignore_proxy=destination.is_loopback)
    except InvalidProxy as error:
        advice = "set it to a URL such as http://proxy.example.com:3128, or unset it"
        yield CheckResult("problem", "proxy", str(error), advice)
        return
    url = urlsplit(destination.api_host)
    is_https = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if is_https else 80)
    if route.proxy is not None:
        host, port = route.proxy.host, route.proxy.port
        yield CheckResult("ok", "proxy", f"requests go through {route.proxy.name}")
    name_result = _check_name(host, port, seconds)
    yield name_result
    if name_result.kind == "problem":
        return
    # Through a proxy, TLS starts only after its answer to CONNECT.
    ca_path = route.ca_path if is_https and route.proxy is None else None
    yield from _check_connection(host, port, seconds, ca_path=ca_path)


def _check_name(host: str, port: int, seconds: float) -> CheckResult:
    """Check that *host* has an address."""
    found: list[CheckResult] = []

    def resolve() -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(CheckResult("ok", "DNS", f"{host} is {addresses[0][4][0]}"))
        except (OSError, UnicodeError) as error:
            found.append(
                _report_missing_name(f"{host} is not known ({_format_error(error)})")
            )

    # In a thread, because getaddrinfo() has no time limit.
    thread = threading.Thread(target=resolve, name="odp-doctor-dns", daemon=True)
    thread.start()
    thread.join(seconds)
    # A result after the time limit is ignored.
    if found:
        return found[0]
    return _report_missing_name(f"{host} was not found within {seconds:g} s")


def _report_missing_name(text: str) -> CheckResult:
    advice = "check api_host and this machine's name server"
    return CheckResult("problem", "DNS", text, advice)


def _check_connection(
    host: str, port: int, seconds: float, *, ca_path: str | None
) -> Iterator[CheckResult]:
    """Connect to *host*; check its certificate if there is a *ca_path*."""
    try:
        connection = socket.create_connection((host, port), seconds)
    except OSError as error:
        yield CheckResult(
            "problem",
            "connection",
            f"{host}:{port} cannot be reached ({_format_error(error)})",
            "check firewall and proxy (HTTPS_PROXY), or that the emulator runs",
        )
        return
    with connection:
        yield CheckResult("ok", "connection", f"{host}:{port} answers")
        if ca_path is not None:
            yield _check_certificate(connection, host, ca_path)


def _check_certificate(
    connection: socket.socket, host: str, ca_path: str
) -> CheckResult:
    try:
        # REQUESTS_CA_BUNDLE may name a file or a directory.
        argument = "capath" if os.path.isdir(ca_path) else "cafile"
        context = ssl.create_default_context(**{argument: ca_path})  # type: ignore[arg-type]
        # The time limit of the connection holds for the handshake, too.
        with context.wrap_socket(connection, server_hostname=host) as tls_socket:
            not_after: Any = (tls_socket.getpeercert() or {}).get("notAfter")
            version = tls_socket.version()
    except ssl.SSLCertVerificationError as error:
        return CheckResult(
            "problem",
            "TLS",
            f"the certificate of {host} is not trusted: {error.verify_message}",
            "check the clock; behind a proxy that inspects TLS, set"
            " REQUESTS_CA_BUNDLE to its certificate",
        )
    except OSError as error:
        text = f"{host} does not speak TLS ({_format_error(error)})"
        return CheckResult("problem", "TLS", text, "check api_host and the proxy")
    expiry = ssl.cert_time_to_seconds(not_after)
    day = time.strftime("%Y-%m-%d", time.gmtime(expiry))
    expires_soon = expiry - time.time() < _EXPIRY_WARNING_SECONDS
    return CheckResult(
        "hint" if expires_soon else "ok",
        "TLS",
        f"{version}, the certificate of {host} is valid until {day}",
        "it expires soon: the operator of that host has to renew it"
        if expires_soon
        else "",
    )


def _format_error(error: Exception) -> str:
    # An error of getaddrinfo() or the system has a text without its number.
    return getattr(error, "strerror", None) or str(error)


def check_test_event(destination: Destination, *, seconds: float) -> CheckResult:
    """Send one event to *destination*, and report how ODP answered."""
    event = OdpEvent(ACTION, {"fs_user_id": IDENTIFIER}, TYPE, timestamp=time.time())
    # Without retries: the first response is the result.
    http = build_http(destination, timeout=seconds)
    try:
        delivery = http.send(Batch([event]))
    finally:
        http.close()
    label = f"{TYPE}/{ACTION} of fs_user_id {IDENTIFIER}"
    if delivery.accepted:
        return CheckResult("ok", "test event", f"ODP took the event {label}")
    if delivery.rejected:
        reason = mask_reason(delivery.rejected[0], event)
        text = f"ODP rejected the event {label}: {reason}"
        return CheckResult("problem", "test event", text, "ask ODP's support")
    advice = "try again: the failure may be temporary"
    if delivery.is_misconfigured:
        advice = "check api_key and api_host against ODP's Account Settings > APIs"
    return CheckResult("problem", "test event", delivery.message, advice)
