"""Failures of a request are described in words."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import pytest

from odp_logging._transports.failures import find_root_cause, format_failure


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "cannot resolve odp.test"),
        (
            socket.gaierror(socket.EAI_AGAIN, "x"),
            "cannot resolve odp.test: no name server answered",
        ),
        (UnicodeError("x"), "odp.test is not a valid host name"),
        (
            ssl.SSLCertVerificationError("x"),
            "the certificate of odp.test:443 is not trusted",
        ),
        (ssl.SSLError("x"), "the TLS connection to odp.test:443 failed"),
        (TimeoutError("x"), "odp.test:443 gave no answer within 2.5 s"),
        (ConnectionRefusedError("x"), "odp.test:443 refused the connection"),
        (
            http.client.RemoteDisconnected("x"),
            "odp.test:443 closed the connection without an answer",
        ),
        (http.client.BadStatusLine("x"), "odp.test:443 sent no valid HTTP answer"),
        (
            OSError(errno.ENETUNREACH, "x"),
            "odp.test:443 cannot be reached: Network is unreachable",
        ),
        (LookupError("x"), "odp.test:443 gave no answer (LookupError)"),
    ],
)
def test_a_failure_is_described_without_the_text_of_the_exception(error, text):
    """The message has words of this library only."""
    assert format_failure(error, "odp.test", 443, seconds=2.5) == text


def test_a_cycle_of_exception_causes_ends() -> None:
    """The search for the root cause ends, even if the causes form a cycle."""
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one

    assert find_root_cause(one) in (one, other)
