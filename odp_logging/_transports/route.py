"""How requests reach a host: the proxy of the environment, and trusted certificates.

`HttpSession` connects by a `Route`, and ``odp-logging doctor`` checks one. Of
`requests`, only the functions that read the environment are used here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_environ_proxies,
    select_proxy,
)

from .._runtime.secret import Secret
from .failures import CHECK_PROXY, InvalidSetting

DEFAULT_PORTS = {"http": 80, "https": 443}


class InvalidProxy(InvalidSetting):
    """The environment sets an unusable proxy; the message shows no password."""

    advice = CHECK_PROXY


class Proxy(NamedTuple):
    """A proxy set in the environment."""

    host: str
    port: int
    scheme: str
    setting: str
    """The variable that sets it, such as HTTPS_PROXY."""
    login: Secret
    """User and password as ``user:password``, or empty."""

    @property
    def name(self) -> str:
        """Its description in messages."""
        return f"the proxy {self.host}:{self.port} of {self.setting}"


class Route(NamedTuple):
    """The proxy that requests go through, and the certificates they trust."""

    proxy: Proxy | None
    ca_path: str
    """File or directory of certificates."""


def find_route(
    url: str, *, ignore_proxy: bool = False, environ: Mapping[str, str] = os.environ
) -> Route:
    """
    Return the route that an `HttpSession` to *url* takes.

    Args:
        ignore_proxy: Whether to ignore proxies (for loopback hosts). REQUESTS_CA_BUNDLE
            still applies.

    Raises:
        InvalidProxy: The environment sets a proxy that is not an address.
    """
    # In this order, as `requests` reads them.
    ca_path = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    proxy = None if ignore_proxy else _find_proxy(url)
    return Route(proxy, ca_path or DEFAULT_CA_BUNDLE_PATH)


def _find_proxy(url: str) -> Proxy | None:
    proxies = get_environ_proxies(url)
    proxy_url = select_proxy(url, proxies)
    if not proxy_url:
        return None
    scheme = urlsplit(url).scheme
    setting = f"{scheme if proxies.get(scheme) else 'all'}_proxy".upper()
    try:
        # Without a scheme it is an HTTP proxy, as for curl and `requests`.
        parts = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise InvalidProxy(f"{setting} is not the address of a proxy")
    if parts.scheme.startswith("socks"):
        raise InvalidProxy(f"{setting} names a SOCKS proxy, which is not supported")
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidProxy(f"{setting} names a proxy that is neither http nor https")
    # Unquoted, because a URL has reserved characters of a password percent-encoded.
    login = Secret(
        ":".join(map(unquote, [parts.username, parts.password or ""]))
        if parts.username
        else ""
    )
    return Proxy(
        host, port or DEFAULT_PORTS[parts.scheme], parts.scheme, setting, login
    )
