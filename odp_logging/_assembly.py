"""A store, a transport and a flusher, put together from the settings."""

from __future__ import annotations

from functools import partial

from . import _lifecycle
from ._config import Config, Destination
from ._diagnostics import Diagnostics
from ._flusher import Flusher
from ._mapping import build
from ._reports import Reports
from .stores._buffer import Buffer, Overflow
from .transports._base import Transport
from .transports._http import Http
from .transports._retry import Retry


def new_flusher(
    config: Config, destination: Destination | None, diagnostics: Diagnostics
) -> Flusher:
    """Return a flusher to *destination*, registered for the end of the process."""
    flusher = Flusher(
        _new_store(config),
        new_transport(config, destination) if destination else None,
        batch_size=config.max_batch_size,
        interval=config.flush_interval,
        background=config.background,
        shutdown_timeout=config.shutdown_timeout,
        on_entering=_enter,
        reports=Reports(diagnostics, config.on_delivery, config.on_drop),
    )
    _lifecycle.register(flusher)
    return flusher


def _enter(flusher: Flusher) -> None:
    # Once more: a closed client is not held for the end of the process.
    _lifecycle.register(flusher)
    _lifecycle.enter_process()


def _new_store(config: Config) -> Buffer:
    show = partial(
        build,
        default_identifiers=config.default_identifiers,
        default_data=config.default_data,
        redact=config.redact,
    )
    # Without a thread, nobody makes room while a put waits for it.
    waits = config.overflow == "block" and config.background
    return Buffer(
        partial(show, before_send=config.before_send),
        show=show,
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
        max_size=config.max_queue_size,
        max_bytes=config.max_queue_bytes,
        overflow=config.overflow if waits else _without_waiting(config.overflow),
        block_timeout=config.block_timeout,
        keep_dropped=config.on_drop is not None,
    )


def _without_waiting(overflow: Overflow) -> Overflow:
    return "drop_newest" if overflow == "block" else overflow


def new_transport(config: Config, destination: Destination) -> Transport:
    """Return what sends to *destination*."""
    http = Http(
        destination.api_host,
        destination.api_key,
        timeout=config.timeout,
        direct=destination.is_loopback,
    )
    return Retry(http, max_delay=config.max_retry_delay)
