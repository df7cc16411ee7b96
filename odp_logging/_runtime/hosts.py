"""Check whether a host name means this machine."""

from __future__ import annotations


def is_loopback(name: str) -> bool:
    """Return whether *name* is localhost or a loopback address."""
    if name == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
