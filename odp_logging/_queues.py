"""The commands that look after a queue: relay, status, dead letters, replay."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ._config import load
from ._relay import Relay
from ._spools import Failed
from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from ._config import Config
    from .stores._url import QueueUrl


def queue_of(given: str | None) -> QueueUrl:
    """
    Return the queue that was *given*, or that of ``ODP_QUEUE_URL``.

    Raises:
        Failed: There is neither, or it cannot be used.
    """
    url = _loaded(given).queue_url
    if url is None:
        raise Failed("which queue? name it with --from URL, or set ODP_QUEUE_URL")
    return url


def _loaded(url: str | None = None) -> Config:
    problems: list[str] = []
    try:
        settings = {"queue_url": url} if url else {}
        found = load(settings, warn=lambda kind, message: problems.append(message))
    except ConfigurationError as error:
        raise Failed(str(error).replace("queue_url", "the URL", 1)) from None
    for each in problems:
        _say(each)
    return found


def relay(
    url: QueueUrl,
    *,
    workers: int,
    grace: float,
    metrics: tuple[str, int] | None,
    lease: float,
    max_deliveries: int,
) -> int:
    """Deliver what is in the queue *url* until SIGTERM; return the exit status."""
    config = _loaded()
    destination = config.destination()
    if destination is None:
        raise Failed("ODP_API_KEY is not set; the relay is what needs ODP's key")
    try:
        made = Relay(
            url,
            config,
            destination,
            workers=workers,
            grace=grace,
            lease=lease,
            max_deliveries=max_deliveries,
            say=_say,
        )
    except ImportError as error:
        raise Failed(str(error)) from None
    _say(f"relay of {url.place} to {destination.place}, {workers} workers")
    return made.run()


def _say(line: str) -> None:
    print(f"odp-logging: {line}", file=sys.stderr, flush=True)
