"""Access: the hosts and origins that a request may name, and the access token.

Other users of the machine can reach the port, and so can a script on any page that a
browser here shows. The events API needs neither token nor origin, as ODP's does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.message import Message
from hmac import compare_digest
from urllib.parse import parse_qs

from ._ledger import LIBRARY_PATH
from ._requests import RequestError

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.I)
_ANY_HOST = re.compile(
    r"([\w.-]{1,255}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.I | re.A
)

_TOKEN_NEEDED = (
    "This needs the access token. Open the address that the emulator printed, with"
    ' ?token=..., or send the header "Authorization: Bearer ...".'
)


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    Args:
        token: required by every path but those of the events API; empty for none.
        allow_remote: whether requests may name any host.
    """

    token: str
    allow_remote: bool = field(kw_only=True)

    def check(
        self,
        path: str,
        query: str,
        headers: Message,
        *,
        server_name: str,
        method: str = "GET",
    ) -> None:
        """Raise `RequestError` unless the request is allowed.

        Args:
            server_name: the address that the server is bound to.
        """
        # First of all, against DNS rebinding: a foreign name that leads to this port
        # would make the page of another site one of the same origin.
        if not self._is_own_host(headers, server_name):
            raise RequestError(403, "foreign host")
        if path.startswith("/_emulator/") and not _is_own_origin(headers):
            raise RequestError(403, "foreign origin")
        # A library has an API key and no token, as for its events.
        is_report = (method, path) == ("POST", LIBRARY_PATH)
        if _is_private(path) and not is_report and not self._has_token(query, headers):
            raise RequestError(403, _TOKEN_NEEDED)

    def _is_own_host(self, headers: Message, server_name: str) -> bool:
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1:
            return False
        if self.allow_remote:
            return _ANY_HOST.fullmatch(hosts[0]) is not None
        return _LOOPBACK_HOST.fullmatch(hosts[0]) is not None or (
            hosts[0].rpartition(":")[0] == server_name
        )

    def _has_token(self, query: str, headers: Message) -> bool:
        if not self.token:
            return True
        kind, _, sent = headers.get("Authorization", "").partition(" ")
        given = parse_qs(query).get("token", [])
        if kind.lower() in ("bearer", "token"):
            given.append(sent.strip())
        # A list, so that every text is compared: any() would stop at the first match.
        return any(
            [compare_digest(text.encode(), self.token.encode()) for text in given]
        )


def _is_own_origin(headers: Message) -> bool:
    origin = headers.get("Origin")
    # Only browsers send an Origin; curl and libraries do not.
    return origin is None or origin.lower() == f"http://{headers['Host']}"


def _is_private(path: str) -> bool:
    """Return whether *path* shows or changes recorded data."""
    return path in ("/", "/stats") or path.startswith("/_emulator/")
