"""All settings: from keywords, environment, datafile and defaults, checked once."""

from __future__ import annotations

import difflib
import importlib
import ipaddress
import json
import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from ._datafile import read_datafile
from ._event import OdpEvent
from ._plain import freeze_mapping
from ._secret import Secret
from .exceptions import ConfigurationError

MAX_BATCH = 500
"""Events ODP takes in one request (ODP developer docs, "Batch requests")."""

_HOSTS = {
    "-eu1": "https://api.eu1.odp.optimizely.com",
    "-au1": "https://api.au1.odp.optimizely.com",
    "": "https://api.zaius.com",
}
"""By the suffix of the public key, as in ODP's Node SDK."""

_KEY_NAMES = ("ODP_API_KEY", "ODP_SDK_API_KEY", "ZAIUS_SDK_API_KEY")
_ALIASES = {"flushLevel": "flush_level", "capacity": "max_batch_size"}

_NO_DATA: Mapping[str, Any] = MappingProxyType({})


def sealed(api_key: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *settings* with *api_key*, those that hold a key wrapped.

    To be called first where keywords arrive, and to replace them: a traceback that
    shows local variables must not show a key.
    """
    wrapped = {name: _wrapped(name, settings[name]) for name in settings}
    if api_key is not None:
        wrapped["api_key"] = _wrapped("api_key", api_key)
    return wrapped


def _wrapped(name: str, value: object) -> object:
    if name in ("api_key", "datafile") and not isinstance(value, Secret):
        return None if value is None else Secret(value)
    return value


@dataclass(frozen=True, slots=True)
class Destination:
    """Where events go, and with which key."""

    api_key: Secret
    api_host: str

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        return _is_loopback(urlsplit(self.api_host).hostname or "")


# Readers: one for each kind of setting. Each returns the value or raises ValueError
# with what would be right.


def _whole(least: int, most: int | None = None) -> Callable[[object], int]:
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


def _seconds(value: object) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        seconds = float(value)  # type: ignore[arg-type]
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError("seconds, 0 or more, for example 2.5") from None
    return seconds


def _positive(value: object) -> float:
    try:
        seconds = _seconds(value)
        if seconds == 0:
            raise ValueError
    except ValueError:
        raise ValueError("seconds, more than 0, for example 2.5") from None
    return seconds


def _yes_or_no(value: object) -> bool:
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


def _level(value: object) -> int | None:
    if value is None or type(value) is int:
        return value
    if isinstance(value, str):
        if value.strip().isdigit():
            return int(value)
        level = logging.getLevelName(value.strip().upper())
        if isinstance(level, int):
            return level
    raise ValueError("a level's name or number, for example ERROR or 40")


def _one_of(*names: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(" or ".join(names))

    return read


def _mapping(value: object) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    try:
        return MappingProxyType(freeze_mapping(value))
    except (TypeError, ValueError):
        raise ValueError('a dict or its JSON, for example {"plan": "pro"}') from None


def _names(value: object) -> frozenset[str]:
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) for name in value
    ):
        return frozenset(value)
    raise ValueError('names of data keys, for example ["card_number"]')


def _function(value: object) -> Callable[..., Any] | None:
    if value is None or callable(value):
        return value
    if isinstance(value, str) and "." in value:
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


def _host(value: object) -> str | None:
    if value is None or value == "":
        return None
    good = "a URL such as https://api.zaius.com"
    if not isinstance(value, str):
        raise ValueError(good)
    try:
        parts = urlsplit(value.strip())
        name, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(good) from None
    odd = parts.username is not None or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not name or odd:
        raise ValueError(good)
    if re.search(r"[\x00-\x20\x7f-\uffff]", value.strip()):
        raise ValueError(good)
    if parts.scheme == "http" and not _is_loopback(name):
        raise ValueError(
            f"{good}: plain http would show the key to the network, and is allowed only"
            " for loopback hosts such as http://127.0.0.1:8181"
        )
    return value.strip().rstrip("/")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _key(value: object) -> Secret | None:
    """Read an API key; the messages never hold it."""
    if not isinstance(value, Secret):
        value = Secret(value)
    if not value.reveal():
        return None
    # Nothing but the wrapped key is a local variable here: tracebacks show those.
    if not isinstance(value.reveal(), str):
        raise ValueError("text, the public key from ODP's Account Settings > APIs")
    if not re.fullmatch(r"[\x21-\x7e]+", value.reveal()):
        raise ValueError(
            "printable ASCII without blanks; copy the public key again from ODP's"
            " Account Settings > APIs"
        )
    return value


def _sealed_datafile(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_plain_copy(value))


def _setting(default: Any, read: Callable[[object], Any]) -> Any:
    # A factory, for Python 3.10 and 3.11 take a mappingproxy for a mutable default.
    return field(default_factory=lambda: default, metadata={"read": read})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of a client; README has the table of what each means."""

    api_key: Secret | None = _setting(None, _key)
    api_host: str | None = _setting(None, _host)
    datafile: Secret | None = _setting(None, _sealed_datafile)
    max_batch_size: int = _setting(100, _whole(1, MAX_BATCH))
    max_batch_bytes: int = _setting(1_000_000, _whole(1))
    flush_interval: float = _setting(1.0, _seconds)
    flush_level: int | None = _setting(None, _level)
    max_queue_size: int = _setting(10_000, _whole(1))
    max_queue_bytes: int = _setting(16 * 1024 * 1024, _whole(1))
    overflow: Literal["drop_oldest", "drop_newest", "block"] = _setting(
        "drop_oldest", _one_of("drop_oldest", "drop_newest", "block")
    )
    block_timeout: float = _setting(1.0, _seconds)
    timeout: float = _setting(10.0, _positive)
    max_retry_delay: float = _setting(60.0, _positive)
    shutdown_timeout: float = _setting(5.0, _seconds)
    handle_sigterm: bool = _setting(True, _yes_or_no)
    default_identifiers: Mapping[str, Any] = _setting(_NO_DATA, _mapping)
    default_data: Mapping[str, Any] = _setting(_NO_DATA, _mapping)
    before_send: Callable[[OdpEvent], OdpEvent | None] | None = _setting(
        None, _function
    )
    redact: frozenset[str] = _setting(frozenset(), _names)
    on_delivery: Callable[..., Any] | None = _setting(None, _function)
    on_drop: Callable[..., Any] | None = _setting(None, _function)
    background: bool = _setting(True, _yes_or_no)
    enabled: bool = _setting(True, _yes_or_no)

    def destination(self) -> Destination | None:
        """Return where events go; None as long as there is no key."""
        if self.api_key is None:
            return None
        return Destination(self.api_key, self.api_host or host_of(self.api_key))

    def __reduce__(self) -> Any:
        raise TypeError("a Config is not pickled; make a client where it is needed")


def host_of(api_key: Secret) -> str:
    """Return the host of the region that the suffix of a public key names."""
    # A private key is "public.secret": the region is in its first part.
    public = api_key.reveal().rpartition(".")[0] or api_key.reveal()
    return _HOSTS.get(public[-4:], _HOSTS[""])


def load(
    settings: Mapping[str, Any],
    *,
    warn: Callable[[str, str], object],
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """
    Return the configuration: a keyword beats the environment, that the datafile.

    Args:
        settings: The keywords as they were given.
        warn: Told, as kind and message, of environment values that are not used.
        environ: The environment.

    Raises:
        ConfigurationError: A keyword is unknown or has a value that cannot be used.
    """
    readers = {each.name: each.metadata["read"] for each in fields(Config)}
    values: dict[str, Any] = {}
    for given, value in _plain_dict(settings).items():
        name = _ALIASES.get(given, given)
        if name not in readers:
            raise ConfigurationError(_unknown(given, [*readers, *_ALIASES]))
        values[name] = _read(name, _expanded(name, value, environ), readers[name])
    for name, read in readers.items():
        variable, text = _from_environment(name, environ)
        if values.get(name) is not None or not text:
            continue
        try:
            values[name] = _read(variable, text, read)
        except ConfigurationError as error:
            warn(f"environment:{variable}", f"{error}; the default is used")
    _add_datafile(values, in_keywords="datafile" in settings, warn=warn)
    _check_region(values, warn)
    absent = [name for name, value in values.items() if value is None]
    for name in absent:
        del values[name]
    return Config(**values)


def _read(name: str, value: object, read: Callable[[object], Any]) -> Any:
    # Optional in YAML and in code alike: None means "not set".
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        shown = "" if read in (_key, _sealed_datafile) else f"={_short(value)}"
        raise ConfigurationError(
            f"{name}{shown} cannot be used: expected {error}"
        ) from None


def _short(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f"<{type(value).__name__}>"
    text = repr(value)
    if "@" in text:  # a URL with a password, or an address
        return "…"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(known)}"
    return f'unknown setting "{name}"{hint}'


def _plain_dict(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_copy(settings[name]) for name in settings}


def _plain_copy(value: Any) -> Any:
    # dictConfig hands over ConvertingDict and its kin, whose items() and dict() still
    # hold "cfg://..." and "ext://..."; only access by key resolves them.
    if isinstance(value, dict):
        return {key: _plain_copy(value[key]) for key in value}
    if type(value).__name__ in ("ConvertingList", "ConvertingTuple"):
        return [_plain_copy(value[place]) for place in range(len(value))]
    return value


def _expanded(name: str, value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(name, item, environ) for key, item in value.items()}
    if isinstance(value, Secret):
        return Secret(_expanded(name, value.reveal(), environ))
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        variable = match[1]
        if variable not in environ:
            raise ConfigurationError(
                f"{name} refers to ${{{variable}}}, which is not set; export"
                f" {variable}, or leave {name} out"
            )
        return environ[variable]

    return re.sub(r"\$\{(\w+)\}", replace, value)


def _from_environment(name: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    names = _KEY_NAMES if name == "api_key" else (f"ODP_{name.upper()}",)
    for variable in names:
        if environ.get(variable):
            return variable, environ[variable]
    return names[0], None


def _add_datafile(
    values: dict[str, Any], *, in_keywords: bool, warn: Callable[[str, str], object]
) -> None:
    if values.get("datafile") is None:
        return
    try:
        found = read_datafile(values["datafile"])
        if found is None:
            return
        key = _read("publicKey in the datafile", found.api_key, _key)
        host = _read("host in the datafile", found.api_host, _host)
    except ConfigurationError as error:
        if in_keywords:
            raise
        warn("environment:ODP_DATAFILE", f"ODP_DATAFILE: {error}; it is not used")
        return
    if values.get("api_key") is None:
        values["api_key"] = key
    if values["api_key"] == key and values.get("api_host") is None:
        values["api_host"] = host


def _check_region(
    values: Mapping[str, Any], warn: Callable[[str, str], object]
) -> None:
    key, host = values.get("api_key"), values.get("api_host")
    if key is None or host is None or host not in _HOSTS.values():
        return
    right = host_of(key)
    if host != right:
        warn(
            "region",
            f"the key's suffix belongs to {right}, but api_host is {host}; leave"
            " api_host out to follow the key",
        )
