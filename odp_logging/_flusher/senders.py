"""The factory of transports, for clients, relays and commands.

All of them send in the same way: through `Retry`, past the guard for tests, to `Http`
or to a queue. A command that makes a single attempt leaves out `Retry`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .loading import load_sending_modules

if TYPE_CHECKING:
    from .._config.destination import Destination
    from .._config.settings import Config
    from .._stores.queue.store import QueueStore
    from .._transports.base import BaseTransport
    from .._transports.handoff import Handoff


def build_http_sender(
    config: Config, destination: Destination, *, lanes: int = 1
) -> BaseTransport:
    """
    Return a transport that sends to *destination* over HTTP, with retries.

    Args:
        lanes: Largest number of requests at a time.
    """
    if lanes == 1:
        return _add_retries(config, build_http(destination, timeout=config.timeout))
    return load_sending_modules().Parallel(
        partial(build_http_sender, config, destination),
        lanes=lanes,
        batch_size=config.max_batch_size,
        batch_bytes=config.max_batch_bytes,
    )


def build_http(destination: Destination, *, timeout: float) -> BaseTransport:
    """
    Return a transport that sends each batch to *destination* once, in one request.

    Args:
        timeout: Seconds for the request, from connecting to the end of the response.
    """
    modules = load_sending_modules()
    # A proxy of the environment serves other hosts, and cannot reach this machine's.
    http = modules.Http(
        destination.api_host,
        destination.api_key,
        timeout=timeout,
        ignore_proxy=destination.is_loopback,
    )
    # Around `Http` and within `Retry`: a blocked batch is kept, as after any failure.
    return modules.GuardedTransport(http, destination.api_host)


def build_queue_sender(
    config: Config, store: QueueStore, handoff: type[Handoff]
) -> BaseTransport:
    """
    Return a transport that hands events over to the queue *store*, with retries.

    Args:
        handoff: The class, imported by the caller: the sending thread imports nothing.
    """
    guard = load_sending_modules().GuardedTransport
    return _add_retries(config, guard(handoff(store), store.engine.url.display_url))


def _add_retries(config: Config, transport: BaseTransport) -> BaseTransport:
    retry = load_sending_modules().Retry
    return retry(transport, max_delay=config.max_retry_delay)
