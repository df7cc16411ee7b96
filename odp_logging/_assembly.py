"""A store, a transport and a flusher, put together from the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _books, _lifecycle
from ._config import Destination
from ._diagnostics import Diagnostics
from ._flusher import Flusher
from ._loading import loaded
from ._mapping import sized
from ._reports import Reports
from .exceptions import ConfigurationError, InvalidEventError
from .stores._base import Invalid
from .stores._buffer import Buffer, origin_of
from .stores._intake import SHUT, Direct, Intake
from .transports._late import Late

if TYPE_CHECKING:
    from ._config import Config
    from ._event import OdpEvent
    from ._privacy import Privacy
    from .stores._base import Shelter, Store
    from .stores._buffer import Overflow
    from .stores._shared import Shared
    from .stores._spool import Spool
    from .stores._url import QueueUrl
    from .transports._base import Transport

    _Target = QueueUrl | Destination
    _BeforeSend = Callable[[OdpEvent], OdpEvent | None]


def new_flusher(
    config: Config, destination: _Target | None, diagnostics: Diagnostics
) -> Flusher:
    """
    Return a flusher to *destination*, registered for the end of the process.

    With a spool, the one it has `beyond` moves on what is on disk.
    """
    # Of both: an event put within a callback of either is refused.
    busy: set[int] = set()
    bounds = (
        f" ({config.max_queue_size} events or {config.max_queue_bytes} bytes,"
        f' overflow="{config.overflow}")'
    )
    mine, reports = [
        Reports(diagnostics, config.on_delivery, config.on_drop, busy, bounds=bounds)
        for _ in range(2)
    ]
    spool = _new_spool(config, destination, reports)
    intake = Intake(busy)
    flusher = _flusher(config, _new_buffer(config, spool, mine, intake), mine, intake)
    _books.enter(flusher)
    _lifecycle.register(flusher)
    if spool is not None:
        flusher.beyond = _flusher(config, spool, reports)
        _lifecycle.register(flusher.beyond)
    if spool is not None or not config.background:
        # A log call may have to make an event, or to send it: it must not import
        # anything, with a signal handler or a fork in the middle.
        flusher.load()
        if flusher.beyond is not None:
            flusher.beyond.load()
    if destination is not None:
        connect(flusher, config, destination)
    return flusher


def connect(flusher: Flusher, config: Config, destination: _Target) -> None:
    """Have *flusher*, which had no destination, send to *destination*."""
    way = _late(config, destination)
    beyond = flusher.beyond
    if beyond is None:
        flusher.connect(way)
        return
    from .transports._fallback import Fallback

    spool: Any = beyond.store
    spool.belong_to(destination.account)
    beyond.connect(_late(config, destination))
    flusher.connect(
        Fallback(way, spool, is_pressed=flusher.store.is_pressed, on_kept=beyond.wake)
    )
    # What earlier processes left need not wait for an event of this one.
    if config.background and config.enabled and spool.has_leftovers():
        beyond.wake()


def intake_of(flusher: Flusher, config: Config, put: Callable[[Any], object]) -> Intake:
    """
    Return where log calls may leave events by themselves; `SHUT` if they may not.

    Args:
        put: Takes what a log call captured where it must not rest.
    """
    if not config.enabled or config.redact or not flusher.has_destination():
        return SHUT
    if config.durability == "crash" or _waits(config):
        return Direct(put, flusher.intake.busy)
    return flusher.intake


def builder_of(config: Config) -> Callable[[Any], OdpEvent | None]:
    """Return what makes events by the settings of *config*, of what was captured."""
    return _LateBuilder(config, config.before_send)


def privacy_of(config: Config) -> Privacy | None:
    """Return what keeps the settings on privacy; None if there are none."""
    if not config.redact and not config.hash_identifiers:
        return None
    from ._privacy import Privacy  # 2 ms, for those who ask for it

    return Privacy(config.redact, config.hash_identifiers, config.hash_salt)


def make_now(
    config: Config, reports: Reports, logged: Any
) -> OdpEvent | Invalid | None:
    """
    Return the event of what was *logged*, or why there is none; None if left out.

    On the thread of the log call, and without what sending takes: for tests.
    """
    from ._making import Builder

    build = Builder(**_building(config), before_send=_guarded(config, reports))
    try:
        return build(logged)
    except InvalidEventError as error:
        return Invalid(error.reason, str(error), origin_of(logged))
    except Exception as error:  # before_send is the application's code
        message = f"making it raised {type(error).__name__}"
        return Invalid("not_buildable", message, origin_of(logged))


def _building(config: Config) -> dict[str, Any]:
    return {
        "default_identifiers": config.default_identifiers,
        "default_data": config.default_data,
        "redact": config.redact,
        "privacy": privacy_of(config),
    }


def _waits(config: Config) -> bool:
    # Without a thread, nobody makes room while a put waits for it.
    return config.overflow == "block" and config.background


def _flusher(
    config: Config, store: Store, reports: Reports, intake: Intake | None = None
) -> Flusher:
    return Flusher(
        store,
        None,
        batch_size=config.max_batch_size,
        interval=config.flush_interval,
        background=config.background,
        shutdown_timeout=config.shutdown_timeout,
        on_entering=_enter,
        reports=reports,
        on_starting=_lifecycle.await_configuration,
        on_loading=loaded,
        intake=intake,
    )


def _enter(flusher: Flusher) -> None:
    # Once more: a closed client is not held for the end of the process.
    _lifecycle.register(flusher)
    _lifecycle.enter_process()
    if flusher.beyond is not None:
        flusher.beyond.wake()


def _new_buffer(
    config: Config, shelter: Shelter | None, reports: Reports, intake: Intake
) -> Buffer:
    return Buffer(
        _LateBuilder(config, _guarded(config, reports)),
        sized=sized,
        show=_LateBuilder(config),
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
        max_size=config.max_queue_size,
        max_bytes=config.max_queue_bytes,
        overflow=config.overflow
        if _waits(config)
        else _without_waiting(config.overflow),
        block_timeout=config.block_timeout,
        keep_dropped=config.on_drop is not None,
        shelter=shelter,
        intake=intake,
    )


def _new_spool(
    config: Config, destination: _Target | None, reports: Reports
) -> Spool | None:
    if config.spool is None:
        return None
    # Imported here: SQLite and file locks are for those who use them.
    try:
        from .stores._directory import UNKNOWN
        from .stores._spool import Spool
    except ImportError as error:
        raise ConfigurationError(
            f"spool= needs the modules sqlite3 and fcntl, and this Python has no"
            f" {error.name}; leave spool out, or use a Python that has it"
        ) from None

    return Spool(
        config.spool,
        account=destination.account if destination else UNKNOWN,
        build=_LateBuilder(config, _guarded(config, reports)),
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
        max_bytes=config.spool_max_bytes,
        keep_dropped=config.on_drop is not None,
        warn=reports.diagnostics.warn,
    )


def _guarded(config: Config, reports: Reports) -> _BeforeSend | None:
    """Return before_send for any thread: what it logs must not recur."""
    before_send = config.before_send
    if before_send is None:
        return None

    def guarded(event: OdpEvent) -> OdpEvent | None:
        with reports.foreign_code():
            return before_send(event)

    return guarded


class _LateBuilder:
    """Makes events of what was logged; what that takes is imported for the first."""

    def __init__(self, config: Config, before_send: _BeforeSend | None = None) -> None:
        self._settings: dict[str, Any] = {
            **_building(config),
            "before_send": before_send,
        }
        self._build: Callable[..., OdpEvent | None] | None = None

    def __call__(self, logged: Any, event_id: str | None = None) -> OdpEvent | None:
        if self._build is None:
            self._build = loaded().Builder(**self._settings)
        return self._build(logged, event_id)


def _without_waiting(overflow: Overflow) -> Overflow:
    return "drop_newest" if overflow == "block" else overflow


def _late(config: Config, destination: _Target) -> Transport:
    if isinstance(destination, Destination):
        return Late(partial(retried_http, config, destination))
    from .stores._url import engine_of

    try:
        store = engine_of(destination)(destination)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"queue_url cannot be used: {error}") from None
    return Late(partial(_retried_handoff, config, store))


def _retried_handoff(config: Config, store: Shared) -> Transport:
    from .transports._handoff import Handoff

    queue = Handoff(store)
    return loaded().Retry(queue, max_delay=config.max_retry_delay)


def retried_http(config: Config, destination: Destination) -> Transport:
    """Return what sends to *destination*."""
    http = loaded().Http(
        destination.api_host,
        destination.api_key,
        timeout=config.timeout,
        direct=destination.is_loopback,
    )
    return loaded().Retry(http, max_delay=config.max_retry_delay)
