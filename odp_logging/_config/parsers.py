"""Parse the value of one setting: one parser for each kind of value.

`settings` calls them for keywords, environment variables and the datafile. A parser
returns the value, or raises ValueError with the form it expects. Modules that only some
kinds need are imported inside their parsers, because a client is often built at
start-up.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._events.normalize import freeze_mapping
from .._runtime.secret import OpaqueSecret, Secret

if TYPE_CHECKING:
    from pathlib import Path

    from .queue_url import QueueUrl

_MAX_SECONDS = 86_400.0

_LEVEL_NAMES = frozenset(
    {"CRITICAL", "DEBUG", "ERROR", "FATAL", "INFO", "NOTSET", "WARN", "WARNING"}
)
"""No keys: other handlers have the level as their first argument."""


def make_int_parser(
    minimum: int, maximum: int | None = None
) -> Callable[[object], int]:
    """Return a parser of whole numbers from *minimum* to *maximum*."""
    bounds = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"

    def parse_int(value: object) -> int:
        # int() refuses more than 4,300 digits, with a message of its own.
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,100}\s*", value):
            value = int(value)
        if type(value) is not int or value < minimum:
            raise ValueError(f"a whole number, {bounds}")
        if maximum is not None and value > maximum:
            raise ValueError(f"a whole number, {bounds}")
        return value

    return parse_int


def format_bytes(count: int) -> str:
    """Return *count* bytes as text for messages; whole MiB are shown in MiB."""
    mib, rest = divmod(count, 1024 * 1024)
    return f"{count} bytes" if rest else f"{mib} MiB"


def parse_seconds(value: object) -> float:
    """Parse a duration in seconds: 0 or more, at most a day."""
    try:
        if isinstance(value, bool):
            raise ValueError
        duration = float(value)  # type: ignore[arg-type]
        if not math.isfinite(duration) or not 0 <= duration <= _MAX_SECONDS:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError("seconds, 0 or more, a day at most, such as 2.5") from None
    return duration


def parse_positive_seconds(value: object) -> float:
    """Parse a duration in seconds: more than 0, at most a day."""
    try:
        duration = parse_seconds(value)
        if duration == 0:
            raise ValueError
    except ValueError:
        raise ValueError("seconds, more than 0, a day at most, such as 2.5") from None
    return duration


def parse_bool(value: object) -> bool:
    """Parse a truth value: a bool, 0 or 1, or a word such as ``yes`` or ``off``."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    parsed = (
        words.get(str(value).strip().lower()) if type(value) in (str, int) else None
    )
    if parsed is None:
        raise ValueError("true or false")
    return parsed


def parse_level(value: object) -> int | None:
    """Parse a logging level: its name or its number."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, str):
        if value.strip().isdigit():
            return int(value)
        level = logging.getLevelName(value.strip().upper())
        if isinstance(level, int):
            return level
    raise ValueError("a level's name or number, for example ERROR or 40")


def make_choice_parser(*names: str) -> Callable[[object], str]:
    """Return a parser that accepts one of *names*."""

    def parse_choice(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(" or ".join(names))

    return parse_choice


def parse_path(value: object) -> Path:
    """Parse the path of a directory, which need not exist yet."""
    from pathlib import Path

    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise ValueError("a directory, for example /var/lib/shop/odp")
    try:
        os.fsencode(value)
        path = Path(value).expanduser()
    except (RuntimeError, UnicodeError):  # "~user" is unknown; text is not encodable
        path = None
    if path is None or "\0" in str(path):
        raise ValueError("a directory, for example /var/lib/shop/odp")
    # Made absolute now: a daemon changes its working directory later.
    return path if path.is_absolute() else Path.cwd() / path


def parse_mapping(value: object) -> Mapping[str, Any]:
    """Parse a mapping: a dict or its JSON."""
    if isinstance(value, str):
        value = _parse_json_or_none(value)
    try:
        return MappingProxyType(freeze_mapping(value))
    except (TypeError, ValueError):
        raise ValueError('a dict or its JSON, for example {"plan": "pro"}') from None


def _parse_json_or_none(text: str) -> Any:
    from .._runtime.bounded_json import parse_json

    try:
        return parse_json(text)
    except ValueError:
        return None


def parse_names(value: object) -> frozenset[str]:
    """Parse names: a list, its JSON, or text with commas between the names."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = _parse_json_or_none(value)
    elif isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) for name in value
    ):
        return frozenset(value)
    raise ValueError('names of keys, for example ["card_number"]')


def parse_function(value: object) -> Callable[..., Any] | None:
    """Parse a function: the function itself or its dotted name."""
    if value is None or callable(value):
        return value
    if isinstance(value, str) and re.fullmatch(r"[\w.]+[.:]\w+", value.strip()):
        import importlib

        module, _, name = value.strip().replace(":", ".").rpartition(".")
        try:
            function = getattr(importlib.import_module(module), name)
        except Exception as error:  # importing the application's code can raise any
            raise ValueError(
                f"a function; importing it raised {type(error).__name__}"
            ) from None
        if callable(function):
            return function  # type: ignore[no-any-return]
    raise ValueError('a function or its dotted name, for example "shop.odp.mask"')


