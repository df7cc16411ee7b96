"""
Keeps keys, passwords and other secrets out of tracebacks, pickles and messages.

Every function that receives settings as keywords calls `wrap_secrets` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._runtime.secret import OpaqueSecret, Secret
from . import parsers
from .settings import ALIASES, SETTINGS

_SECRET_NAMES = {"api_key", "datafile", "hash_salt", "queue_url"}
_PLAIN_NAMES = SETTINGS.keys() - _SECRET_NAMES


def wrap_secrets(api_key: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *settings* and *api_key* as one dict, with secret values wrapped.

    Every function that receives keywords calls this first and replaces its own
    variables with the result: a traceback that shows local variables must not show a
    key.
    """
    wrapped = {name: wrap_secret(name, settings[name]) for name in settings}
    # A misspelt name may hold the key as well, so values of unknown names are wrapped.
    if api_key is not None:
        wrapped["api_key"] = wrap_secret("api_key", api_key)
    return wrapped


def wrap_secret(name: str, value: object) -> object:
    """Return *value* wrapped in a `Secret`, unless the setting *name* is no secret."""
    is_plain = name in _PLAIN_NAMES or name in ALIASES
    if name == "api_host":  # it may hold a key or a password by mistake
        is_plain = parsers.is_safe_to_show(str(value))
    if is_plain or value is None or isinstance(value, Secret):
        return value
    if name == "queue_url":
        return OpaqueSecret(value)
    return Secret(parsers.resolve_containers(value))


def remove_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* without keys, passwords and other secrets."""
    kept = {name: settings[name] for name in settings if name not in _SECRET_NAMES}
    if settings.get("hash_salt") is not None:
        # Without a salt, the same identifiers would get other hashes.
        kept["hash_salt"] = "${ODP_HASH_SALT}"
    return kept


def strip_secret(
    name: str, shown: str, value: Any, warn: Callable[[str, str], object]
) -> Any:
    """Return a key or secret without white space around it; warn if there was any."""
    if name not in ("api_key", "hash_salt", "queue_url"):
        return value
    value = wrap_secret(name, value)
    if not isinstance(value, Secret) or not isinstance(value.get_secret_value(), str):
        return value
    stripped = type(value)(value.get_secret_value().strip())
    if stripped != value:
        warn(
            f"trimmed:{name}",
            f"{shown} has white space around it, such as a line break at its end; it"
            " was taken off. Set the value without it",
        )
    return stripped
