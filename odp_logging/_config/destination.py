"""
`Destination`: the host that events are sent to, and the API hosts by region.

`load` makes one from key and host; flusher, spool and commands read it.
"""

from __future__ import annotations

from typing import NamedTuple

from .._runtime.hosts import is_loopback
from .._runtime.secret import Secret
from . import parsers

REGION_HOSTS = {
    "-eu1": "https://api.eu1.odp.optimizely.com",
    "-au1": "https://api.au1.odp.optimizely.com",
    "": "https://api.zaius.com",
}
"""API hosts by the suffix of the public key, as in ODP's Node SDK."""


class Destination(NamedTuple):
    """The host that events are sent to, and the key they are sent with."""

    api_key: Secret
    api_host: str

    @property
    def fingerprint(self) -> str:
        """The part of file names that stands for host and key, without showing them."""
        import hashlib  # 2 ms; needed with a spool only

        # One expression: a text with the key must not be a local variable, which a
        # traceback could show.
        return hashlib.sha256(
            f"{self.api_host}\0{self.api_key.get_secret_value()}".encode()
            # 40 bits tell the accounts of one directory apart.
        ).hexdigest()[:10]

    @property
    def display_url(self) -> str:
        """The host's URL, for messages."""
        return self.api_host

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        if self.api_host in REGION_HOSTS.values():
            return False  # known hosts need no import of urllib.parse
        return is_loopback(parsers.extract_host_name(self.api_host))


def derive_api_host(api_key: Secret) -> str:
    """Return the API host of the region in the suffix of a public key."""
    # A private key is "public.secret": its first part has the region.
    suffix = (
        api_key.get_secret_value().rpartition(".")[0] or api_key.get_secret_value()
    )[-4:]
    return REGION_HOSTS.get(suffix, REGION_HOSTS[""])


def check_region(api_key: Secret, api_host: str) -> tuple[str, str] | None:
    """Return a region mismatch of key and host, and advice; None if they agree."""
    expected = derive_api_host(api_key)
    if api_host == expected or api_host not in REGION_HOSTS.values():
        return None
    suffix = next((end for end, host in REGION_HOSTS.items() if host == expected), "")
    ending = f"ends with {suffix}" if suffix else "names no region"
    return (
        f"the key {ending}, but api_host is {api_host}, and events go there",
        f"{expected} would be right: leave api_host out to follow the key",
    )