def is_safe_to_show(text: str) -> bool:
    """Whether *text* looks like a host's URL in which no password can stand."""
    return text.startswith("http") and not any(char in text for char in "@?#")


def parse_host(value: object) -> str | None:
    """Parse the URL of a host: ``https://host``, with an optional port and path."""
    if value is None or value == "":
        return None
    expected = "a URL such as https://api.zaius.com"
    if isinstance(value, Secret):
        if not is_safe_to_show(str(value.get_secret_value())):
            raise ValueError(expected)
        value = value.get_secret_value()
    if not isinstance(value, str) or not _is_host_url(value.strip()):
        raise ValueError(expected)
    scheme, separator, rest = value.strip().partition("://")
    name, slash, path = rest.partition("/")
    # The whole address of the API is often given in place of the host.
    path = f"{slash}{path}".rstrip("/").removesuffix("/v3/events").rstrip("/")
    return f"{scheme}{separator}{name}{path}"


def _is_host_url(text: str) -> bool:
    from urllib.parse import urlsplit

    # "?" and "#" are refused even at the end: the API's path, which is appended, would
    # become part of the query or fragment.
    if not _is_visible_ascii(text) or not is_safe_to_show(text):
        return False
    try:
        parts = urlsplit(text)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or port == 0 or parts.netloc[-1:] == ":":
        return False
    is_named = name.strip("-.") and ".." not in name and not set(name) - _HOST_CHARS
    if not (_is_ipv6(name) if "[" in parts.netloc else is_named):
        return False
    # Proxies and servers may rewrite "..", "//" or escapes to another path.
    segments = parts.path.removeprefix("/").removesuffix("/").split("/")
    rewritten = {".", "..", ""}.intersection(segments)
    is_plain = not rewritten and not set(parts.path.lower()) - _PATH_CHARS
    return is_plain or parts.path in ("", "/")


_HOST_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")
_PATH_CHARS = _HOST_CHARS | {"/", "~"}


def _is_ipv6(name: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(name).version == 6
    except ValueError:
        return False


def extract_host_name(url: str) -> str:
    """Return the host's name or address in *url*."""
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""


def parse_key(value: object) -> Secret | None:
    """Parse an API key; no message contains it."""
    if not isinstance(value, Secret):
        value = Secret(value)
    if not value.get_secret_value():
        return None
    # Tracebacks can show local variables: the key stands here only in its wrapped form.
    if not isinstance(value.get_secret_value(), str):
        raise ValueError("text, the public key from ODP's Account Settings > APIs")
    if value.get_secret_value().upper() in _LEVEL_NAMES:
        raise ValueError(
            "the public key from ODP's Account Settings > APIs, not the name of a"
            ' level; write level="INFO"'
        )
    if not value.is_visible_ascii():
        raise ValueError(
            "printable ASCII without blanks; copy the public key again from ODP's"
            " Account Settings > APIs"
        )
    return value


def _is_visible_ascii(text: str) -> bool:
    # Not a regular expression: compiling one takes about 1 ms at start-up.
    return text.isascii() and text.isprintable() and " " not in text


def parse_salt(value: object) -> Secret:
    """Parse a secret text; no message contains it."""
    if not isinstance(value, Secret):
        value = Secret(value)
    # An empty salt is more likely an unset variable than intended.
    if (
        not isinstance(value.get_secret_value(), str)
        or not value.get_secret_value().strip()
    ):
        raise ValueError("text that is not empty, and kept secret like a key")
    if not _is_encodable(value):
        raise ValueError("text in UTF-8, and kept secret like a key")
    return value


def _is_encodable(value: Secret) -> bool:
    try:
        value.get_secret_value().encode()
    except UnicodeEncodeError:  # from a variable whose bytes are not UTF-8
        return False
    return True


def parse_queue(value: object) -> QueueUrl | None:
    """Parse the URL of a queue; no message contains it."""
    from .queue_url import parse_queue_url

    if not isinstance(value, Secret):
        value = OpaqueSecret(value)
    if not value.get_secret_value():
        return None
    # Only wrapped values are local variables here, as in `parse_key`.
    url = parse_queue_url(value)
    if isinstance(url, str):
        raise ValueError(url)
    return url


def parse_datafile(value: object) -> Secret:
    """Wrap a datafile of any form, because it holds a key; it is read later."""
    return value if isinstance(value, Secret) else Secret(resolve_containers(value))


def resolve_containers(value: Any) -> Any:
    """Return *value* with the references of dictConfig in it resolved."""
    # dictConfig passes ConvertingDict, ConvertingList and ConvertingTuple. Their
    # items() and dict() still hold "cfg://..." and "ext://..."; only access by key or
    # index resolves them.
    if isinstance(value, dict):
        return {key: resolve_containers(value[key]) for key in value}
    if type(value).__name__ in ("ConvertingList", "ConvertingTuple"):
        return [resolve_containers(value[index]) for index in range(len(value))]
    return value
