"""
The table of settings: their names, defaults and parsers, and the `Config` of a client.

`load` finds the values; every other part of the package reads a `Config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from .._runtime.secret import Secret
from . import parsers
from .destination import Destination, derive_api_host

if TYPE_CHECKING:
    from pathlib import Path

    from .._events.event import OdpEvent
    from .queue_url import QueueUrl

MAX_BATCH = 500
"""Events that ODP accepts in one request (ODP developer docs, "Batch requests")."""

ALIASES = {"flushLevel": "flush_level", "capacity": "max_batch_size"}
"""The names that `logging.handlers.MemoryHandler` has for the same settings."""

_NO_DATA: Mapping[str, Any] = MappingProxyType({})


class _Setting:
    """One setting of a `Config`: its default, and the parser of its value."""

    __slots__ = ("default", "name", "parse")

    def __init__(self, default: Any, parse: Callable[[object], Any]) -> None:
        self.default = default
        self.parse = parse

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, config: Config | None, owner: type) -> Any:
        return self if config is None else config._given.get(self.name, self.default)


# A function with the result Any: so each attribute below can have its value's type.
def _setting(default: Any, parse: Callable[[object], Any]) -> Any:
    return _Setting(default, parse)


class Config:
    """
    Every setting of a client; the page of settings says what each one means.

    Not a dataclass, unlike the other values: `dataclasses` imports `inspect`, which
    takes a third of the time of importing the package and building a handler.
    """

    __slots__ = ("_given", "_sources")
    _given: Mapping[str, Any]
    _sources: Mapping[str, str]

    api_key: Secret | None = _setting(None, parsers.parse_key)
    api_host: str | None = _setting(None, parsers.parse_host)
    datafile: Secret | None = _setting(None, parsers.parse_datafile)
    allow_http: bool = _setting(False, parsers.parse_bool)
    max_batch_size: int = _setting(MAX_BATCH, parsers.make_int_parser(1, MAX_BATCH))
    # ODP documents no limit of bytes. Its gateway seems to be AWS's, which allows 10
    # MB.
    max_batch_bytes: int = _setting(1_000_000, parsers.make_int_parser(1))
    max_parallel_requests: int = _setting(4, parsers.make_int_parser(1, 16))
    flush_interval: float = _setting(1.0, parsers.parse_seconds)
    flush_level: int | None = _setting(None, parsers.parse_level)
    max_queue_size: int = _setting(0, parsers.make_int_parser(0))
    max_queue_bytes: int = _setting(64 * 1024 * 1024, parsers.make_int_parser(1))
    backpressure: bool = _setting(True, parsers.parse_bool)
    overflow: Literal["drop_oldest", "drop_newest", "block"] = _setting(
        "drop_oldest", parsers.make_choice_parser("drop_oldest", "drop_newest", "block")
    )
    block_timeout: float = _setting(1.0, parsers.parse_seconds)
    timeout: float = _setting(10.0, parsers.parse_positive_seconds)
    max_retry_delay: float = _setting(60.0, parsers.parse_positive_seconds)
    shutdown_timeout: float = _setting(5.0, parsers.parse_seconds)
    shutdown_limit: float = _setting(60.0, parsers.parse_seconds)
    handle_sigterm: bool = _setting(True, parsers.parse_bool)
    default_identifiers: Mapping[str, Any] = _setting(_NO_DATA, parsers.parse_mapping)
    default_data: Mapping[str, Any] = _setting(_NO_DATA, parsers.parse_mapping)
    before_send: Callable[[OdpEvent], OdpEvent | None] | None = _setting(
        None, parsers.parse_function
    )
    redact: frozenset[str] = _setting(frozenset(), parsers.parse_names)
    hash_identifiers: frozenset[str] = _setting(frozenset(), parsers.parse_names)
    hash_salt: Secret | None = _setting(None, parsers.parse_salt)
    reject_placeholders: bool = _setting(False, parsers.parse_bool)
    on_delivery: Callable[..., Any] | None = _setting(None, parsers.parse_function)
    on_drop: Callable[..., Any] | None = _setting(None, parsers.parse_function)
    spool: Path | None = _setting(None, parsers.parse_path)
    durability: Literal["exit", "crash"] = _setting(
        "exit", parsers.make_choice_parser("exit", "crash")
    )
    spool_max_bytes: int = _setting(256 * 1024 * 1024, parsers.make_int_parser(1))
    queue_url: QueueUrl | None = _setting(None, parsers.parse_queue)
    outbox: Literal["django", "django-continue"] | None = _setting(
        None, parsers.make_choice_parser("django", "django-continue")
    )
    background: bool = _setting(True, parsers.parse_bool)
    debug: bool = _setting(False, parsers.parse_bool)
    enabled: bool = _setting(True, parsers.parse_bool)

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - SETTINGS.keys():
            raise TypeError(f"no settings: {', '.join(sorted(unknown))}")
        # __setattr__ of this class refuses every assignment.
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_sources", _NO_DATA)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name!r} cannot be set: a Config never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} cannot be deleted: a Config never changes")

    def copy_with(self, **changes: Any) -> Config:
        """Return a copy with *changes* applied."""
        return Config(**{**self._given, **changes}).record_sources(self._sources)

    def record_sources(self, sources: Mapping[str, str]) -> Config:
        """Keep where each setting was found, for `find_source`; return this object."""
        object.__setattr__(self, "_sources", sources)
        return self

    def find_source(self, name: str) -> str:
        """Return where the setting *name* was found, such as ``ODP_SPOOL``."""
        return self._sources.get(name, "the default")

    def destination(self) -> Destination | None:
        """Return host and key that events are sent with; None without a key."""
        if self.api_key is None:
            return None
        return Destination(self.api_key, self.api_host or derive_api_host(self.api_key))

    @property
    def queue_bound(self) -> str:
        """The limit of the buffer, for messages."""
        size = parsers.format_bytes(self.max_queue_bytes)
        if not self.max_queue_size:
            return f"{size} of events"
        return f"{self.max_queue_size} events or {size}"

    def target(self) -> QueueUrl | Destination | None:
        """Return the queue if there is one, else the destination."""
        return self.queue_url or self.destination()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._values() == other._values()

    def __hash__(self) -> int:
        # Other settings may hold values that have no hash, such as dicts.
        return hash((self.api_key, self.api_host))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def __repr__(self) -> str:
        # Only counted: default identifiers and data hold personal data.
        shown = [
            f"{name}=<{len(value)}>"
            if isinstance(value, Mapping)
            else f"{name}={value!r}"
            for name, value in self._values().items()
        ]
        return f"Config({', '.join(shown)})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Config is not pickled; build a client in the process that needs it"
        )


SETTINGS: Mapping[str, _Setting] = {
    name: setting
    for name, setting in vars(Config).items()
    if isinstance(setting, _Setting)
}
"""Every setting by its name, in the order of the page of settings."""
