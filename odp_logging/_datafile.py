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
    datafile = sealed.reveal()
    if isinstance(datafile, Mapping):
        return datafile
    if not isinstance(datafile, (str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"datafile=<{type(datafile).__name__}> cannot be used:"
            " give a path, the JSON text or the dict"
        )
    try:
        content = json.loads(_text(datafile))
    except OSError as error:
        raise ConfigurationError(
            f"datafile cannot be read ({error.strerror});"
            " give a path, the JSON text or the dict"
        ) from None
    except ValueError:
        content = None
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            "datafile is not the JSON of an Optimizely datafile; download it from"
            " https://cdn.optimizely.com/datafiles/<sdk_key>.json"
        )
    return content


def _text(datafile: str | bytes | os.PathLike[str]) -> str | bytes:
    if isinstance(datafile, bytes):
        return datafile
    if isinstance(datafile, str) and datafile.lstrip().startswith(("{", "[")):
        return datafile
    with open(datafile, encoding="utf-8") as file:
        return file.read()
