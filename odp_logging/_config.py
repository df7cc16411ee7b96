"""All settings: from keywords, environment, datafile and defaults, checked once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import _readers as readers
from ._secret import Hidden, Secret
from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from ._event import OdpEvent
    from .stores._url import QueueUrl

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
    # A misspelt name may hold the key as well; its value is never shown.
    if api_key is not None:
        wrapped["api_key"] = _wrapped("api_key", api_key)
    return wrapped


def _wrapped(name: str, value: object) -> object:
    plain = name in _PLAIN_NAMES or name in _ALIASES
    if name == "api_host":  # where a key may stand by mistake
        plain = str(value).startswith("http")
    if plain or value is None or isinstance(value, Secret):
        return value
    if name == "queue_url":
        return Hidden(value)
    return Secret(readers.plain_copy(value))


class Destination(NamedTuple):
    """Where events go, and with which key."""

    api_key: Secret
    api_host: str

    @property
    def account(self) -> str:
        """Tells destinations apart in file names, without naming the key."""
        import hashlib  # 2 ms, for those who have a spool

        both = f"{self.api_host}\0{self.api_key.reveal()}"
        return hashlib.sha256(both.encode()).hexdigest()[:10]

    @property
    def place(self) -> str:
        """The address for people."""
        return self.api_host

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        if self.api_host in _HOSTS.values():
            return False  # without loading what takes a URL apart
        from urllib.parse import urlsplit

        return readers.is_loopback(urlsplit(self.api_host).hostname or "")


class _Setting:
    """One setting of a `Config`: its default, and what reads a value for it."""

    __slots__ = ("default", "name", "read")

    def __init__(self, default: Any, read: Callable[[object], Any]) -> None:
        self.default = default
        self.read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, config: Config | None, owner: type) -> Any:
        return self if config is None else config._given.get(self.name, self.default)


def _setting(default: Any, read: Callable[[object], Any]) -> Any:
    return _Setting(default, read)


class Config:
    """
    Every setting of a client; README has the table of what each means.

    No dataclass, as our other values are: `dataclasses` loads `inspect`, and takes a
    third of the time in which a handler is to be imported and configured.
    """

    __slots__ = ("_given", "_sources")
    _given: Mapping[str, Any]
    _sources: Mapping[str, str]

    api_key: Secret | None = _setting(None, readers.key)
    api_host: str | None = _setting(None, readers.host)
    datafile: Secret | None = _setting(None, readers.datafile)
    max_batch_size: int = _setting(100, readers.whole(1, MAX_BATCH))
    max_batch_bytes: int = _setting(1_000_000, readers.whole(1))
    flush_interval: float = _setting(1.0, readers.seconds)
    flush_level: int | None = _setting(None, readers.level)
    max_queue_size: int = _setting(10_000, readers.whole(1))
    max_queue_bytes: int = _setting(16 * 1024 * 1024, readers.whole(1))
    overflow: Literal["drop_oldest", "drop_newest", "block"] = _setting(
        "drop_oldest", readers.one_of("drop_oldest", "drop_newest", "block")
    )
    block_timeout: float = _setting(1.0, readers.seconds)
    timeout: float = _setting(10.0, readers.positive)
    max_retry_delay: float = _setting(60.0, readers.positive)
    shutdown_timeout: float = _setting(5.0, readers.seconds)
    handle_sigterm: bool = _setting(True, readers.yes_or_no)
    default_identifiers: Mapping[str, Any] = _setting(_NO_DATA, readers.mapping)
    default_data: Mapping[str, Any] = _setting(_NO_DATA, readers.mapping)
    before_send: Callable[[OdpEvent], OdpEvent | None] | None = _setting(
        None, readers.function
    )
    redact: frozenset[str] = _setting(frozenset(), readers.names)
    hash_identifiers: frozenset[str] = _setting(frozenset(), readers.names)
    hash_salt: Secret | None = _setting(None, readers.salt)
    on_delivery: Callable[..., Any] | None = _setting(None, readers.function)
    on_drop: Callable[..., Any] | None = _setting(None, readers.function)
    spool: Path | None = _setting(None, readers.path)
    durability: Literal["exit", "crash"] = _setting(
        "exit", readers.one_of("exit", "crash")
    )
    spool_max_bytes: int = _setting(256 * 1024 * 1024, readers.whole(1))
    queue_url: QueueUrl | None = _setting(None, readers.queue)
    background: bool = _setting(True, readers.yes_or_no)
    enabled: bool = _setting(True, readers.yes_or_no)

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - SETTINGS.keys():
            raise TypeError(f"no settings: {', '.join(sorted(unknown))}")
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_sources", _NO_DATA)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name!r} cannot be set: a Config never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} cannot be deleted: a Config never changes")

    def replaced(self, **changes: Any) -> Config:
        """Return the same settings but for *changes*."""
        return Config(**{**self._given, **changes}).tracing(self._sources)

    def tracing(self, sources: Mapping[str, str]) -> Config:
        """Return itself, having noted where each setting was found."""
        object.__setattr__(self, "_sources", sources)
        return self

    def source_of(self, name: str) -> str:
        """Return where the setting was found: a keyword, a variable, the datafile."""
        return self._sources.get(name, "the default")

    def destination(self) -> Destination | None:
        """Return where events go; None as long as there is no key."""
        if self.api_key is None:
            return None
        return Destination(self.api_key, self.api_host or host_of(self.api_key))

    def target(self) -> QueueUrl | Destination | None:
        """Return the queue, where there is one: its relays know the destination."""
        return self.queue_url or self.destination()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.api_key, self.api_host))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def __repr__(self) -> str:
        # Defaults for identifiers and data name people, and are counted only.
        shown = [
            f"{name}=<{len(value)}>"
            if isinstance(value, Mapping)
            else f"{name}={value!r}"
            for name, value in self._values().items()
        ]
        return f"Config({', '.join(shown)})"

    def __reduce__(self) -> Any:
        raise TypeError("a Config is not pickled; make a client where it is needed")


SETTINGS: Mapping[str, _Setting] = {
    name: each for name, each in vars(Config).items() if isinstance(each, _Setting)
}
"""By name, in the order of README's table."""


