"""Build the pipeline of a client from its settings: store, transport and flusher.

`client` calls this when it is built and when its destination changes. `builders` has
what builds its events.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .._capture import interception
from .._capture.before_send import check_before_send
from .._capture.capture import complete_capture
from .._config.checks import warn_of_mistakes
from .._config.destination import Destination
from .._config.parsers import format_bytes
from .._flusher.feeding import feed_emulator
from .._flusher.flusher import Flusher
from .._flusher.loading import can_load_now, load_http, load_sending_modules
from .._flusher.reports import Reports
from .._flusher.senders import build_http_sender, build_queue_sender
from .._runtime import shutdown
from .._runtime.diagnostics import Diagnostics
from .._runtime.hooks import enter_process
from .._runtime.logging_lock import wait_for_configuration
from .._runtime.signals import reinstall_signal_handlers
from .._stores.buffer import Buffer
from .._stores.inbox import DISABLED_INBOX, Inbox
from ..exceptions import ConfigurationError
from . import totals as _totals
from .builders import LazyBuilder, build_reporting_builder

if TYPE_CHECKING:
    from .._config.queue_url import QueueUrl
    from .._config.settings import Config
    from .._stores.base import BaseStore, OverflowStore
    from .._stores.spool.store import Spool
    from .._transports.base import BaseTransport
    from .._transports.fallback import Fallback

    _Target = QueueUrl | Destination


def warn_of_settings(config: Config, diagnostics: Diagnostics) -> None:
    """Warn of settings that are valid, and are likely mistakes."""
    warn_of_mistakes(config, diagnostics.warn)
    if config.before_send is not None:
        check_before_send(config.before_send, diagnostics.warn)


def build_flusher(
    config: Config, destination: _Target | None, diagnostics: Diagnostics
) -> Flusher:
    """
    Return a flusher to *destination*, registered to be drained at exit.

    With a spool, its `spool_flusher` is the flusher that sends what is on disk.
    """
    # Shared by both flushers: an event put in a callback of either one is rejected.
    callback_threads: set[int] = set()
    size = f"max_queue_size={config.max_queue_size}, " if config.max_queue_size else ""
    memory = f"max_queue_bytes={format_bytes(config.max_queue_bytes)}"
    bounds = f' ({size}{memory}, overflow="{config.overflow}")'
    kind = _choose_reports(config)
    # One for each flusher: both count what they have reported.
    reports, spool_reports = [
        kind(
            diagnostics,
            config.on_delivery,
            config.on_drop,
            callback_threads,
            bounds=bounds,
        )
        for _ in range(2)
    ]
    spool = _build_spool(config, destination, spool_reports)
    inbox = Inbox(callback_threads)
    buffer = _build_buffer(config, spool, reports, inbox)
    flusher = _build_flusher(config, buffer, reports, inbox)
    _totals.register_flusher(flusher)
    shutdown.register(flusher)
    if spool is not None:
        flusher.spool_flusher = _build_flusher(config, spool, spool_reports)
        shutdown.register(flusher.spool_flusher)
    if spool is not None or not config.background:
        # Log calls may build or send events here. They must not import anything then: a
        # signal handler or a fork in the middle of an import can deadlock.
        _load(flusher)
    if destination is not None:
        connect(flusher, config, destination)
    return flusher


def _choose_reports(config: Config) -> type[Reports]:
    if not config.debug:
        return Reports
    from .._flusher.debug import DebugReports

    return DebugReports


def connect(flusher: Flusher, config: Config, destination: _Target) -> None:
    """Give *flusher*, which had no destination, a transport to *destination*."""
    # False in a test that takes the events or blocks the network.
    intercepted = interception.find_interceptors(destination.display_url)
    is_sending = config.enabled and not intercepted
    if is_sending and can_load_now():
        _load(flusher)
        if isinstance(destination, Destination):
            try:
                load_http()
            except ImportError:
                pass  # a Python without ssl, perhaps: the sending thread reports it
    if is_sending and config.background and isinstance(destination, Destination):
        feed_emulator(flusher, destination)
    warn = flusher.reports.diagnostics.warn
    choose_sender = partial(_choose_sender, config, destination, warn)
    build_sender = choose_sender(lanes=_get_max_requests(config))
    flusher.reports.destination_url = destination.display_url
    spool_flusher = flusher.spool_flusher
    if spool_flusher is None:
        flusher.connect(build_sender)
        return
    spool: Any = spool_flusher.store
    spool.change_account(destination.fingerprint)
    spool_flusher.reports.destination_url = destination.display_url
    spool_flusher.connect(choose_sender())
    # Imported now: the sending thread imports nothing, and may not be allowed to read
    # the file any more.
    from .._transports.fallback import Fallback

    flusher.connect(
        partial(
            _build_fallback,
            Fallback,
            build_sender,
            spool,
            is_nearly_full=flusher.store.is_nearly_full,
            on_spooled=spool_flusher.wake,
        )
    )
    # Events of earlier processes are sent now, without waiting for a new event.
    if config.background and config.enabled and spool.has_orphaned_files():
        spool_flusher.wake()


def _load(flusher: Flusher) -> None:
    flusher.load()
    if flusher.spool_flusher is not None:
        flusher.spool_flusher.load()


def choose_inbox(flusher: Flusher, config: Config) -> Inbox:
    """Return the inbox for log calls, `DISABLED_INBOX` if they must not use one."""
    # redact: `OdpClient._put` replaces values in the log call, before they are kept.
    # debug: `Router.put` reports each event.
    if (
        not config.enabled
        or config.redact
        or config.debug
        or not flusher.has_destination()
    ):
        return DISABLED_INBOX
    if config.durability == "crash" or config.outbox or _can_wait(config):
        return Inbox(flusher.inbox.callback_threads, is_bypassed=True)
    return flusher.inbox


def _can_wait(config: Config) -> bool:
    # Without a thread, a put that waits would wait in vain: nothing makes room.
    return config.overflow == "block" and config.background


def _build_flusher(
    config: Config, store: BaseStore, reports: Reports, inbox: Inbox | None = None
) -> Flusher:
    return Flusher(
        store,
        None,
        batch_size=config.max_batch_size,
        interval=config.flush_interval,
        max_requests=_get_max_requests(config),
        background=config.background,
        shutdown_timeout=config.shutdown_timeout,
        shutdown_limit=config.shutdown_limit,
        on_start=_enter,
        on_wake=reinstall_signal_handlers,
        reports=reports,
        on_thread_start=wait_for_configuration,
        load_modules=load_sending_modules,
        inbox=inbox,
    )


def _enter(flusher: Flusher) -> None:
    # Registered again: closing a client removes it from those drained at exit.
    shutdown.register(flusher)
    enter_process()
    if flusher.spool_flusher is not None:
        flusher.spool_flusher.wake()


def _build_buffer(
    config: Config, overflow_store: OverflowStore | None, reports: Reports, inbox: Inbox
) -> Buffer:
    settings: dict[str, Any] = {}
    make: Callable[..., Buffer] = Buffer
    if _can_wait(config):
        from .._stores.blocking import BlockingBuffer

        make = BlockingBuffer
        settings["block_timeout"] = config.block_timeout
    else:
        is_oldest = config.overflow == "drop_oldest"
        settings["overflow"] = "drop_oldest" if is_oldest else "drop_newest"
    builder = build_reporting_builder(config, reports)
    return make(
        builder,
        encode_batch=builder.encode_batch,
        complete_capture=complete_capture,
        show=LazyBuilder(config),
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
        max_size=config.max_queue_size,
        max_bytes=config.max_queue_bytes,
        keep_dropped=reports.should_keep_drops(),
        overflow_store=overflow_store,
        inbox=inbox,
        **settings,
    )


def _build_spool(
    config: Config, destination: _Target | None, reports: Reports
) -> Spool | None:
    if config.spool is None:
        return None
    # Imported here: only a spool needs SQLite and file locks.
    try:
        from .._stores.spool.directory import UNKNOWN
        from .._stores.spool.store import Spool
        from .._stores.spool.warnings import warn_if_not_writable
    except ImportError as error:
        raise ConfigurationError(
            f"spool= needs the modules sqlite3 and fcntl, and this Python has no"
            f" {error.name}; leave spool out, or use a Python that has it"
        ) from None

    spool = Spool(
        config.spool,
        account=destination.fingerprint if destination else UNKNOWN,
        build=build_reporting_builder(config, reports),
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
        max_bytes=config.spool_max_bytes,
        keep_dropped=reports.should_keep_drops(),
        warn=reports.diagnostics.warn,
    )
    if config.enabled:
        warn_if_not_writable(config.spool, reports.diagnostics.warn)
    return spool


def _get_max_requests(config: Config) -> int:
    # One without a thread, since a log call starts none; and to a queue, whose engine
    # one thread at a time uses.
    is_direct = config.background and config.queue_url is None
    return config.max_parallel_requests if is_direct else 1


def _choose_sender(
    config: Config,
    destination: _Target,
    warn: Callable[[str, str], object],
    *,
    lanes: int = 1,
) -> Callable[[], BaseTransport]:
    """
    Return what builds the transport to *destination*, on the sending thread.

    Raises:
        ConfigurationError: The queue cannot be used.
    """
    if isinstance(destination, Destination):
        return partial(build_http_sender, config, destination, lanes=lanes)
    from .._stores.queue.engines import find_engine
    from .._stores.queue.store import QueueStore
    from .._transports.handoff import Handoff

    try:
        store = QueueStore(find_engine(destination)(destination), warn=warn)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"queue_url cannot be used: {error}") from None
    return partial(build_queue_sender, config, store, Handoff)


def _build_fallback(
    fallback: type[Fallback],
    build_sender: Callable[[], BaseTransport],
    spool: Spool,
    *,
    is_nearly_full: Callable[[], bool],
    on_spooled: Callable[[], object],
) -> BaseTransport:
    return fallback(
        build_sender(), spool, is_nearly_full=is_nearly_full, on_spooled=on_spooled
    )
