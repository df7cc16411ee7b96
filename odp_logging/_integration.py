"""What an Optimizely client knows of ODP: the key and host of its datafile."""

from __future__ import annotations

from typing import Any, Protocol

from ._client import OdpClient
from ._datafile import Integration, read_datafile
from ._secret import Secret


class OdpConfig(Protocol):
    """What we ask of the SDK's `OdpConfig`."""

    def get_api_key(self) -> str | None: ...

    def get_api_host(self) -> str | None: ...


class ProjectConfig:
    """The SDK's project config, as what we ask of its `OdpConfig`."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def get_api_key(self) -> str | None:
        """Return ODP's public key."""
        return getattr(self._config, "public_key_for_odp", None)

    def get_api_host(self) -> str | None:
        """Return ODP's host."""
        return getattr(self._config, "host_for_odp", None)


def integration(config: OdpConfig) -> Integration | None:
    """Return what *config* says of ODP; None if it says nothing."""
    # Nothing but the wrapped key is a local variable: tracebacks show those.
    key, host = Secret(config.get_api_key()), config.get_api_host()
    return Integration(key, host) if key.reveal() and host else None


def sealed_datafile(found: Integration) -> Secret:
    """Return a datafile that says *found*, wrapped."""
    names = ("key", "publicKey", "host")
    values = zip(names, ("odp", found.api_key.reveal(), found.api_host))
    return Secret({"integrations": [dict(values)]})


def own(client: OdpClient) -> tuple[bool, str | None]:
    """Return whether *client* has a key, and which host, that no datafile named."""
    config = client.config
    named = read_datafile(config.datafile) if config.datafile is not None else None
    if config.api_key is None:
        return client.destination is not None, config.api_host
    if named is None:
        return True, config.api_host
    same = named.api_host.rstrip("/") == config.api_host
    return named.api_key != config.api_key, None if same else config.api_host