def host_of(api_key: Secret) -> str:
    """Return the host of the region that the suffix of a public key names."""
    # A private key is "public.secret": the region is in its first part.
    public = api_key.reveal().rpartition(".")[0] or api_key.reveal()
    return _HOSTS.get(public[-4:], _HOSTS[""])


_STRICT = frozenset(
    {"api_host", "before_send", "hash_identifiers", "hash_salt", "queue_url", "redact"}
)
"""By a slip in their variable, events would go elsewhere, or more of them than may."""

_SECRET_NAMES = {"api_key", "datafile", "hash_salt", "queue_url"}
_PLAIN_NAMES = SETTINGS.keys() - _SECRET_NAMES


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* without those that hold a key, a password or a secret."""
    kept = {name: settings[name] for name in settings if name not in _SECRET_NAMES}
    if settings.get("hash_salt") is not None:
        # To go without it would hash the same people in another way.
        kept["hash_salt"] = "${ODP_HASH_SALT}"
    return kept


def load(
    settings: Mapping[str, Any],
    *,
    warn: Callable[[str, str], object],
    environ: Mapping[str, str] = os.environ,
    ask_environment: bool = True,
) -> Config:
    """
    Return the configuration: a keyword beats the environment, that the datafile.

    Args:
        settings: The keywords as they were given.
        warn: Told, as kind and message, of environment values that are not used.
        environ: The environment.
        ask_environment: Whether settings are read from it, too.

    Raises:
        ConfigurationError: A keyword is unknown or has a value that cannot be used.
    """
    environ = _Unshown(environ)
    known = {name: each.read for name, each in SETTINGS.items()}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for given, value in _plain_dict(settings).items():
        name = _ALIASES.get(given, given)
        if name not in known:
            raise ConfigurationError(_unknown(given, [*known, *_ALIASES]))
        values[name] = _read(name, _expanded(name, value, environ), known[name])
        sources[name] = f"the keyword {given}="
    for name, read in known.items():
        variable = _variable_of(name, environ)
        if values.get(name) is not None or not variable or not ask_environment:
            continue
        # Wrapped as a keyword's, and nowhere in a name: a traceback may show locals.
        text = _wrapped(name, environ[variable])
        try:
            values[name] = _read(variable, _expanded(variable, text, environ), read)
            sources[name] = variable
        except ConfigurationError as error:
            if name in _STRICT:
                raise
            warn(f"environment:{variable}", f"{error}; the default is used")
    _add_datafile(values, sources, in_keywords="datafile" in settings, warn=warn)
    _check_region(values, warn)
    _check_durability(values)
    absent = [name for name, value in values.items() if value is None]
    for name in absent:
        del values[name]
    return Config(**values).tracing(sources)


class _Unshown(Mapping[str, str]):
    """An environment that a traceback with local variables does not show."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def _read(name: str, value: object, read: Callable[[object], Any]) -> Any:
    # Optional in YAML and in code alike: None means "not set".
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        shown = "" if read in _HIDING else f"={_short(value)}"
        if read is readers.host and not str(value).startswith("http"):
            shown = ""  # a key in the wrong place
        raise ConfigurationError(
            f"{name}{shown} cannot be used: expected {error}"
        ) from None


