"""Says in words why a request got no response.

`Http` turns the exceptions of sockets, TLS and HTTP libraries into messages here. A
message never quotes the text of an exception: it may name addresses, or hold a header.
"""

from __future__ import annotations

import http.client
import socket
import sys
from typing import Any

from .._runtime.network_errors import CLOSED, format_network_error, list_exception_chain

CHECK_PROXY = "check HTTPS_PROXY, ALL_PROXY and NO_PROXY"


class InvalidSetting(ValueError):
    """A setting from which no request can be built; the message shows no secret."""

    advice = ""
    """What to check, if it is not the key or the host."""


def find_root_cause(
    error: BaseException, handled: BaseException | None = None
) -> BaseException:
    """
    Return the first error of the chain: libraries wrap the errors of sockets.

    Args:
        handled: The exception the application was handling; the chain ends there.
    """
    return list_exception_chain(error, handled)[-1]


def format_failure(
    error: BaseException, host: str, port: int, *, seconds: float
) -> str:
    """
    Return why a request to *host* got no response.

    Args:
        error: The root cause.
        host: Name of the host, or of the proxy, that the connection was opened to.
        seconds: Time that the request was given.
    """
    peer = f"{host}:{port}"
    ssl: Any = sys.modules.get("ssl")  # some Pythons are built without it
    # The more specific type stands before its base class.
    if isinstance(error, socket.gaierror):
        is_temporary = error.errno == socket.EAI_AGAIN
        return f"cannot resolve {host}{': no name server answered' * is_temporary}"
    if isinstance(error, UnicodeError):
        return f"{host} is not a valid host name"
    if ssl is not None and isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {peer} is not trusted"
    if ssl is not None and isinstance(error, ssl.SSLError):
        return f"the TLS connection to {peer} failed"
    fault = format_network_error(error, seconds=seconds)
    if fault == CLOSED:
        return f"{peer} {fault} without an answer"
    if fault is None and isinstance(error, http.client.HTTPException):
        return f"{peer} sent no valid HTTP answer"
    # A class name where there are no words, since it is not expected.
    return f"{peer} {fault or f'gave no answer ({type(error).__name__})'}"
