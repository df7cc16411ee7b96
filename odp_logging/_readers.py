"""What a setting's value may look like: one reader for each kind.

Each returns the value, or raises ValueError with what would be right. What only some
kinds need is imported by their readers: a client is often made at start-up.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._plain import freeze_mapping
from ._secret import Hidden, Secret

if TYPE_CHECKING:
    from pathlib import Path

    from .stores._url import QueueUrl

_DAY = 86_400.0


def whole(least: int, most: int | None = None) -> Callable[[object], int]:
    """Return a reader of whole numbers within bounds."""
    bounds = f"{least} or more" if most is None else f"from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
            value = int(value)
        if type(value) is not int or value < least:
            raise ValueError(f"a whole number, {bounds}")
        if most is not None and value > most:
            raise ValueError(f"a whole number, {bounds}")
        return value

    return read


def seconds(value: object) -> float:
    """Read seconds, 0 or more."""
    try:
        if isinstance(value, bool):
            raise ValueError
        read = float(value)  # type: ignore[arg-type]
        if not math.isfinite(read) or not 0 <= read <= _DAY:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError("seconds, 0 or more, a day at most, such as 2.5") from None
    return read


def positive(value: object) -> float:
    """Read seconds, more than 0."""
    try:
        read = seconds(value)
        if read == 0:
            raise ValueError
    except ValueError:
        raise ValueError("seconds, more than 0, a day at most, such as 2.5") from None
    return read


def yes_or_no(value: object) -> bool:
    """Read a truth value, or a word for one."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    answer = (
        words.get(str(value).strip().lower()) if type(value) in (str, int) else None
    )
    if answer is None:
        raise ValueError("true or false")
    return answer


def level(value: object) -> int | None:
    """Read a level's name or number."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, str):
        if value.strip().isdigit():
            return int(value)
        level = logging.getLevelName(value.strip().upper())
        if isinstance(level, int):
            return level
    raise ValueError("a level's name or number, for example ERROR or 40")


def one_of(*names: str) -> Callable[[object], str]:
    """Return a reader of one of *names*."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(" or ".join(names))

    return read


def path(value: object) -> Path:
    """Read the path of a directory; what it is now does not matter yet."""
    from pathlib import Path

    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise ValueError("a directory, for example /var/lib/shop/odp")
    try:
        os.fsencode(value)
        found = Path(value).expanduser()
    except (RuntimeError, UnicodeError):  # nobody of that name; nothing to encode
        found = None
    if found is None or "\0" in str(found):
        raise ValueError("a directory, for example /var/lib/shop/odp")
    # Now: a daemon changes its working directory later.
    return found if found.is_absolute() else Path.cwd() / found


def mapping(value: object) -> Mapping[str, Any]:
    """Read a dict, or its JSON."""
    if isinstance(value, str):
        value = _json_or_none(value)
    try:
        return MappingProxyType(freeze_mapping(value))
    except (TypeError, ValueError):
        raise ValueError('a dict or its JSON, for example {"plan": "pro"}') from None


def _json_or_none(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return None


def names(value: object) -> frozenset[str]:
    """Read names: a list, its JSON, or text with commas."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = _json_or_none(value)
    elif isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) for name in value
    ):
        return frozenset(value)
    raise ValueError('names of keys, for example ["card_number"]')


def function(value: object) -> Callable[..., Any] | None:
    """Read a function, or its dotted name."""
    if value is None or callable(value):
        return value
    if isinstance(value, str) and re.fullmatch(r"[\w.]+[.:]\w+", value.strip()):
        import importlib

        module, _, name = value.strip().replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever importing the application's code raises
            raise ValueError(
                f"a function; importing it raised {type(error).__name__}"
            ) from None
        if callable(found):
            return found  # type: ignore[no-any-return]
    raise ValueError('a function or its dotted name, for example "shop.odp.mask"')


def host(value: object) -> str | None:
    """Read the URL of a host: https, or http for this machine."""
    if value is None or value == "":
        return None
    good = "a URL such as https://api.zaius.com"
    if isinstance(value, Secret):
        if not str(value.reveal()).startswith("http"):
            raise ValueError(good)
        value = value.reveal()
    if not isinstance(value, str):
        raise ValueError(good)
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value.strip())
        name, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(good) from None
    odd = parts.username is not None or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not name or odd:
        raise ValueError(good)
    if not _is_graphic(value.strip()):
        raise ValueError(good)
    if parts.scheme == "http" and not is_loopback(name):
        raise ValueError(
            f"{good}: plain http would show the key to the network, and is allowed only"
            " for loopback hosts such as http://127.0.0.1:8181"
        )
    return value.strip().rstrip("/").removesuffix("/v3/events").rstrip("/")


def is_loopback(name: str) -> bool:
    """Whether *name* is this machine."""
    if name == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def key(value: object) -> Secret | None:
    """Read an API key; the messages never hold it."""
    if not isinstance(value, Secret):
        value = Secret(value)
    if not value.reveal():
        return None
    # Nothing but the wrapped key is a local variable here: tracebacks show those.
    if not isinstance(value.reveal(), str):
        raise ValueError("text, the public key from ODP's Account Settings > APIs")
    if not _is_graphic(value.reveal()):
        raise ValueError(
            "printable ASCII without blanks; copy the public key again from ODP's"
            " Account Settings > APIs"
        )
    return value


def _is_graphic(text: str) -> bool:
    # Not a regular expression, which takes a millisecond to be compiled.
    return text.isascii() and text.isprintable() and " " not in text


def salt(value: object) -> Secret:
    """Read a secret text; the messages never hold it."""
    if not isinstance(value, Secret):
        value = Secret(value)
    # An empty one is more likely a variable that is not set than a wish.
    if not isinstance(value.reveal(), str) or not value.reveal().strip():
        raise ValueError("text that is not empty, and kept secret like a key")
    return value


def queue(value: object) -> QueueUrl | None:
    """Read the URL of a queue; the messages never hold it."""
    from .stores._url import read_url

    if not isinstance(value, Secret):
        value = Hidden(value)
    if not value.reveal():
        return None
    # Nothing but what hides itself is a local variable here, as in `key`.
    found = read_url(value)
    if isinstance(found, str):
        raise ValueError(found)
    return found


def datafile(value: object) -> Secret:
    """Read a datafile, whatever its form; it holds a key."""
    return value if isinstance(value, Secret) else Secret(plain_copy(value))


def plain_copy(value: Any) -> Any:
    """Return *value* with what dictConfig left to be resolved, resolved."""
    # dictConfig hands over ConvertingDict and its kin, whose items() and dict() still
    # hold "cfg://..." and "ext://..."; only access by key resolves them.
    if isinstance(value, dict):
        return {key: plain_copy(value[key]) for key in value}
    if type(value).__name__ in ("ConvertingList", "ConvertingTuple"):
        return [plain_copy(value[place]) for place in range(len(value))]
    return value