_HIDING = (readers.key, readers.datafile, readers.queue, readers.salt)


def _short(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f"<{type(value).__name__}>"
    text = repr(value)
    if "@" in text:  # a URL with a password, or an address
        return "…"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(name: object, known: list[str]) -> str:
    import difflib  # for the mistake alone

    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(known)}"
    return f'unknown setting "{name}"{hint}'


def _plain_dict(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: readers.plain_copy(settings[name]) for name in settings}


def _expanded(name: str, value: Any, environ: Mapping[str, str]) -> Any:
    """Return *value* with each ``${NAME}`` in it replaced by that variable."""
    if isinstance(value, dict):
        return {key: _expanded(name, item, environ) for key, item in value.items()}
    if isinstance(value, Secret):
        missing = _missing(value.reveal(), environ)
    else:
        missing = _missing(value, environ)
    if missing:
        raise ConfigurationError(
            f"{name} refers to ${{{missing}}}, which is not set; export {missing}, or"
            f" leave {name} out"
        )
    if isinstance(value, Secret):
        return type(value)(_filled(value.reveal(), environ))
    return _filled(value, environ)


_VARIABLE = r"\$\{(\w+)\}"


def _missing(value: object, environ: Mapping[str, str]) -> str | None:
    if not isinstance(value, str) or "${" not in value:
        return None
    names = re.findall(_VARIABLE, value)
    return next((name for name in names if name not in environ), None)


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if not isinstance(value, str) or "${" not in value:
        return value
    return re.sub(_VARIABLE, lambda match: environ[match[1]], value)


def _variable_of(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable that sets the setting *name*; None if it is not set."""
    names = _KEY_NAMES if name == "api_key" else (f"ODP_{name.upper()}",)
    return next((variable for variable in names if environ.get(variable)), None)


def _add_datafile(
    values: dict[str, Any],
    sources: dict[str, str],
    *,
    in_keywords: bool,
    warn: Callable[[str, str], object],
) -> None:
    if values.get("datafile") is None:
        return
    from ._datafile import read_datafile  # for those who have one

    try:
        found = read_datafile(values["datafile"])
        if found is None:
            return
        key = _read("publicKey in the datafile", found.api_key, readers.key)
        host = _read("host in the datafile", found.api_host, readers.host)
    except ConfigurationError as error:
        if in_keywords:
            raise
        warn("environment:ODP_DATAFILE", f"ODP_DATAFILE: {error}; it is not used")
        return
    if values.get("api_key") is None:
        values["api_key"] = key
        sources["api_key"] = f"the datafile of {sources['datafile']}"
    if values["api_key"] == key and values.get("api_host") is None:
        values["api_host"] = host
        sources["api_host"] = f"the datafile of {sources['datafile']}"


def _check_durability(values: Mapping[str, Any]) -> None:
    if values.get("durability") == "crash" and values.get("spool") is None:
        raise ConfigurationError(
            'durability="crash" needs a directory to write to; pass spool=DIR as well'
        )


def _check_region(
    values: Mapping[str, Any], warn: Callable[[str, str], object]
) -> None:
    key, host = values.get("api_key"), values.get("api_host")
    if key is None or host is None or host not in _HOSTS.values():
        return
    advice = region_advice(key, host)
    if advice:
        warn("region", "; ".join(advice))


def region_advice(api_key: Secret, api_host: str) -> tuple[str, str] | None:
    """Return what is wrong with the region, and what to do; None if nothing is."""
    right = host_of(api_key)
    if api_host == right or api_host not in _HOSTS.values():
        return None
    suffix = next((end for end, host in _HOSTS.items() if host == right), "")
    ending = f"ends with {suffix}" if suffix else "names no region"
    return (
        f"the key {ending}, but api_host is {api_host}, and events go there",
        f"{right} would be right: leave api_host out to follow the key",
    )


def named_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """
    Return what is odd about the environment's names for us, by variable.

    A name that no setting has is told with the nearest one that some setting has.
    """
    import difflib  # for those who ask

    known = [*_KEY_NAMES, *(f"ODP_{name.upper()}" for name in SETTINGS)]
    odd = {}
    for variable in sorted(environ):
        if variable in known:
            if not environ[variable].strip():
                odd[variable] = f"{variable} is set, but empty: it counts as not set"
        elif variable.upper().startswith("ODP_"):
            near = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            odd[variable] = f"{variable} is no setting{hint}"
    return odd
