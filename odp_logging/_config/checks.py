"""
Likely mistakes in settings that are valid: told when a client is built.

`OdpClient` and `odp-logging doctor` call these. Nothing is refused here, since each of
these settings may be intended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._runtime.secret import Secret
from .destination import Destination
from .environment import find_misspelt_variables

if TYPE_CHECKING:
    from .settings import Config

_PLACEHOLDER_STARTS = "$\"'<{["
"""First characters of a key that was not filled in: ``$KEY``, ``"key"``, ``<key>``."""

_PLACEHOLDER_WORDS = frozenset(
    {"", "apikey", "changeme", "key", "none", "null", "placeholder", "publickey"}
    | {"replaceme", "secret", "tbd", "todo", "undefined"}
)
"""Keys of examples, in lower case and without punctuation. The first one is what is
left of ``xxx`` and ``***``."""


def warn_of_mistakes(config: Config, warn: Callable[[str, str], object]) -> None:
    """Call *warn* with kind and message for each likely mistake."""
    if not config.enabled:
        return
    for variable, message in find_misspelt_variables().items():
        warn(f"environment:{variable}", f"{message} Rename it, or unset it")
    if config.hash_salt is not None and not config.hash_identifiers:
        warn(
            "hash_salt",
            "hash_salt is set and hash_identifiers is not; identifiers are sent as they"
            ' are. Set hash_identifiers to their names, such as ["email"]',
        )
    destination = config.target()
    if (
        isinstance(destination, Destination)
        and is_placeholder(destination.api_key)
        and not destination.is_loopback  # an emulator accepts any key
    ):
        warn(
            "placeholder",
            f"the key from {config.find_source('api_key')} is in quotes or a"
            " placeholder; ODP will refuse it, and events wait. Set the public key from"
            " ODP's Account Settings > APIs, without quotes",
        )


def is_placeholder(api_key: Secret) -> bool:
    """Whether the key is in quotes, or a text such as ``your-api-key``."""
    # The key is no local variable here, because tracebacks can show local variables.
    return api_key.get_secret_value()[0] in _PLACEHOLDER_STARTS or _is_placeholder_text(
        Secret(
            "".join(filter(str.isalnum, api_key.get_secret_value())).lower().strip("x")
        )
    )


def _is_placeholder_text(simple: Secret) -> bool:
    return simple.get_secret_value() in _PLACEHOLDER_WORDS or (
        simple.get_secret_value().startswith(("your", "my", "insert", "enter"))
        and "key" in simple.get_secret_value()
    )
