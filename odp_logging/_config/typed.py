"""The settings as types: for type checkers, editors, `inspect.signature` and `help`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from os import PathLike
from typing import Annotated, Any, Literal, TypedDict

from .._events.event import OdpEvent


# Apart from `Config`, which has the values after parsing: here are the types that
# callers pass. Imported for `help` and signatures only.
class Settings(TypedDict, total=False):
    """
    The settings of `OdpHandler`, `OdpProcessor` and `OdpClient`, besides ``api_key``.

    Each can also be set in the environment, as ``ODP_`` and its name in capitals. A
    keyword overrides the environment, which overrides the datafile. Numbers and
    booleans may come as text at run time, as configuration files have them.
    """

    api_host: str | None
    """URL of the events API; by default that of the region in the key's suffix."""
    datafile: str | bytes | PathLike[str] | Mapping[str, Any] | None
    """An Optimizely datafile that names key and host: a path, JSON or a dict."""
    allow_http: bool
    """Allow ``http://`` for a host on another machine, which can read the events."""
    max_batch_size: Annotated[int, "events"]
    """Most events in one request; ODP accepts 500."""
    capacity: Annotated[int, "events"]
    """Another name of max_batch_size, as `logging.handlers.MemoryHandler` has it."""
    max_batch_bytes: Annotated[int, "bytes"]
    """Most bytes in one request."""
    max_parallel_requests: Annotated[int, "requests"]
    """Most requests at the same time."""
    flush_interval: Annotated[float, "seconds"]
    """Longest time an event waits to be batched."""
    flush_level: int | str | None
    """Records at this level or above are sent at once."""
    flushLevel: int | str | None
    """Another name of flush_level, as `logging.handlers.MemoryHandler` has it."""
    max_queue_size: Annotated[int, "events"]
    """Most events in the buffer; 0 for no limit but max_queue_bytes."""
    max_queue_bytes: Annotated[int, "bytes"]
    """Most bytes of events in the buffer."""
    backpressure: bool
    """Let a log call wait up to 50 ms while the buffer is nearly full."""
    overflow: Literal["drop_oldest", "drop_newest", "block"]
    """What happens when the buffer is full."""
    block_timeout: Annotated[float, "seconds"]
    """Longest time a log call waits for room with ``overflow="block"``."""
    timeout: Annotated[float, "seconds"]
    """Longest time of one request, its whole answer included."""
    max_retry_delay: Annotated[float, "seconds"]
    """Longest pause between attempts."""
    shutdown_timeout: Annotated[float, "seconds"]
    """Longest time the exit of the process waits while no event leaves."""
    shutdown_limit: Annotated[float, "seconds"]
    """Longest time the exit of the process waits in all."""
    handle_sigterm: bool
    """Deliver before an unhandled SIGTERM, SIGHUP or SIGQUIT ends the process."""
    default_identifiers: Mapping[str, Any] | str
    """Identifiers of events that do not have them: a dict or its JSON."""
    default_data: Mapping[str, Any] | str
    """Data of events that do not have it: a dict or its JSON."""
    before_send: Callable[[OdpEvent], OdpEvent | None] | str | None
    """Changes an event, or returns None to drop it: a function or its dotted name."""
    redact: Collection[str] | str
    """Names of data keys, at any depth; their values are replaced."""
    hash_identifiers: Collection[str] | str
    """Names of identifiers that are sent as SHA-256."""
    hash_salt: str | None
    """A secret: hashes are HMAC-SHA-256 with it as the key."""
    reject_placeholders: bool
    """Drop identifiers such as ``undefined`` or ``null``, which are reported anyway."""
    on_delivery: Callable[[Sequence[OdpEvent]], object] | str | None
    """Called with the events that ODP accepted: a function or its dotted name."""
    on_drop: Callable[[Sequence[OdpEvent], str], object] | str | None
    """Called with events that were dropped or rejected, and with the reason."""
    spool: str | PathLike[str] | None
    """Directory in which events outlive an outage and the process."""
    durability: Literal["exit", "crash"]
    """``crash``: each event is in the spool before its log call returns."""
    spool_max_bytes: Annotated[int, "bytes"]
    """Most bytes of events in the spool."""
    queue_url: str | None
    """A queue, such as ``redis://host`` or ``postgresql://host/database``, from which
    relays deliver the events."""
    outbox: Literal["django", "django-continue"] | None
    """``django``: events in an atomic block are part of its transaction."""
    background: bool
    """False: send within the log call, without a thread."""
    debug: bool
    """Write a line for each event that is captured, rejected, dropped or sent."""
    enabled: bool
    """False: do nothing."""


class SettingsWithKey(Settings, total=False):
    """The settings of `OdpProcessor`, whose first argument is not the key."""

    api_key: str | None
    """ODP's public key; by default of ODP_API_KEY or of the datafile."""
