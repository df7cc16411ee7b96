"""Texts for network errors, the same for HTTP and for queues.

A message never quotes the text of an exception, which may hold addresses or a header.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

UNRESOLVED = "has a host name that cannot be resolved"
UNTRUSTED = "has a certificate that is not trusted here"
REFUSED = "refused the connection"
CLOSED = "closed the connection"


def list_exception_chain(
    error: BaseException, until: BaseException | None = None
) -> list[BaseException]:
    """
    Return *error* and the exceptions that led to it: libraries wrap those of sockets.

    Args:
        until: The exception the application was handling before; the chain ends there.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < 11:  # a chain may be a cycle
        chain.append(cause)
        inner = cause.__cause__
        if inner is None and not cause.__suppress_context__:
            inner = cause.__context__
        cause = None if inner is until else inner
    return chain


def format_network_error(error: BaseException, *, seconds: float) -> str | None:
    """
    Return what a server did that gave no answer, as the end of a sentence about it.

    Args:
        error: An exception of a socket or of TLS; None is returned for others.
        seconds: Time that the request was given.
    """
    ssl: Any = sys.modules.get("ssl")  # some Pythons are built without it
    # The more specific type stands before its base class.
    if isinstance(error, socket.gaierror):
        return UNRESOLVED
    if ssl is not None and isinstance(error, ssl.SSLCertVerificationError):
        return UNTRUSTED
    if ssl is not None and isinstance(error, ssl.SSLError):
        return "and this machine cannot agree on TLS"
    if isinstance(error, TimeoutError):
        return f"gave no answer within {seconds:.3g} s"
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, ConnectionError):  # RemoteDisconnected of http.client, too
        return CLOSED
    if isinstance(error, OSError) and error.errno:
        return f"cannot be reached: {os.strerror(error.errno)}"
    return None
