"""What the doctor sees of the way to ODP: name, connection, certificate, answer."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ._event import OdpEvent
from ._finding import Finding
from ._reports import masked
from .stores._base import Batch
from .transports._http import Http
from .transports._session import Way, way_to

if TYPE_CHECKING:
    from ._config import Destination

_SOON = 14 * 86_400.0
"""Seconds; a certificate that ends sooner is worth a word."""

TYPE, ACTION, IDENTIFIER = "odp_logging", "doctor", "odp-logging-doctor"
"""Of the event that ``--send`` sends; the identifier is a ``fs_user_id``."""


def of_way(destination: Destination, *, seconds: float) -> Iterator[Finding]:
    """Look at the way to *destination*, each step within *seconds*; sends no event."""
    url = urlsplit(destination.api_host)
    secure = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    try:
        way = way_to(destination.api_host, direct=destination.is_loopback)
    except ValueError:  # not its text, which may hold a password
        text = "the proxy that the environment names is no address"
        advice = "mend HTTPS_PROXY, such as http://proxy.example.com:3128, or unset it"
        yield Finding("problem", "proxy", text, advice)
        return
    if way.proxy is not None:
        host, port = way.proxy
        text = f"requests go through the proxy {host}:{port} of the environment"
        yield Finding("ok", "proxy", text)
    address, problem = _resolved(host, port, seconds)
    if problem:
        advice = "check api_host and this machine's name server"
        yield Finding("problem", "DNS", f"{host} {problem}", advice)
        return
    yield Finding("ok", "DNS", f"{host} is {address[0]}")
    try:
        sock = socket.create_connection((host, port), seconds)
    except OSError as error:
        yield Finding(
            "problem",
            "connection",
            f"{host}:{port} cannot be reached ({_reason(error)})",
            "check firewall and proxy (HTTPS_PROXY), or that the emulator runs",
        )
        return
    with sock:
        yield Finding("ok", "connection", f"{host}:{port} answers")
        if secure and way.proxy is None:
            yield _certificate(sock, host, way)


def _resolved(host: str, port: int, seconds: float) -> tuple[Any, str]:
    """Return the first address of *host*, or why there is none."""
    found: list[tuple[Any, str]] = []

    def look_up() -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append((addresses[0][4], ""))
        except (OSError, UnicodeError) as error:
            found.append((None, f"is not known ({_reason(error)})"))

    # It has no time limit of its own.
    looking = threading.Thread(target=look_up, name="odp-doctor-dns", daemon=True)
    looking.start()
    looking.join(seconds)
    return found[0] if found else (None, f"was not found within {seconds:g} s")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _certificate(sock: socket.socket, host: str, way: Way) -> Finding:
    try:
        where = "capath" if os.path.isdir(way.trust) else "cafile"
        context = ssl.create_default_context(**{where: way.trust})  # type: ignore[arg-type]
        with context.wrap_socket(sock, server_hostname=host) as secured:
            ends: Any = (secured.getpeercert() or {}).get("notAfter")
            version = secured.version()
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "problem",
            "TLS",
            f"the certificate of {host} is not trusted: {error.verify_message}",
            "check the clock; behind a proxy that inspects TLS, point"
            " REQUESTS_CA_BUNDLE to its certificate",
        )
    except OSError as error:
        text = f"{host} does not speak TLS with us ({_reason(error)})"
        return Finding("problem", "TLS", text, "check api_host and the proxy")
    end = ssl.cert_time_to_seconds(ends)
    day = time.strftime("%Y-%m-%d", time.gmtime(end))
    soon = end - time.time() < _SOON
    return Finding(
        "hint" if soon else "ok",
        "TLS",
        f"{version}, the certificate of {host} is valid until {day}",
        "it ends soon: whoever runs that host has to renew it" if soon else "",
    )


def of_answer(destination: Destination, *, seconds: float) -> Finding:
    """Send one event to *destination*, and tell what became of it."""
    event = OdpEvent(ACTION, {"fs_user_id": IDENTIFIER}, TYPE, timestamp=time.time())
    http = Http(
        destination.api_host,
        destination.api_key,
        timeout=seconds,
        direct=destination.is_loopback,
    )
    try:
        answer = http.send(Batch([event]))
    finally:
        http.close()
    what = f"{TYPE}/{ACTION} of fs_user_id {IDENTIFIER}"
    if answer.accepted:
        return Finding("ok", "test event", f"ODP took the event {what}")
    if answer.rejected:
        text = f"ODP rejected the event {what}: {masked(answer.rejected[0], event)}"
        return Finding("problem", "test event", text, "ask ODP's support")
    advice = "try again: it may pass by itself"
    if answer.is_misconfigured:
        advice = "check api_key and api_host against ODP's Account Settings > APIs"
    return Finding("problem", "test event", answer.message, advice)
