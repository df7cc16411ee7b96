"""Reading one request: stricter than `http.server`, and within limits of size.

`_http` calls it. Where `http.server` and a proxy could read a request differently, such
as a header that is given twice, the request is refused.
"""

from __future__ import annotations

import re
from email.message import Message
from io import BufferedIOBase

from ._ledger import EVENTS_PATH

# ODP documents none. Its 403 has the form of AWS's API Gateway, which allows 10 MB.
MAX_EVENTS_BODY = 10 * 2**20
MAX_OTHER_BODY = 2**20
MAX_HEAD = 65_536
MAX_HEADERS = 99

# The characters of a header's name are those of RFC 9110, section 5.6.2.
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*\r?\n")
_SINGLE_HEADERS = (
    "authorization",
    "content-length",
    "content-type",
    "origin",
    "x-api-key",
)


class RequestError(Exception):
    """A request is refused before its body is read.

    Args:
        reason: a text for the client; empty for that of the status.
    """

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


def read_head(stream: BufferedIOBase) -> bytes | None:
    """Return the header lines up to the empty one; None if the client closed before.

    Raises:
        RequestError: They are too many or too long, or one cannot be read.
    """
    lines: list[bytes] = []
    left = MAX_HEAD
    while True:
        line = stream.readline(left + 1)
        left -= len(line)
        if left < 0:
            raise RequestError(431)
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            return b"".join(lines)
        if len(lines) > MAX_HEADERS:
            raise RequestError(431)
        if not line:
            return None
        if not _HEADER.fullmatch(line):
            raise RequestError(400, "a header cannot be read")


def check_single_headers(headers: Message) -> None:
    """Raise `RequestError` if a header that may be there once is given twice."""
    for name in _SINGLE_HEADERS:
        if len(headers.get_all(name) or ()) > 1:
            raise RequestError(400, f"{name} is given twice")


def parse_size(path: str, headers: Message) -> int:
    """Return the size of the body in bytes.

    Raises:
        RequestError: It is not given in digits, or is above the limit of *path*.
    """
    length = headers.get("Content-Length", "0").strip()
    limit = MAX_EVENTS_BODY if path == EVENTS_PATH else MAX_OTHER_BODY
    # A chunked body has no size that could be checked before it is read.
    if "Transfer-Encoding" in headers:
        raise RequestError(411, "give a Content-Length")
    if not re.fullmatch("[0-9]{1,18}", length):
        raise RequestError(400, "give the Content-Length in digits")
    if int(length) > limit:
        raise RequestError(413, f"a body of {length} bytes is too large")
    return int(length)
