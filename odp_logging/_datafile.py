"""Find ODP's public key and host in an Optimizely datafile."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ._secret import Secret
from .exceptions import ConfigurationError


class Integration(NamedTuple):
    """What a datafile says of ODP."""

    api_key: Secret
    api_host: str


def read_datafile(datafile: Secret) -> Integration | None:
    """
    Return the public key and the host that *datafile* names; None if it names none.

    As in the Python and Go SDKs, the first entry of ``integrations`` counts whose key
    is ``odp`` and which has both ``publicKey`` and ``host``.

    Args:
        datafile: A path, the datafile's JSON text, or the datafile as a dict; wrapped,
            since it holds a key.

    Raises:
        ConfigurationError: It cannot be read, or is no datafile.
    """
    content = _content(datafile)
    integrations = content.get("integrations")
    for entry in integrations if isinstance(integrations, list) else ():
        if isinstance(entry, Mapping) and entry.get("key") == "odp":
            key, host = entry.get("publicKey"), entry.get("host")
            if isinstance(key, str) and isinstance(host, str) and key and host:
                return Integration(Secret(key), host)
    return None


def _content(sealed: Secret) -> Mapping[str, Any]:
    # Only the wrapped datafile is a local variable where something is raised.
    if not isinstance(sealed.reveal(), (Mapping, str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"datafile=<{type(sealed.reveal()).__name__}> cannot be used:"
            " give a path, the JSON text or the dict"
        )
    parsed, problem = _parsed(sealed)
    if problem:
        raise ConfigurationError(
            f"datafile cannot be read ({problem});"
            " give a path, the JSON text or the dict"
        )
    if parsed is None:
        raise ConfigurationError(
            "datafile is not the JSON of an Optimizely datafile; download it from"
            " https://cdn.optimizely.com/datafiles/<sdk_key>.json"
        )
    content: Mapping[str, Any] = parsed.reveal()
    return content


def _parsed(sealed: Secret) -> tuple[Secret | None, str]:
    """Return the datafile as a mapping, wrapped, or why it cannot be read."""
    datafile = sealed.reveal()
    if isinstance(datafile, Mapping):
        return sealed, ""
    try:
        content = json.loads(_text(datafile))
    except OSError as error:
        return None, error.strerror or type(error).__name__
    except ValueError:
        return None, ""
    return (Secret(content) if isinstance(content, Mapping) else None), ""


def _text(datafile: str | bytes | os.PathLike[str]) -> str | bytes:
    if isinstance(datafile, bytes):
        return datafile
    if isinstance(datafile, str) and datafile.lstrip().startswith(("{", "[")):
        return datafile
    with open(datafile, encoding="utf-8") as file:
        return file.read()
