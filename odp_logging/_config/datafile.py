"""Find ODP's public key and host in an Optimizely datafile.

Called by `load` when the setting ``datafile`` is given, and by
`odp_logging.optimizely`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._runtime.bounded_json import MAX_BYTES, parse_json
from .._runtime.secret import Secret
from ..exceptions import ConfigurationError


class Integration(NamedTuple):
    """The ODP part of a datafile: public key and host."""

    api_key: Secret
    api_host: str


def read_datafile(datafile: Secret) -> Integration | None:
    """
    Return the public key and the host in *datafile*; None if it has none.

    As in the Python and Go SDKs, this is the first entry of ``integrations`` with the
    key ``odp`` and with both ``publicKey`` and ``host``.

    Args:
        datafile: A path, the datafile's JSON text, or the datafile as a dict. It is
            wrapped because it holds a key.

    Raises:
        ConfigurationError: The datafile cannot be read, or is not a datafile.
    """
    content = _read_content(datafile)
    integrations = content.get("integrations")
    for entry in integrations if isinstance(integrations, list) else ():
        if isinstance(entry, Mapping) and entry.get("key") == "odp":
            key, host = entry.get("publicKey"), entry.get("host")
            if isinstance(key, str) and isinstance(host, str) and key and host:
                return Integration(Secret(key), host)
    return None


def build_datafile(integration: Integration) -> Secret:
    """Return a datafile that `read_datafile` reads as *integration*."""
    entry = {
        "key": "odp",
        "publicKey": integration.api_key.get_secret_value(),
        "host": integration.api_host,
    }
    return Secret({"integrations": [entry]})


def _read_content(datafile: Secret) -> Mapping[str, Any]:
    # Tracebacks can show local variables: a function that raises holds the datafile
    # only in its wrapped form.
    if not isinstance(datafile.get_secret_value(), (Mapping, str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"datafile=<{type(datafile.get_secret_value()).__name__}> cannot be used:"
            " give a path, the JSON text or the dict"
        )
    parsed, reason = _parse(datafile)
    if reason:
        raise ConfigurationError(
            f"datafile cannot be read ({reason});"
            " give a path, the JSON text or the dict"
        )
    if parsed is None:
        raise ConfigurationError(
            "datafile is not the JSON of an Optimizely datafile; download it from"
            " https://cdn.optimizely.com/datafiles/<sdk_key>.json"
        )
    content: Mapping[str, Any] = parsed.get_secret_value()
    return content


def _parse(datafile: Secret) -> tuple[Secret | None, str]:
    """Return the datafile as a wrapped mapping, or the reason it cannot be read."""
    value = datafile.get_secret_value()
    if isinstance(value, Mapping):
        return datafile, ""
    try:
        content = parse_json(_read_text(value))
    except OSError as error:
        return None, error.strerror or type(error).__name__
    except ValueError:
        return None, ""
    return (Secret(content) if isinstance(content, Mapping) else None), ""


def _read_text(datafile: str | bytes | os.PathLike[str]) -> str | bytes:
    if isinstance(datafile, bytes):
        return datafile
    if isinstance(datafile, str) and datafile.lstrip().startswith(("{", "[")):
        return datafile
    with open(datafile, encoding="utf-8") as file:
        return file.read(MAX_BYTES + 1)  # parse_json refuses more
